use redis::{ErrorKind as Kind, RedisError, ServerErrorKind};

use crate::store::{Effect, Error, ErrorKind, Operation};

/// Where a call was when Redis or the connection to it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There was no connection yet, so nothing was sent.
    Connecting,
    /// The call was sent.
    Sent,
    /// The call was sent to the nodes of a Cluster, by a client library that sends it again without
    /// saying so: what came back is the last answer, and an earlier copy may have been carried out.
    Routed,
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// The connection is dead or in an unknown state: replace it, and the call may be repeated.
    Reconnect,
    /// The server at the other end is no longer the master: connect anew, to where it is now.
    FindMaster,
    /// The script is not loaded.
    Load,
    /// The call was answered; nothing to do.
    Nothing,
}

pub(super) fn cure(error: &RedisError) -> Cure {
    match error.kind() {
        Kind::Server(ServerErrorKind::NoScript) => Cure::Load,
        Kind::Server(ServerErrorKind::ReadOnly) => Cure::FindMaster,
        // It was made a replica while it waited for its replicas.
        Kind::Extension if error.code() == Some("UNBLOCKED") => Cure::FindMaster,
        Kind::Server(_) | Kind::Extension => Cure::Nothing,
        // Everything else was found on this side: broken connections, and replies that are none.
        _ => Cure::Reconnect,
    }
}

/// Whether Redis itself refused: the call has been answered, and had no effect unless it says so.
pub(super) fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), Kind::Server(_) | Kind::Extension)
}

/// Whether the slot is at another node, or on its way there.
pub(super) fn is_redirect(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, Moved, TryAgain};
    matches!(error.kind(), Kind::Server(Ask | Moved | TryAgain))
}

/// The error that the caller gets. `unanswered` says that a copy of this call is under way of which
/// nothing is known, so that the refusal of a later copy proves nothing.
pub(super) fn failed(
    error: RedisError,
    operation: Operation,
    stage: Stage,
    unanswered: bool,
) -> Error {
    let (kind, effect) = match error.code() {
        Some(code) => of_code(code, stage),
        None => of_connection(&error, stage),
    };
    let effect = match stage {
        Stage::Connecting => Effect::None,
        Stage::Sent => effect,
        Stage::Routed => Effect::Unknown,
    };
    let effect = if unanswered { Effect::Unknown } else { effect };
    let error_without_cause = Error::new(kind, operation, effect);
    // Redis repeats the arguments of a command that it does not know: a key, a part of a record.
    if let Some(unknown) = error.detail().filter(|detail| detail.contains("args beginning with")) {
        return error_without_cause.with_source(match unknown.contains("'WAITAOF'") {
            true => "this server cannot wait for its append-only file: use Redis 7.2 or Valkey",
            false => "Redis does not know a command the store needs",
        });
    }
    error_without_cause.with_source(error)
}

/// Redis puts these in front of its errors, inside and outside scripts. It checks all of them before
/// a script runs, or at its first command, which reads; so nothing was done.
fn of_code(code: &str, stage: Stage) -> (ErrorKind, Effect) {
    match code {
        "OOM" => (ErrorKind::Full, Effect::None),
        "READONLY" => (ErrorKind::ReadOnly, Effect::None),
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" | "MISCONF"
        | "NOREPLICAS" => (ErrorKind::NotReady, Effect::None),
        // The client library follows a slot that moves, though not for ever.
        "MOVED" | "ASK" if stage == Stage::Routed => (ErrorKind::NotReady, Effect::None),
        "WRONGTYPE" => (ErrorKind::Corrupt, Effect::None),
        "UNBLOCKED" => (ErrorKind::NotReady, Effect::Unknown),
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "NOSCRIPT" | "MOVED" | "ASK" | "CROSSSLOT" => {
            (ErrorKind::Refused, Effect::None)
        }
        _ => (ErrorKind::Refused, Effect::Unknown),
    }
}

fn of_connection(error: &RedisError, stage: Stage) -> (ErrorKind, Effect) {
    match error.kind() {
        Kind::Io if error.is_timeout() && stage != Stage::Connecting => {
            (ErrorKind::TimedOut, Effect::Unknown)
        }
        Kind::Io | Kind::ClusterConnectionNotFound => (ErrorKind::Unreachable, Effect::Unknown),
        // Sentinels look for a new one, or it does not know yet that it is one.
        Kind::MasterNameNotFoundBySentinel => (ErrorKind::NotReady, Effect::Unknown),
        _ => (ErrorKind::Refused, Effect::Unknown),
    }
}

/// The error of an address that cannot be used.
pub(super) fn invalid(what: &'static str) -> RedisError {
    (Kind::InvalidClientConfig, what).into()
}

/// The error of connecting that has panicked, as it does with TLS where nobody has chosen who does
/// its cryptography.
pub(super) fn no_provider() -> RedisError {
    invalid("connecting has failed; TLS needs a crypto provider of rustls to be installed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: &str) -> RedisError {
        redis::make_extension_error(code.to_owned(), None)
    }

    fn outcome(error: RedisError, stage: Stage, unanswered: bool) -> (ErrorKind, Effect) {
        let error = failed(error, Operation::Complete, stage, unanswered);
        (error.kind(), error.effect())
    }

    #[test]
    fn a_refusal_had_no_effect() {
        for (code, kind) in [
            ("OOM", ErrorKind::Full),
            ("READONLY", ErrorKind::ReadOnly),
            ("LOADING", ErrorKind::NotReady),
            ("MISCONF", ErrorKind::NotReady),
            ("WRONGTYPE", ErrorKind::Corrupt),
            ("NOAUTH", ErrorKind::Refused),
        ] {
            assert_eq!(outcome(server(code), Stage::Sent, false), (kind, Effect::None), "{code}");
        }
    }

    #[test]
    fn a_slot_that_moves_is_not_ready_and_nothing_is_known_of_what_was_sent_to_a_cluster() {
        for code in ["MOVED", "ASK", "CLUSTERDOWN"] {
            let expected = (ErrorKind::NotReady, Effect::Unknown);
            assert_eq!(outcome(server(code), Stage::Routed, false), expected, "{code}");
        }
        let expected = (ErrorKind::Full, Effect::Unknown);
        assert_eq!(outcome(server("OOM"), Stage::Routed, false), expected);
        // One node of a Cluster, taken for a single server.
        let expected = (ErrorKind::Refused, Effect::None);
        assert_eq!(outcome(server("MOVED"), Stage::Sent, false), expected);
    }

    #[test]
    fn a_master_that_is_demoted_while_a_claim_waits_leaves_the_claim_unknown() {
        let expected = (ErrorKind::NotReady, Effect::Unknown);
        assert_eq!(outcome(server("UNBLOCKED"), Stage::Sent, false), expected);
        assert_eq!(cure(&server("UNBLOCKED")), Cure::FindMaster);
    }

    #[test]
    fn an_error_that_is_not_known_proves_nothing() {
        let expected = (ErrorKind::Refused, Effect::Unknown);
        assert_eq!(outcome(server("ERR"), Stage::Sent, false), expected);
    }

    #[test]
    fn the_refusal_of_a_second_copy_says_nothing_about_the_first() {
        let expected = (ErrorKind::ReadOnly, Effect::Unknown);
        assert_eq!(outcome(server("READONLY"), Stage::Sent, true), expected);
    }

    #[test]
    fn the_arguments_of_an_unknown_command_are_not_shown() {
        let detail = "unknown command 'EVALSHA', with args beginning with: 'sha' '1' 'my-key' ";
        let error = redis::make_extension_error("ERR".to_owned(), Some(detail.to_owned()));
        let error = failed(error, Operation::Begin, Stage::Sent, false);
        assert!(!format!("{error:?}").contains("my-key"), "{error:?}");
    }

    #[test]
    fn what_was_never_sent_had_no_effect() {
        let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into();
        let expected = (ErrorKind::Unreachable, Effect::None);
        assert_eq!(outcome(refused(), Stage::Connecting, false), expected);
        let expected = (ErrorKind::Unreachable, Effect::Unknown);
        assert_eq!(outcome(refused(), Stage::Sent, false), expected);
    }
}
