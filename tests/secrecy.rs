//! Keys, bodies and secrets never appear in logs, in `Debug` output or in the causes of errors.

use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_idempotency::layer::{RequestBody, ResponseBody};
use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Fields, IdempotencyKey, KeySyntax, Outcome, Ran, Reply, Slot,
    TakeOver,
};
use tower_idempotency::store::{Effect, Error, ErrorKind, Operation, Seen, Store};
use tower_idempotency::{
    IdempotencyLayer, InFlight, MemoryStore, Policy, Recovery, Rejection, RunningClaim, Secret,
    Tenant,
};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

const KEY: &str = "key-3f9c";
const BODY: &str = "body-7a1e";
const ANSWER: &str = "answer-c04d";
const SECRET: &str = "secret-55b2";

/// Everything that was written down: by a subscriber for everything, and by `Debug`.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Written")
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Written {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Written {
    fn debug(&self, value: &impl Debug) {
        write!(self.clone(), "{value:?} {value:#?}").unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A store that can be down, and whose records can be taken by another.
#[derive(Clone, Debug, Default)]
struct Unsteady {
    inner: Arc<MemoryStore>,
    down: Arc<Mutex<Option<ErrorKind>>>,
    written: Written,
}

impl Unsteady {
    fn up(&self, operation: Operation) -> Result<(), Error> {
        let Some(kind) = *self.down.lock().unwrap() else { return Ok(()) };
        let error = Error::new(kind, operation, Effect::Unknown).with_source("a cause of its own");
        self.written.debug(&error);
        Err(error)
    }
}

impl Store for Unsteady {
    async fn begin(&self, attempt: &Attempt, within: Duration) -> Result<Reply, Error> {
        self.up(Operation::Begin)?;
        let reply = self.inner.begin(attempt, within).await;
        self.written.debug(&(attempt, &reply));
        reply
    }
    async fn renew(&self, claim: &Claim, within: Duration) -> Result<Reply, Error> {
        self.up(Operation::Renew)?;
        self.inner.renew(claim, within).await
    }
    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        within: Duration,
    ) -> Result<Reply, Error> {
        self.written.debug(&(claim, outcome));
        self.up(Operation::Complete)?;
        self.inner.complete(claim, outcome, within).await
    }
    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        self.up(Operation::Release)?;
        self.inner.release(attempt, ran, tombstone, within).await
    }
    async fn look(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
        self.inner.look(slot, within).await
    }
    async fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Result<Seen, Error> {
        self.inner.watch(slot, fence, within).await
    }
    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        self.inner.resolve(slot, fence, outcome, retention, within).await
    }
}

/// A handler that does what the path says, and shows all that it is given.
async fn handle(
    written: Written,
    store: Unsteady,
    request: Request<RequestBody<Body>>,
) -> Result<Response<Body>, std::io::Error> {
    written.debug(request.body());
    written.debug(&request.extensions().get::<RunningClaim>());
    let claim = request.extensions().get::<RunningClaim>().cloned();
    match request.uri().path() {
        "/panic" => panic!("a bug"),
        "/error" => return Err(std::io::Error::other("failed")),
        "/slow" => tokio::time::sleep(Duration::from_millis(200)).await,
        "/stuck" | "/dies" => std::future::pending().await,
        "/down-at-complete" => *store.down.lock().unwrap() = Some(ErrorKind::Unreachable),
        "/busy" => return Ok(StatusCode::TOO_MANY_REQUESTS.into_response()),
        "/stream" => return Ok(([("content-type", "text/event-stream")], ANSWER).into_response()),
        "/fenced" => {
            let slot = claim.expect("a claim").slot();
            let seen = store.look(slot, Duration::ZERO).await.expect("a record");
            written.debug(&seen);
            let record = seen.record.expect("a record");
            let thief = Attempt {
                slot,
                fingerprint: record.fingerprint,
                nonce: record.nonce,
                lease: Duration::from_secs(1),
                retention: Duration::from_secs(60),
                take_over: TakeOver::Never,
                transactional: false,
            };
            let second = Duration::from_secs(1);
            store.release(&thief, Ran::Maybe, second, second).await.expect("the store answers");
        }
        _ => {}
    }
    request.into_body().collect().await.expect("a body");
    Ok(([("x-answer", ANSWER)], ANSWER).into_response())
}

#[tokio::test]
async fn keys_bodies_and_secrets_are_written_down_nowhere() {
    let written = Written::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(written.clone())
        .init();
    let store = Unsteady { written: written.clone(), ..Unsteady::default() };
    let shown = written.clone();
    let policy = Policy::new()
        .in_flight(InFlight::wait(Duration::from_secs(2)))
        .on_abandoned(move |abandoned| {
            let answer = Recovery::Response(Response::new(ANSWER.into()));
            shown.debug(&(abandoned, &answer));
            std::future::ready(answer)
        })
        .max_run(Duration::from_millis(300))
        .lease(Duration::from_millis(60))
        .route(|parts| parts.uri.path().to_owned());
    let builder = IdempotencyLayer::builder(store.clone(), Tenant::single())
        .policy(policy.clone())
        .secret(Secret::new(SECRET.as_bytes()))
        .store_timeout(Duration::from_millis(60));
    written.debug(&(&builder, &policy, &store));
    let layer = builder.build().expect("valid");
    let service = layer.layer(service_fn({
        let (written, store) = (written.clone(), store.clone());
        move |request| handle(written.clone(), store.clone(), request)
    }));
    let send = async |path: &str, key: &str, body: &str| {
        let request = Request::post(path)
            .header("idempotency-key", key)
            .header("idempotent-replayed", key)
            .body(Body::from(body.to_owned()))
            .expect("a request");
        let response = service.clone().oneshot(request).await.expect("a response");
        written.debug(&response.extensions().get::<Rejection>());
        let body: &ResponseBody<_> = response.body();
        written.debug(body);
        response.status().as_u16()
    };

    for (path, first, retry) in [
        ("/", 200, 200),
        ("/panic", 500, 500),
        ("/error", 500, 500),
        ("/slow", 200, 200),
        ("/stuck", 500, 500),
        ("/busy", 429, 429),
        ("/stream", 200, 409),
        ("/fenced", 409, 409),
    ] {
        assert_eq!(send(path, KEY, BODY).await, first, "{path}");
        assert_eq!(send(path, KEY, BODY).await, retry, "{path}");
    }
    assert_eq!(send("/", KEY, &format!("another {BODY}")).await, 422);
    let both =
        futures_util::future::join(send("/slow", "another", BODY), send("/slow", "another", BODY));
    assert_eq!(both.await, (200, 200));

    let dying = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("one");
    let request = Request::post("/dies").header("idempotency-key", KEY).body(Body::from(BODY));
    dying.spawn(service.clone().oneshot(request.expect("a request")));
    tokio::time::sleep(Duration::from_millis(50)).await;
    dying.shutdown_background();
    assert_eq!(send("/dies", KEY, BODY).await, 200, "the hook knows the answer");
    for invalid in [format!("{KEY}, {KEY}"), format!("\"{KEY}"), KEY.repeat(100)] {
        assert_eq!(send("/", &invalid, BODY).await, 400);
        let error = IdempotencyKey::parse(invalid.as_bytes(), &KeySyntax::either());
        written.debug(&error);
        write!(written.clone(), "{}", error.expect_err("invalid")).unwrap();
    }
    assert_eq!(send("/down-at-complete", KEY, BODY).await, 200);
    for kind in [ErrorKind::Unreachable, ErrorKind::Corrupt, ErrorKind::Unsupported] {
        *store.down.lock().unwrap() = Some(kind);
        assert!(send("/", KEY, BODY).await >= 500);
    }
    *store.down.lock().unwrap() = None;
    layer.drain().wait(Duration::from_secs(2)).await;

    let key = IdempotencyKey::parse(KEY.as_bytes(), &KeySyntax::either()).expect("a key");
    let fields: Fields = [("x-answer", ANSWER)].into_iter().collect();
    let secret = Secret::new(SECRET.as_bytes());
    written.debug(&(&key, &fields, &secret, &layer, &service, &store));
    let whole = Outcome::Response {
        status: 200,
        headers: fields.clone(),
        body: Bytes::from_static(ANSWER.as_bytes()),
        trailers: fields,
    };
    written.debug(&whole);

    let text = written.text();
    assert!(
        text.contains("claimed")
            && text.contains("refused")
            && text.contains("abandoned")
            && text.contains("panicked")
    );
    for word in [KEY, BODY, ANSWER, SECRET] {
        let found = text.lines().find(|line| line.contains(word));
        assert_eq!(found, None, "{word}");
    }
}
