//! A [`tower`] layer that runs a request once per `Idempotency-Key` and replays its answer to
//! retries.
//!
//! ```
//! use axum::{Router, routing::post};
//! use tower_idempotency::{IdempotencyLayer, MemoryStore, Tenant};
//!
//! let layer = IdempotencyLayer::new(MemoryStore::new(), Tenant::header("x-tenant"));
//! let app: Router = Router::new()
//!     .route("/charges", post(async || "charged"))
//!     .layer(layer);
//! # let _ = app;
//! ```
//!
//! Networks retry, users double-click, jobs replay. With this layer the second `POST` with the same
//! key gets the first one's answer, and the handler does not run again; see [`layer`] for the rules.
//!
//! # What the client sees
//!
//! | situation | status | headers | body |
//! |---|---|---|---|
//! | first request | the handler's | the handler's | the handler's |
//! | retry after completion | the same | the same, without those of one message; `Idempotent-Replayed: true` | the same bytes |
//! | retry while the first one runs | 409 | `Retry-After` | problem [`in-progress`](problems#in-progress) |
//! | the same, where the policy is to [wait](InFlight::wait) | the first one's | as for a retry after completion | the same bytes |
//! | same key, other request | 422 | | problem [`key-reused`](problems#key-reused) |
//! | bad key, two keys | 400 | | problem [`key-invalid`](problems#key-invalid) |
//! | no key where one is required | 400 | | problem [`key-missing`](problems#key-missing) |
//! | body over 1 MiB with a key | 413 | | problem [`request-too-large`](problems#request-too-large) |
//! | the handler's process died | 409, or what [a hook](Policy::on_abandoned) has found out, or it runs again | | problem [`outcome-unknown`](problems#outcome-unknown) |
//! | the response was too large to keep, or a stream | 409 | `Location`, `ETag` | problem [`result-unavailable`](problems#result-unavailable) |
//! | the handler panicked | 500 | | problem [`handler-failed`](problems#handler-failed) |
//! | more wait or run than may | 503 | `Retry-After` | problem [`too-many-waiters`](problems#too-many-waiters), [`too-many-in-flight`](problems#too-many-in-flight) |
//! | the store cannot protect the request | 503 | `Retry-After` | problem [`store-unavailable`](problems#store-unavailable) |
//! | the store goes down while the handler runs | the handler's | the handler's; `Idempotency-Status: unstored` | the handler's; stored when the store is back, if that is before [`Policy::max_run`] has passed |
//!
//! # The life of a key
//!
//! ```text
//!             begin                       complete
//!  absent ─────────────▶ in progress ─────────────────▶ completed ──▶ absent
//!    ▲                    │       │                     retention ends
//!    │      release       │       │ the lease lapses
//!    └────────────────────┘       ▼
//!      nothing was executed    abandoned ──▶ at most once:  409 outcome-unknown
//!                                        ──▶ at least once: the next request takes over
//!                                        ──▶ transactional: the same; nothing had happened
//!                                        ──▶ a hook: whatever it has found out
//! ```
//!
//! # Guarantees
//!
//! - **At most once** (the default). While its record exists, a key's handler never runs twice. The
//!   price: if the process dies while the handler runs, nobody knows whether it had its effects, and
//!   retries are told so.
//! - **At least once** ([`Guarantee::AtLeastOnce`]). A key's handler runs until it has a definitive
//!   outcome. The price: after a crash, a 500 or a pause longer than the lease it runs again, so its
//!   effects must be safe to repeat. After [`Policy::max_attempts`] attempts, one that dies without an
//!   answer leaves its outcome unknown too.
//! - **Transactional** ([`Guarantee::Transactional`]), for handlers that do nothing but write to PostgreSQL
//!   through an `IdempotentTx` (feature `postgres`). What they write happens exactly once, and nothing is
//!   ever unknown: an attempt that did not come to its end did nothing, and the next request takes over.
//! - Under all, all clients that get a definitive answer for a key get the same one (but for an
//!   answer that is marked `unstored`, as the store was down when it was ready), a record is only
//!   written by the claim that owns it, and a claim whose handler outlives its lease keeps it by
//!   renewal.
//! - Under all, a client that goes away does not stop the handler, and its retry gets the answer.
//!
//! Not guaranteed: exactly-once effects outside of such a transaction, in which the record and the effect
//! have to be together; anything after the retention; anything that the store forgets ([`MemoryStore`] forgets when the
//! process ends; Redis forgets what it had not yet copied when a replica takes over, unless its store
//! has a `durability`; so does PostgreSQL without a synchronous replica).
//! [`RunningClaim`] gives a handler what it needs to close the rest of the gap: an ordered
//! [fence token](RunningClaim::fence) and [derived keys](RunningClaim::derived_key).
//!
//! # Features
//!
//! | feature | default | what |
//! |---|---|---|
//! | `axum` | yes | matched routes, original paths of nested routers, the [`RunningClaim`] extractor |
//! | `conformance` | no | the store contract as a suite of tests, for stores of your own |
//! | `json` | no | fingerprints of canonical JSON |
//! | `near-cache` | no | a cache in front of a store, so that a storm of replays costs the store nothing |
//! | `postgres` | no | the PostgreSQL store |
//! | `redis` | no | the Redis store, on one server |
//! | `redis-sentinel` | no | the same on the master that Sentinels name |
//! | `redis-cluster` | no | the same on a Cluster |
//! | `redis-tls` | no | the same by TLS; the program chooses the cryptography |
//! | `sqlx` | no | the PostgreSQL store, and transactions of `sqlx` for handlers |
//!
//! # When not to use it
//!
//! For `GET`, `PUT` and `DELETE` handlers that are idempotent by themselves; for endpoints whose
//! responses are large streams; as a cache; as a lock between different operations.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod engine;
pub mod layer;
pub mod problems;
pub mod protocol;
pub mod reliability;
pub mod store;
mod sync;
mod within;

pub use crate::engine::{Abandoned, Rejection, RunningClaim, Verdict};
#[cfg(feature = "sqlx")]
pub use crate::layer::IdempotentSqlxTx;
pub use crate::layer::{
    Drain, FingerprintPolicy, IdempotencyLayer, InFlight, InvalidConfig, Policy, Problems,
    Recovery, Required, Scope, SerializationFailure, StoreFailure, Tenant, Unresolved,
};
#[cfg(feature = "postgres")]
pub use crate::layer::{
    IdempotentTx, NoTransaction, PhaseError, PhaseFailure, PhaseTx, RecoveryPoints,
};
pub use crate::protocol::{Guarantee, IdempotencyKey, InvalidKey, KeySyntax, Secret};
pub use crate::store::MemoryStore;
#[cfg(feature = "near-cache")]
pub use crate::store::NearCache;
#[cfg(feature = "postgres")]
pub use crate::store::PostgresStore;
#[cfg(feature = "redis")]
pub use crate::store::RedisStore;

#[cfg(all(doctest, feature = "axum", feature = "postgres", feature = "redis"))]
#[doc = include_str!("../README.md")]
struct Readme;
