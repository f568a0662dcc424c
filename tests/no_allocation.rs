//! A request to which the layer does not apply costs no allocation.

use std::alloc::System;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer as _, Service, service_fn};
use tower_idempotency::{IdempotencyLayer, MemoryStore, Policy, Required, Tenant};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How much is allocated from the call to the end of the response.
fn allocated<S, B>(mut service: S, method: Method, key: Option<&'static str>) -> usize
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error = Infallible>,
{
    let mut request = Request::builder().method(method).uri("/accounts/17?page=2");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let request = request.body(Empty::new()).expect("a request");
    let region = Region::new(ALLOCATOR);
    let response = service.call(request).now_or_never().expect("it does not wait");
    let mut body = std::pin::pin!(response.expect("infallible").into_body());
    let frame = body.frame().now_or_never().expect("it does not wait");
    let counted = region.change();
    assert!(frame.is_some());
    counted.allocations + counted.reallocations
}

// One test in this binary: a second one would allocate on another thread meanwhile.
#[test]
fn a_request_to_which_the_layer_does_not_apply_allocates_nothing() {
    async fn inner<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(Response::new(Full::new(Bytes::from_static(b"body"))))
    }
    let optional = Policy::new();
    let predicate = Policy::new().required(Required::predicate(|_| false));
    for policy in [optional, predicate] {
        let layer = IdempotencyLayer::builder(MemoryStore::new(), Tenant::single())
            .policy(policy)
            .build()
            .expect("valid");
        for (method, key) in [
            (Method::GET, None),
            (Method::GET, Some("17")),
            (Method::DELETE, Some("not, a key")),
            (Method::POST, None),
        ] {
            let bare = allocated(service_fn(inner), method.clone(), key);
            let layered = allocated(layer.layer(service_fn(inner)), method.clone(), key);
            assert_eq!((bare, layered), (0, 0), "{method} {key:?}");
        }
        // And the measure is real.
        let service = layer.layer(service_fn(inner));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let _entered = runtime.as_ref().expect("a runtime").enter();
        assert!(allocated(service, Method::POST, Some("17")) > 0);
    }
}
