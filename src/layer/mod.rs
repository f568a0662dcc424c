//! The layer: what it does to a request, in which order, and what to know before deploying it.
//!
//! # What happens to a request
//!
//! 1. A method that is not protected passes untouched. POST and PATCH are protected by default
//!    ([`Policy::methods`]).
//! 2. A request without a key passes untouched, or is refused where the route requires one
//!    ([`Policy::required`]).
//! 3. The key is parsed before the body is read. A malformed key is refused, never ignored: an
//!    ignored key would run unprotected.
//! 4. The tenant is determined ([`Tenant`]).
//! 5. The body is read up to the limit, and hashed as it comes. A body that is too large or breaks
//!    off leaves no record.
//! 6. The store is asked, in one atomic call. A key that was used for another request is refused
//!    with 422, before anything else is looked at; one whose request is running, with 409, or it
//!    waits for its answer ([`Policy::in_flight`]); one that is completed is answered from its record.
//!    What became of one whose server died is for the guarantee to decide, or for a hook to find out
//!    ([`Policy::on_abandoned`]).
//! 7. If the slot was free, the handler runs. From here on nothing that happens to the connection
//!    stops it; its lease is renewed while it lives; its outcome is stored, and only then sent.
//!
//! What is stored follows from the [`Verdict`](crate::Verdict) on the response:
//!
//! | verdict | by default | at most once | at least once |
//! |---|---|---|---|
//! | definitive | 2xx, 3xx, most 4xx | stored | stored |
//! | not executed | 401 403 407 421 423 425 429, 503 with `Retry-After` | key freed | key freed |
//! | ambiguous | 408, other 5xx, a panic, an error, a broken body, `max_run` exceeded | stored | key freed |
//!
//! What is transactional is freed like what is at least once. A handler that took its transaction can be
//! at most once as well: what it wrote is rolled back, so its key is free.
//!
//! A panic or an error of the inner service is answered with a 500 problem `handler-failed`, which
//! is what a record keeps of it; the error itself does not reach outer layers. An inner service that
//! fails to become ready was not executed: its error is passed on, and the key is free again.
//!
//! A response that is larger than [`Policy::response_limit`], slower than [`Policy::buffer_time`],
//! or a stream by its content type leaves a tombstone before its first byte is sent: the first
//! client gets all of it, and a retry gets 409 `result-unavailable`. It is never run again.
//!
//! # Where it sits
//!
//! Outside this layer, outermost first: CORS, compression, authentication, rate limits,
//! decompression. Replays then pass today's authorization and today's limits, as they should: a
//! client that may no longer see a response does not get it replayed. Inside, nothing has to change.
//!
//! It works as `Router::layer`, `Router::route_layer`, `MethodRouter::layer` and around any
//! [`tower::Service`] of [`http`] types whose bodies consist of [`Bytes`](bytes::Bytes), in nested
//! routers too. It needs a tokio runtime with time enabled. Of two layers around one handler the
//! outer one acts.
//!
//! # Deployment caveats
//!
//! - The handler may outlive its request. What an outer layer keeps around its future ends with the
//!   connection all the same: task-locals, concurrency permits, timeouts, transactions. The current
//!   `tracing` span is carried along. An outer timeout answers the client and does not stop the
//!   handler; [`Policy::max_run`] does.
//! - For the same reason limit what runs at once here ([`Builder::max_in_flight`]), not outside.
//! - A request that waits is answered by its own connection's patience: a proxy in front must not
//!   give up sooner than [`InFlight::wait`] does.
//! - At shutdown, wait for [`Drain`] after the server has stopped accepting.
//! - With `panic = "abort"` a panic ends the process: the claim is then abandoned, not settled.
//! - A handler that blocks its thread cannot be stopped, and on a single-threaded runtime its lease
//!   is not renewed. Use `spawn_blocking`.
//! - Boundaries of `multipart/form-data` are a part of the body: a client has to send the same one
//!   again, or the service needs a [`FingerprintPolicy::custom`].
//! - A browser reads `Idempotent-Replayed` and `Retry-After` only if CORS exposes them.
//! - A proxy in front that retries by itself must send the same key again, which it does if it
//!   forwards the request as it came.
//!
//! # Example: the defaults
//!
//! ```
//! use axum::{Router, body::Body, routing::post};
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_idempotency::{IdempotencyLayer, MemoryStore, Tenant};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let app = Router::new()
//!     .route("/orders", post(async |order: String| (StatusCode::CREATED, order)))
//!     .layer(IdempotencyLayer::new(MemoryStore::new(), Tenant::single()));
//! let send = |body| {
//!     let request = Request::post("/orders").header("idempotency-key", "17").body(Body::from(body));
//!     app.clone().oneshot(request.unwrap())
//! };
//!
//! let first = send("two apples").await.unwrap();
//! assert_eq!(first.status(), StatusCode::CREATED);
//! let retry = send("two apples").await.unwrap();
//! assert_eq!(retry.status(), StatusCode::CREATED);
//! assert_eq!(retry.headers()["idempotent-replayed"], "true");
//! let reused = send("two pears").await.unwrap();
//! assert_eq!(reused.status(), StatusCode::UNPROCESSABLE_ENTITY);
//! # });
//! ```
//!
//! # Example: settings of its own for one route
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, body::Body, routing::post};
//! use http::{Request, StatusCode};
//! use tower::ServiceExt;
//! use tower_idempotency::{
//!     Guarantee, IdempotencyLayer, MemoryStore, Policy, Problems, Required, Tenant, Verdict,
//! };
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let layer = IdempotencyLayer::builder(MemoryStore::new(), Tenant::single())
//!     .policy(Policy::new().required(Required::always()))
//!     .route_policy(
//!         "/mails",
//!         Policy::new()
//!             .guarantee(Guarantee::AtLeastOnce)
//!             .retention(Duration::from_secs(3600))
//!             .verdict(|status, headers| match status {
//!                 StatusCode::CONFLICT => Verdict::NotExecuted,
//!                 _ => Policy::default_verdict(status, headers),
//!             }),
//!     )
//!     .problems(Problems::new().documentation("https://api.example.com/docs/idempotency"))
//!     .build()?;
//! let app = Router::new()
//!     .route("/orders", post(async || "ordered"))
//!     .route("/mails", post(async || "sent"))
//!     .layer(layer);
//! let send = |path: &str| app.clone().oneshot(Request::post(path).body(Body::empty()).unwrap());
//!
//! assert_eq!(send("/orders").await.unwrap().status(), StatusCode::BAD_REQUEST);
//! assert_eq!(send("/mails").await.unwrap().status(), StatusCode::OK);
//! # Ok::<(), tower_idempotency::InvalidConfig>(())
//! # }).unwrap();
//! ```
//!
//! # What it logs
//!
//! With `tracing`, and never a key, a body or a tenant: a slot is named by 16 hex digits.
//!
//! ```text
//! DEBUG claimed slot=3a48be4d396a807d attempt=1
//!  INFO replayed slot=3a48be4d396a807d status=201
//!  INFO refused slot=3a48be4d396a807d code="key-reused"
//!  WARN the claim was lost while the handler ran slot=3a48be4d396a807d
//!  INFO abandoned slot=3a48be4d396a807d attempt=1
//!  WARN begin failed slot=3a48be4d396a807d error=begin failed: the store did not answer in time
//! ```
//!
//! The handler runs in a span `idempotency` with the slot and the attempt number.

mod arrived;
mod body;
mod capture;
mod config;
#[cfg(feature = "axum")]
mod extract;
mod fingerprint;
mod frames;
mod future;
mod headers;
#[cfg(feature = "sqlx")]
mod idempotent_sqlx_tx;
#[cfg(feature = "postgres")]
mod idempotent_tx;
mod invalid_config;
#[expect(clippy::module_inception, reason = "the tower-http shape: layer, service, future, body")]
mod layer;
#[cfg(feature = "postgres")]
mod loan;
#[cfg(feature = "postgres")]
mod no_transaction;
mod options;
mod policy;
mod problem;
mod receive;
mod recovery;
#[cfg(feature = "postgres")]
mod recovery_points;
mod replay;
mod route;
mod run;
mod service;
mod shared;
mod tenant;
mod transaction;

pub use self::body::{RequestBody, ResponseBody};
pub use self::config::Builder;
#[cfg(feature = "axum")]
pub use self::extract::MissingClaim;
pub use self::fingerprint::FingerprintPolicy;
pub use self::future::ResponseFuture;
#[cfg(feature = "sqlx")]
pub use self::idempotent_sqlx_tx::IdempotentSqlxTx;
#[cfg(feature = "postgres")]
pub use self::idempotent_tx::IdempotentTx;
pub use self::invalid_config::InvalidConfig;
pub use self::layer::{Drain, IdempotencyLayer};
#[cfg(feature = "postgres")]
pub use self::no_transaction::NoTransaction;
pub use self::options::{InFlight, Required, Scope, StoreFailure};
pub use self::policy::Policy;
pub use self::problem::Problems;
pub use self::recovery::Recovery;
#[cfg(feature = "postgres")]
pub use self::recovery_points::{PhaseError, PhaseFailure, PhaseTx, RecoveryPoints};
pub use self::service::Idempotency;
pub use self::tenant::{Tenant, Unresolved};
pub use self::transaction::SerializationFailure;
