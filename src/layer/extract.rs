use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::request::Parts;

use super::problem::Problems;
use crate::engine::{Rejection, RunningClaim};

/// The handler cannot work without a key, and the request had none, or no layer is around the
/// route: 400 `key-missing`, in the form that [`Problems`] has by default. Where refusals look
/// otherwise, require a key in the policy instead
/// ([`Required::always`](crate::Required::always)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingClaim;

impl std::fmt::Display for MissingClaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request is not protected: it has no key, or its route has no layer")
    }
}

impl std::error::Error for MissingClaim {}

impl IntoResponse for MissingClaim {
    fn into_response(self) -> Response {
        Problems::new().response(&Rejection::KeyMissing).map(axum::body::Body::from)
    }
}

impl<S: Sync> FromRequestParts<S> for RunningClaim {
    type Rejection = MissingClaim;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingClaim> {
        parts.extensions.get().cloned().ok_or(MissingClaim)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for RunningClaim {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}
