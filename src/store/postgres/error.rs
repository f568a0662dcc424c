use std::error::Error as StdError;
use std::fmt;

use deadpool_postgres::tokio_postgres::Error as PostgresError;
use deadpool_postgres::tokio_postgres::error::{Severity, SqlState};
#[cfg(feature = "sqlx")]
use sqlx::postgres::{PgDatabaseError, PgSeverity};

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
    #[cfg(feature = "sqlx")]
    Sqlx(sqlx::Error),
    /// What is there is of no use to the store: the table is missing, or of another schema.
    Unusable(&'static str),
}

impl From<PostgresError> for Failure {
    fn from(error: PostgresError) -> Self {
        Self::Postgres(error)
    }
}

#[cfg(feature = "sqlx")]
impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlx(error)
    }
}

/// What the server said.
struct Said<'a> {
    code: SqlState,
    /// Whether it has ended no more than the statement and its transaction.
    is_error: bool,
    message: &'a str,
}

impl Failure {
    fn said(&self) -> Option<Said<'_>> {
        match self {
            Self::Unusable(_) => None,
            Self::Postgres(error) => error.as_db_error().map(|error| Said {
                code: error.code().clone(),
                is_error: error.parsed_severity() == Some(Severity::Error),
                message: error.message(),
            }),
            #[cfg(feature = "sqlx")]
            Self::Sqlx(error) => {
                let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
                Some(Said {
                    code: SqlState::from_code(error.code()),
                    is_error: error.severity() == PgSeverity::Error,
                    message: error.message(),
                })
            }
        }
    }

    pub(super) fn kind(&self) -> ErrorKind {
        match (self, self.said()) {
            (Self::Unusable(_), _) => ErrorKind::Refused,
            (_, Some(said)) => of_server(&said.code),
            (_, None) => ErrorKind::Unreachable,
        }
    }

    /// What has become of a statement that was sent.
    pub(super) fn effect(&self) -> Effect {
        if self.is_answer() { Effect::None } else { Effect::Unknown }
    }

    /// Whether the server itself has rolled the statement back. With anything worse than an `ERROR`
    /// the connection ends, and nothing is known.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Unusable(_)) || self.said().is_some_and(|said| said.is_error)
    }

    /// Whether a statement of the store failed on purpose, since what it writes must not be committed.
    pub(super) fn is_our_own(&self) -> bool {
        self.said().is_some_and(|said| said.code == SqlState::UNDEFINED_OBJECT)
    }

    /// Whether a connection was in the middle of a transaction when one was to be begun.
    pub(super) fn is_midway(&self) -> bool {
        // One of another isolation, and one in which a statement has failed, are told by the server.
        let told = [SqlState::ACTIVE_SQL_TRANSACTION, SqlState::IN_FAILED_SQL_TRANSACTION];
        self.is_our_own() || self.said().is_some_and(|said| told.contains(&said.code))
    }

    /// Whether a statement that was prepared is so no more.
    pub(super) fn is_unprepared(&self) -> bool {
        self.said().is_some_and(|said| said.code == SqlState::INVALID_SQL_STATEMENT_NAME)
    }

    pub(super) fn cure(&self) -> Cure {
        match (self, self.said()) {
            (Self::Unusable(_), _) => Cure::Nothing,
            (_, Some(said)) => cure(&said),
            (_, None) => Cure::Reconnect,
        }
    }

    pub(super) fn cause(&self) -> Cause {
        let text = match (self, self.said()) {
            (_, Some(said)) => format!("{} (SQLSTATE {})", said.message, said.code.code()),
            (Self::Unusable(why), _) => (*why).to_owned(),
            (Self::Postgres(error), _) => match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
            #[cfg(feature = "sqlx")]
            (Self::Sqlx(error), _) => error.to_string(),
        };
        Cause(text.into())
    }
}

/// Whether an error says that a transaction lost against others: a serialization failure or a
/// deadlock.
pub(crate) fn lost_a_race(error: &(dyn StdError + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<PostgresError>() {
        return error.code().is_some_and(is_lost_race);
    }
    #[cfg(feature = "sqlx")]
    if let Some(sqlx::Error::Database(error)) = error.downcast_ref::<sqlx::Error>() {
        return error.code().is_some_and(|code| is_lost_race(&SqlState::from_code(&code)));
    }
    false
}

fn is_lost_race(code: &SqlState) -> bool {
    [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code)
}

fn cure(said: &Said<'_>) -> Cure {
    let code = &said.code;
    if is_lost_race(code) {
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
    if said.is_error && !unprepared.contains(code) { Cure::Nothing } else { Cure::Reconnect }
}

fn of_server(code: &SqlState) -> ErrorKind {
    let class = code.code().get(..2).unwrap_or_default();
    match class {
        "08" => ErrorKind::Unreachable,
        "25" if *code == SqlState::READ_ONLY_SQL_TRANSACTION => ErrorKind::ReadOnly,
        "53" if *code == SqlState::DISK_FULL => ErrorKind::Full,
        "57" if *code == SqlState::QUERY_CANCELED => ErrorKind::TimedOut,
        // The server ended a session that stood still, or took too long.
        "25" if ["25P03", "25P04"].contains(&code.code()) => ErrorKind::NotReady,
        // It lost a race; a lock is taken; no memory or no connection is left; it ends or starts.
        "40" | "53" | "55" | "57" => ErrorKind::NotReady,
        _ => ErrorKind::Refused,
    }
}

/// What the server or the connection said, without what it may repeat of the arguments.
#[derive(Debug)]
pub(super) struct Cause(Box<str>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}
