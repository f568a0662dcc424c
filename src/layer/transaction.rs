use http::Response;

/// In the extensions of a response: the handler's transaction lost against others, was rolled back
/// by the database, and may succeed if the handler runs again; see
/// [`Policy::transaction_retries`](crate::Policy::transaction_retries).
///
/// ```
/// use axum::http::StatusCode;
/// use axum::response::{IntoResponse, Response};
/// use tower_idempotency::SerializationFailure;
/// use tower_idempotency::store::postgres::tokio_postgres;
///
/// fn answer(error: &tokio_postgres::Error) -> Response {
///     let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
///     if let Some(failure) = SerializationFailure::of(error) {
///         response.extensions_mut().insert(failure);
///     }
///     response
/// }
/// # let _ = answer;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerializationFailure;

impl SerializationFailure {
    pub(super) fn is_in<B>(response: &Response<B>) -> bool {
        response.extensions().get::<Self>().is_some()
    }
}
