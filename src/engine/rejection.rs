use std::time::Duration;

use crate::protocol::{Fields, InvalidKey};

/// Why a request was refused.
///
/// Every refusal is answered as a problem document (RFC 9457) whose `code` member is
/// [`code`](Self::code), and this value is in the extensions of that response, so that outer layers
/// can tell the cases apart whatever the document looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The operation requires a key and the request has none.
    KeyMissing,
    /// The header does not hold a key.
    KeyInvalid(InvalidKey),
    /// The tenant is unknown.
    TenantUnresolved,
    /// The request body is larger than what can be compared with a retry.
    RequestTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The request body broke off.
    RequestIncomplete,
    /// The key was used for another request.
    KeyReused,
    /// The first request with this key is still running.
    InProgress {
        /// When a retry makes sense; at least a second.
        retry_after: Duration,
    },
    /// A run ended without leaving an outcome.
    OutcomeUnknown {
        /// The number of that attempt.
        attempt: u32,
    },
    /// The operation ran, and its response could not be kept or cannot be compared.
    ResultUnavailable {
        /// The status that the first client got, where it is known.
        original_status: Option<u16>,
        /// `Location` and `ETag` of the first response.
        headers: Fields,
    },
    /// The store cannot protect the request.
    StoreUnavailable {
        /// When a retry makes sense.
        retry_after: Duration,
    },
    /// Too many requests wait for the answer of the first one already.
    TooManyWaiters {
        /// When a retry makes sense.
        retry_after: Duration,
    },
    /// Too many requests are running already.
    TooManyInFlight {
        /// When a retry makes sense.
        retry_after: Duration,
    },
    /// The handler panicked, failed without a response or was stopped.
    HandlerFailed {
        /// Whether a retry would run it again.
        retryable: bool,
    },
    /// The record was written by a newer release.
    RecordUnsupported,
    /// The record is damaged.
    RecordCorrupt,
}

impl Rejection {
    /// The `code` of the problem document: a constant for clients to branch on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::KeyMissing => "key-missing",
            Self::KeyInvalid(_) => "key-invalid",
            Self::TenantUnresolved => "tenant-unresolved",
            Self::RequestTooLarge { .. } => "request-too-large",
            Self::RequestIncomplete => "request-incomplete",
            Self::KeyReused => "key-reused",
            Self::InProgress { .. } => "in-progress",
            Self::OutcomeUnknown { .. } => "outcome-unknown",
            Self::ResultUnavailable { .. } => "result-unavailable",
            Self::StoreUnavailable { .. } => "store-unavailable",
            Self::TooManyWaiters { .. } => "too-many-waiters",
            Self::TooManyInFlight { .. } => "too-many-in-flight",
            Self::HandlerFailed { .. } => "handler-failed",
            Self::RecordUnsupported => "record-unsupported",
            Self::RecordCorrupt => "record-corrupt",
        }
    }

    /// Whether the same request with the same key can be answered otherwise later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::HandlerFailed { retryable } => *retryable,
            Self::InProgress { .. }
            | Self::StoreUnavailable { .. }
            | Self::TooManyWaiters { .. }
            | Self::TooManyInFlight { .. }
            | Self::RecordUnsupported
            | Self::RequestIncomplete => true,
            _ => false,
        }
    }

    /// When a retry makes sense, for the `Retry-After` header.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::InProgress { retry_after }
            | Self::StoreUnavailable { retry_after }
            | Self::TooManyWaiters { retry_after }
            | Self::TooManyInFlight { retry_after } => Some(*retry_after),
            Self::RecordUnsupported => Some(ONE_SECOND),
            _ => None,
        }
    }

    pub(super) fn in_progress(back_off: Duration) -> Self {
        Self::InProgress { retry_after: back_off.max(ONE_SECOND) }
    }

    pub(crate) const fn unavailable() -> Self {
        Self::StoreUnavailable { retry_after: ONE_SECOND }
    }

    pub(super) const fn too_many_waiters() -> Self {
        Self::TooManyWaiters { retry_after: ONE_SECOND }
    }

    pub(super) const fn too_many_in_flight() -> Self {
        Self::TooManyInFlight { retry_after: ONE_SECOND }
    }

    pub(super) const fn incomparable() -> Self {
        Self::ResultUnavailable { original_status: None, headers: Fields::none() }
    }
}

const ONE_SECOND: Duration = Duration::from_secs(1);
