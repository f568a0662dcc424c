use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LINK, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::replay::append;
use crate::engine::Rejection;

/// How refusals look: problem documents (RFC 9457), whose parts can be set.
///
/// ```
/// use http::StatusCode;
/// use tower_idempotency::Problems;
///
/// let _problems = Problems::new()
///     .base("https://api.example.com/problems/")
///     .documentation("https://api.example.com/docs/idempotency")
///     .reused_status(StatusCode::CONFLICT);
/// ```
#[derive(Clone)]
pub struct Problems {
    base: String,
    documentation: Option<HeaderValue>,
    reused: StatusCode,
    format: Option<Arc<Format>>,
}

type Format = dyn Fn(&Rejection, Response<Bytes>) -> Response<Bytes> + Send + Sync;

impl Problems {
    /// The defaults: problem types and policy under the documentation of this crate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands before the code in the `type` of a problem; an absolute URI.
    #[must_use]
    pub fn base(mut self, uri: impl Into<String>) -> Self {
        self.base = uri.into();
        self
    }

    /// Where the published idempotency policy of this service is, for the `Link` header (section
    /// 2.5.2 of the draft asks for one).
    ///
    /// # Panics
    /// If the URI contains what a header cannot.
    #[must_use]
    pub fn documentation(mut self, uri: &str) -> Self {
        self.documentation = Some(described_by(uri));
        self
    }

    /// The status for a key that was used for another request, instead of 422.
    #[must_use]
    pub const fn reused_status(mut self, status: StatusCode) -> Self {
        self.reused = status;
        self
    }

    /// Changes or replaces the finished response to a refusal. The [`Rejection`] stays in its
    /// extensions.
    #[must_use]
    pub fn format(
        mut self,
        format: impl Fn(&Rejection, Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.format = Some(Arc::new(format));
        self
    }

    /// The answer to a refused request.
    pub(super) fn response(&self, rejection: &Rejection) -> Response<Bytes> {
        let mut response = Response::new(self.document(rejection));
        *response.status_mut() = self.status(rejection);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.documentation.clone().map(|link| (LINK, link)));
        if let Some(after) = rejection.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        if let Rejection::ResultUnavailable { headers: stored, .. } = rejection {
            append(headers, stored);
        }
        let mut response = match &self.format {
            Some(format) => {
                // A panic here must not keep an outcome from being stored.
                let plain = response.clone();
                let format = AssertUnwindSafe(|| format(rejection, response));
                catch_unwind(format).unwrap_or_else(|_| {
                    tracing::error!("the formatter of problems panicked");
                    plain
                })
            }
            None => response,
        };
        response.extensions_mut().insert(rejection.clone());
        response
    }

    const fn status(&self, rejection: &Rejection) -> StatusCode {
        match rejection {
            Rejection::KeyMissing
            | Rejection::KeyInvalid(_)
            | Rejection::TenantUnresolved
            | Rejection::RequestIncomplete => StatusCode::BAD_REQUEST,
            Rejection::RequestTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Rejection::KeyReused => self.reused,
            Rejection::InProgress { .. }
            | Rejection::OutcomeUnknown { .. }
            | Rejection::ResultUnavailable { .. } => StatusCode::CONFLICT,
            Rejection::StoreUnavailable { .. }
            | Rejection::TooManyWaiters { .. }
            | Rejection::TooManyInFlight { .. }
            | Rejection::RecordUnsupported => StatusCode::SERVICE_UNAVAILABLE,
            Rejection::HandlerFailed { .. } | Rejection::RecordCorrupt => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    fn document(&self, rejection: &Rejection) -> Bytes {
        let code = rejection.code();
        let mut document = json!({
            "type": format!("{}{code}", self.base),
            "title": title(rejection),
            "status": self.status(rejection).as_u16(),
            "detail": detail(rejection),
            "code": code,
            "retryable": rejection.is_retryable(),
        });
        if let Rejection::ResultUnavailable { original_status: Some(status), .. } = rejection {
            document["original_status"] = json!(status);
        }
        document.to_string().into()
    }
}

impl Default for Problems {
    fn default() -> Self {
        Self {
            base: "https://docs.rs/tower-idempotency/latest/tower_idempotency/problems/#".into(),
            documentation: Some(described_by(
                "https://docs.rs/tower-idempotency/latest/tower_idempotency/problems/",
            )),
            reused: StatusCode::UNPROCESSABLE_ENTITY,
            format: None,
        }
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problems")
            .field("base", &self.base)
            .field("documentation", &self.documentation)
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}

fn described_by(uri: &str) -> HeaderValue {
    HeaderValue::try_from(format!("<{uri}>; rel=\"describedby\"; type=\"text/html\""))
        .expect("a URI that can stand in a header")
}

fn whole_seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

const fn title(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::KeyMissing => "Idempotency-Key is missing",
        Rejection::KeyInvalid(_) => "Idempotency-Key is invalid",
        Rejection::TenantUnresolved => "The tenant is unknown",
        Rejection::RequestTooLarge { .. } => "The request body is too large",
        Rejection::RequestIncomplete => "The request body is incomplete",
        Rejection::KeyReused => "Idempotency-Key is already used",
        Rejection::InProgress { .. } => "The first request is still in progress",
        Rejection::OutcomeUnknown { .. } => "The outcome of the first request is unknown",
        Rejection::ResultUnavailable { .. } => "The result of the first request is unavailable",
        Rejection::StoreUnavailable { .. } => "The idempotency store is unavailable",
        Rejection::TooManyWaiters { .. } => "Too many requests wait for the first one",
        Rejection::TooManyInFlight { .. } => "Too many requests are running",
        Rejection::HandlerFailed { .. } => "The operation failed",
        Rejection::RecordUnsupported => "The idempotency record is from a newer release",
        Rejection::RecordCorrupt => "The idempotency record is damaged",
    }
}

fn detail(rejection: &Rejection) -> String {
    match rejection {
        Rejection::KeyMissing => {
            "This operation requires the Idempotency-Key header. Send a value \
            that is new for every operation and the same for every retry, such as a UUID."
                .into()
        }
        Rejection::KeyInvalid(why) => format!("{why}. Nothing was executed."),
        Rejection::TenantUnresolved => {
            "The service could not tell on whose behalf the request was made. Nothing was executed."
                .into()
        }
        Rejection::RequestTooLarge { limit } => {
            format!("With an Idempotency-Key, a body may have at most {limit} bytes here.")
        }
        Rejection::RequestIncomplete => {
            "The body broke off before its end. Nothing was executed; send it again.".into()
        }
        Rejection::KeyReused => "This Idempotency-Key was used for a request with another method, \
            path, query, content type or body. Use a new key for a new operation."
            .into(),
        Rejection::InProgress { .. } => "A request with this Idempotency-Key is being processed. \
            Retry with the same key to get its response."
            .into(),
        Rejection::OutcomeUnknown { attempt } => format!(
            "Attempt {attempt} at this operation ended without leaving an outcome: it may or may \
             not have taken effect. It is not run again under this key. Look up its effects \
             before you send it with a new one."
        ),
        Rejection::ResultUnavailable { original_status: Some(status), .. } => format!(
            "The operation was executed and answered with status {status}, but its response could \
             not be kept. It is not run again."
        ),
        Rejection::ResultUnavailable { original_status: None, .. } => {
            "This Idempotency-Key was used before, and the service cannot tell any more whether \
             for the same request. Nothing was executed."
                .into()
        }
        Rejection::StoreUnavailable { .. } => "The service cannot protect the request against \
            being executed twice at the moment. Retry with the same key."
            .into(),
        Rejection::TooManyWaiters { .. } => "Too many requests with this Idempotency-Key, or in \
            all, wait for the response of a first one. Nothing was executed; retry with the same \
            key."
            .into(),
        Rejection::TooManyInFlight { .. } => "The service runs as many operations as it may. \
            Nothing was executed; retry with the same key."
            .into(),
        Rejection::HandlerFailed { retryable: true } => {
            "The operation failed without a result. A retry with the same key runs it again.".into()
        }
        Rejection::HandlerFailed { retryable: false } => "The operation failed without a result: \
            it may or may not have taken effect. It is not run again under this key."
            .into(),
        Rejection::RecordUnsupported => {
            "The record of this Idempotency-Key was written by a newer \
            release of the service. Retry with the same key."
                .into()
        }
        Rejection::RecordCorrupt => "The record of this Idempotency-Key cannot be read. The \
            operation is not run again under this key."
            .into(),
    }
}
