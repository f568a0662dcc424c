use std::error::Error as StdError;
use std::fmt;

use deadpool_postgres::tokio_postgres::Error as PostgresError;
use deadpool_postgres::tokio_postgres::error::{DbError, Severity, SqlState};

use crate::store::{Effect, ErrorKind};

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// The connection is dead or of no use: replace it, and the call may be repeated.
    Reconnect,
    /// The server is no primary any more: replace the connection, as a new one may lead to the
    /// primary.
    FindPrimary,
    /// The statement lost a race against others and was rolled back: it may be repeated.
    Repeat,
    /// The call was answered; nothing to do.
    Nothing,
}

/// What went wrong between here and the server.
#[derive(Debug)]
pub(super) enum Failure {
    Postgres(PostgresError),
    /// What is there is of no use to the store: the table is missing, or of another schema.
    Unusable(&'static str),
}

impl From<PostgresError> for Failure {
    fn from(error: PostgresError) -> Self {
        Self::Postgres(error)
    }
}

impl Failure {
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Unusable(_) => ErrorKind::Refused,
            Self::Postgres(error) => error.as_db_error().map_or(ErrorKind::Unreachable, of_server),
        }
    }

    /// What has become of a statement that was sent.
    pub(super) fn effect(&self) -> Effect {
        if self.is_answer() { Effect::None } else { Effect::Unknown }
    }

    /// Whether the server itself has rolled the statement back. With anything worse than an `ERROR`
    /// the connection ends, and nothing is known.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            Self::Unusable(_) => true,
            Self::Postgres(error) => error
                .as_db_error()
                .is_some_and(|error| error.parsed_severity() == Some(Severity::Error)),
        }
    }

    /// Whether a statement of the store failed on purpose, since what it writes must not be committed.
    pub(super) fn is_our_own(&self) -> bool {
        match self {
            Self::Unusable(_) => false,
            Self::Postgres(error) => error.code() == Some(&SqlState::UNDEFINED_OBJECT),
        }
    }

    pub(super) fn cure(&self) -> Cure {
        let Self::Postgres(error) = self else { return Cure::Nothing };
        match error.as_db_error() {
            Some(error) => cure(error),
            None => Cure::Reconnect,
        }
    }

    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Unusable(why) => Cause((*why).into()),
            Self::Postgres(error) => Cause::of(error),
        }
    }
}

fn cure(error: &DbError) -> Cure {
    let code = error.code();
    if [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED].contains(&code) {
        return Cure::Repeat;
    }
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        return Cure::FindPrimary;
    }
    // The statement is not prepared there: somebody has discarded it, or a pooler has changed the
    // server; or the table has been altered since.
    let unprepared = [
        SqlState::INVALID_SQL_STATEMENT_NAME,
        SqlState::DUPLICATE_PSTATEMENT,
        SqlState::FEATURE_NOT_SUPPORTED,
    ];
    match error.parsed_severity() {
        Some(Severity::Error) if !unprepared.contains(code) => Cure::Nothing,
        _ => Cure::Reconnect,
    }
}

fn of_server(error: &DbError) -> ErrorKind {
    let code = error.code();
    let class = code.code().get(..2).unwrap_or_default();
    match class {
        "08" => ErrorKind::Unreachable,
        "25" if *code == SqlState::READ_ONLY_SQL_TRANSACTION => ErrorKind::ReadOnly,
        "53" if *code == SqlState::DISK_FULL => ErrorKind::Full,
        "57" if *code == SqlState::QUERY_CANCELED => ErrorKind::TimedOut,
        // The server ended a session that stood still, or took too long.
        "25" if code.code().starts_with("25P0") && *code != SqlState::IN_FAILED_SQL_TRANSACTION => {
            ErrorKind::NotReady
        }
        // It lost a race; a lock is taken; no memory or no connection is left; it ends or starts.
        "40" | "53" | "55" | "57" => ErrorKind::NotReady,
        _ => ErrorKind::Refused,
    }
}

/// What the server or the connection said, without what it may repeat of the arguments.
#[derive(Debug)]
pub(super) struct Cause(Box<str>);

impl Cause {
    fn of(error: &PostgresError) -> Self {
        let text = match (error.as_db_error(), error.source()) {
            (Some(error), _) => format!("{} (SQLSTATE {})", error.message(), error.code().code()),
            (None, Some(source)) => format!("{error}: {source}"),
            (None, None) => error.to_string(),
        };
        Self(text.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}
