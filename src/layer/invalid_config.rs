use std::fmt;
use std::time::Duration;

use http::Method;

/// Settings that contradict each other or cannot keep what the layer promises.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidConfig {
    /// A safe method changes nothing, so there is nothing to protect.
    SafeMethod(Method),
    /// A record would be forgotten while its operation still runs.
    RetentionTooShort {
        /// The retention that was asked for.
        retention: Duration,
        /// The lease that was asked for.
        lease: Duration,
    },
    /// A lease, a time limit, a wait or a timeout is zero.
    NoTime,
    /// A limit lets no request run at all.
    NoRoom,
    /// [`Guarantee::Transactional`](crate::Guarantee::Transactional) on a store without transactions:
    /// what a handler does would be committed elsewhere, and done again by a retry.
    NoTransactions,
    /// Not a header name, or none at all.
    HeaderName,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SafeMethod(method) => {
                write!(f, "{method} is a safe method and cannot be protected")
            }
            Self::RetentionTooShort { retention, lease } => write!(
                f,
                "a retention of {retention:?} is shorter than two leases of {lease:?}: a record \
                 could be forgotten while its operation still runs"
            ),
            Self::NoTime => {
                f.write_str("lease, max_run, a wait and the store timeout must not be zero")
            }
            Self::NoRoom => f.write_str("max_in_flight must let at least one request run"),
            Self::NoTransactions => f.write_str(
                "Guarantee::Transactional needs a store that has transactions: use a PostgresStore",
            ),
            Self::HeaderName => f.write_str("at least one valid header name is needed"),
        }
    }
}

impl std::error::Error for InvalidConfig {}
