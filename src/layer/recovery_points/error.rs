use std::error::Error as StdError;
use std::fmt;

use super::RecoveryPoints;
use crate::store::Error;
use crate::store::postgres::NotSaved;

/// A phase has no result. It ends the handler: with the `axum` feature it is a response, 503
/// `store-unavailable` if it is about the store or the claim, else 500 `handler-failed`, after which the
/// key is free and a retry goes on with this phase.
///
/// ```
/// use tower_idempotency::{PhaseError, PhaseFailure};
///
/// /// What went wrong in a phase itself, if that is why it has no result.
/// fn of_the_bank(error: &PhaseError) -> Option<&std::io::Error> {
///     match error.failure() {
///         PhaseFailure::Failed(error) => error.downcast_ref(),
///         _ => None,
///     }
/// }
/// ```
#[derive(Debug)]
pub struct PhaseError {
    phase: Box<str>,
    failure: PhaseFailure,
}

/// Why a phase has no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum PhaseFailure {
    /// What was to be done in it has failed, with this error. It may be tried again in the same run.
    Failed(Box<dyn StdError + Send + Sync>),
    /// Another phase of this run has the same name.
    Repeated,
    /// Its transaction was still in use when it ended, and is rolled back.
    Kept,
    /// It has ended its transaction itself. What it has written is in the database if it has committed it.
    Ended,
    /// With its result there would be more than [`RecoveryPoints::LIMIT`] bytes.
    TooLarge,
    /// Its result does not become JSON, or what is saved of it is not of this type.
    Json(Box<str>),
    /// Another worker owns the key by now.
    ClaimLost,
    /// Its transaction lost against others, and was rolled back. As a response it counts as a
    /// [`SerializationFailure`](crate::SerializationFailure).
    LostRace(Error),
    /// Its transaction could not be begun or was rolled back, or whether its result is saved is not known.
    NotCommitted(Error),
    /// Whether an earlier phase of this run was saved is not known.
    Unsettled,
}

impl PhaseError {
    pub(super) fn new(phase: &str, failure: PhaseFailure) -> Self {
        Self { phase: phase.into(), failure }
    }

    /// The name of the phase.
    #[must_use]
    pub fn phase(&self) -> &str {
        &self.phase
    }

    /// Why it has no result.
    #[must_use]
    pub const fn failure(&self) -> &PhaseFailure {
        &self.failure
    }

    /// Whether the phase lost against other transactions, and may succeed if the handler runs again.
    #[cfg(feature = "axum")]
    fn lost_a_race(&self) -> bool {
        use crate::SerializationFailure;

        match &self.failure {
            PhaseFailure::LostRace(_) => true,
            PhaseFailure::Failed(error) => SerializationFailure::of(&**error).is_some(),
            _ => false,
        }
    }
}

impl PhaseFailure {
    /// Where it is, and not what: the error itself quotes from the result.
    pub(super) fn json(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        Self::Json(format!("{:?}, line {line}, column {column}", error.classify()).into())
    }
}

impl From<NotSaved> for PhaseFailure {
    fn from(error: NotSaved) -> Self {
        match error {
            NotSaved::Lost => Self::ClaimLost,
            NotSaved::Ended => Self::Ended,
            NotSaved::LostRace(error) => Self::LostRace(error),
            NotSaved::Failed(error) => Self::NotCommitted(error),
        }
    }
}

impl fmt::Display for PhaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the phase `{}` has no result: {}", self.phase, self.failure)
    }
}

impl fmt::Display for PhaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed(_) => "it failed",
            Self::Repeated => "another phase of this run has the same name",
            Self::Kept => "its transaction was in use when it ended: drop it before",
            Self::Ended => "it has ended its transaction itself",
            Self::TooLarge => {
                return write!(
                    f,
                    "the results of all phases may have {} bytes together: return less from it",
                    RecoveryPoints::LIMIT
                );
            }
            Self::Json(why) => {
                return write!(
                    f,
                    "its result does not become JSON, or is saved as another type ({why})"
                );
            }
            Self::ClaimLost => "another worker owns the key by now",
            Self::LostRace(_) => "its transaction lost against others",
            Self::NotCommitted(_) => "it was not committed, as far as is known",
            Self::Unsettled => "whether an earlier phase was saved is not known",
        })
    }
}

impl StdError for PhaseError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.failure {
            PhaseFailure::Failed(error) => Some(&**error),
            PhaseFailure::LostRace(error) | PhaseFailure::NotCommitted(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for PhaseError {
    fn into_response(self) -> axum::response::Response {
        use crate::SerializationFailure;
        use crate::engine::{Chain, Rejection, Verdict};

        tracing::error!(error = %Chain(&self), "a phase has no result");
        let rejection = match &self.failure {
            PhaseFailure::ClaimLost | PhaseFailure::LostRace(_) | PhaseFailure::Unsettled => {
                Rejection::unavailable()
            }
            PhaseFailure::NotCommitted(error) if error.is_transient() => Rejection::unavailable(),
            _ => Rejection::HandlerFailed { retryable: true },
        };
        let problem = super::super::problem::Problems::new().response(&rejection);
        let mut response = problem.map(axum::body::Body::from);
        response.extensions_mut().insert(Verdict::Ambiguous);
        if self.lost_a_race() {
            response.extensions_mut().insert(SerializationFailure);
        }
        response
    }
}
