//! The layer.

mod body;
mod capture;
mod config;
#[cfg(feature = "axum")]
mod extract;
mod fingerprint;
mod future;
mod headers;
#[expect(clippy::module_inception, reason = "the tower-http shape: layer, service, future, body")]
mod layer;
mod options;
mod policy;
mod problem;
mod receive;
mod replay;
mod route;
mod service;
mod tenant;

pub use self::body::{RequestBody, ResponseBody};
pub use self::config::{Builder, InvalidConfig};
#[cfg(feature = "axum")]
pub use self::extract::MissingClaim;
pub use self::fingerprint::FingerprintPolicy;
pub use self::future::ResponseFuture;
pub use self::layer::{Drain, IdempotencyLayer};
pub use self::options::{Required, Scope, StoreFailure};
pub use self::policy::Policy;
pub use self::problem::Problems;
pub use self::service::Idempotency;
pub use self::tenant::{Tenant, Unresolved};
