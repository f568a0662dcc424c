use std::error::Error as StdError;
use std::fmt;

type Source = Box<dyn StdError + Send + Sync>;

/// What kept a store from answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store cannot be reached, or broke off the connection.
    Unreachable,
    /// The store did not answer in time.
    TimedOut,
    /// The store is there and will answer later: it is loading its data, or changing its master.
    NotReady,
    /// The claim was made and is not as durable as was asked for, so it does not count.
    NotDurable,
    /// The store has no room for another record.
    Full,
    /// The store refuses writes: this is a replica.
    ReadOnly,
    /// The slot holds a record of a newer release.
    Unsupported,
    /// The slot holds something that is not a record.
    Corrupt,
    /// The store works, and would lose records: its check has found out why.
    Unsafe,
    /// The store refused the call: wrong credentials, missing rights, an unexpected answer.
    Refused,
}

/// Whether the call that failed may nevertheless have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing was done.
    None,
    /// It may have been done, or may still be done before its deadline.
    Unknown,
}

/// The store could not tell. Everything that a store can tell is a
/// [`Reply`](crate::protocol::Reply), never an error.
///
/// `Display` is one line without keys, bodies or secrets; the cause is the
/// [`source`](StdError::source).
///
/// ```
/// use tower_idempotency::store::{Effect, Error, ErrorKind, Operation};
///
/// let error = Error::new(ErrorKind::Full, Operation::Begin, Effect::None);
/// assert_eq!(error.to_string(), "begin failed: the store has no room for another record");
/// assert!(error.is_transient());
/// ```
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    operation: Operation,
    effect: Effect,
    source: Option<Source>,
}

/// The verb that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// `begin`
    Begin,
    /// `renew`
    Renew,
    /// `complete`
    Complete,
    /// `release`
    Release,
    /// `look`
    Look,
    /// `watch`
    Watch,
    /// `resolve`
    Resolve,
    /// The start-up check of a store.
    Verify,
    /// The creation of what a store needs.
    Migrate,
    /// The deletion of what has expired.
    Purge,
    /// A transaction that a handler shares with its record.
    Commit,
}

impl Error {
    /// An error without a cause.
    #[must_use]
    pub const fn new(kind: ErrorKind, operation: Operation, effect: Effect) -> Self {
        Self { kind, operation, effect, source: None }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kept the store from answering.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The verb that failed.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        self.operation
    }

    /// Whether the call may have taken effect. Unknown is never treated as failed.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        self.effect
    }

    /// Whether it is about the store at this moment, and not about the call or what it met.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Unreachable
                | ErrorKind::TimedOut
                | ErrorKind::NotReady
                | ErrorKind::NotDurable
                | ErrorKind::ReadOnly
        )
    }

    /// Whether the same call can succeed later without anybody's help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Unreachable
                | ErrorKind::TimedOut
                | ErrorKind::NotReady
                | ErrorKind::NotDurable
                | ErrorKind::Full
                | ErrorKind::ReadOnly
                | ErrorKind::Unsupported
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.kind {
            ErrorKind::Unreachable => "the store cannot be reached",
            ErrorKind::TimedOut => "the store did not answer in time",
            ErrorKind::NotReady => "the store is not ready to answer",
            ErrorKind::NotDurable => "the claim is not as durable as was asked for",
            ErrorKind::Full => "the store has no room for another record",
            ErrorKind::ReadOnly => "the store refuses writes: it is a replica",
            ErrorKind::Unsupported => "the record was written by a newer release",
            ErrorKind::Corrupt => "the slot holds something that is not a record",
            ErrorKind::Unsafe => "the store would lose records",
            ErrorKind::Refused => "the store refused the call",
        };
        write!(f, "{} failed: {reason}", self.operation)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Begin => "begin",
            Self::Renew => "renew",
            Self::Complete => "complete",
            Self::Release => "release",
            Self::Look => "look",
            Self::Watch => "watch",
            Self::Resolve => "resolve",
            Self::Verify => "verify",
            Self::Migrate => "migrate",
            Self::Purge => "purge",
            Self::Commit => "commit",
        })
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source: &(dyn StdError + 'static) = self.source.as_deref()?;
        Some(source)
    }
}
