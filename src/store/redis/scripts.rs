use std::sync::LazyLock;

use bytes::Bytes;
use redis::{Cmd, Script, Value};

use crate::protocol::{FenceToken, Grant, Reply, Timestamp};

/// A verb as it runs inside Redis. One round trip by its hash; its text goes along only when Redis
/// does not know it.
pub(super) struct Verb(LazyLock<(Script, &'static str)>);

/// A script, one file after the other: functions would cost Redis more at each run. `KEYS[1]` is the
/// slot.
///
/// A flagged script may write into a full Redis. `begin` may not: new work is refused, and what is
/// running can always finish.
macro_rules! verb {
    ($first_line:literal, $($file:literal),+) => {
        Verb(LazyLock::new(|| {
            let text = concat!($first_line, $(include_str!($file)),+);
            (Script::new(text), text)
        }))
    };
    ($file:literal) => {
        verb!("#!lua flags=allow-oom\n", "clock.lua", "slot.lua", $file, "found.lua")
    };
}

pub(super) static BEGIN: Verb = verb!("#!lua\n", "begin.lua", "found.lua");
pub(super) static RENEW: Verb = verb!("renew.lua");
pub(super) static COMPLETE: Verb = verb!(
    "#!lua flags=allow-oom\n",
    "slot.lua",
    "keep.lua",
    "clock.lua",
    "complete.lua",
    "found.lua"
);
pub(super) static RELEASE: Verb = verb!("release.lua");
pub(super) static RESOLVE: Verb = verb!("resolve.lua");

/// Bytes that a command with a small outcome takes, so that it does not have to be moved as it grows.
pub(super) const ROOM: usize = 512;

impl Verb {
    /// The beginning of the command that runs it; what follows are the arguments of the verb.
    pub(super) fn command(&self, with_text: bool, key: &[u8]) -> Cmd {
        let (script, text) = &*self.0;
        let mut command = Cmd::with_capacity(10, ROOM);
        match with_text {
            true => command.arg("EVAL").arg(text),
            false => command.arg("EVALSHA").arg(script.get_hash()),
        };
        command.arg(1).arg(key);
        command
    }
}

/// What a script answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The deadline had passed.
    Late,
    /// Done at this moment. `begin`: the slot was empty, so its claim has it for its fence.
    Done(Timestamp),
    /// `complete`: the claim was still there and is completed.
    Kept,
    /// `begin`: the slot is the attempt's; how it came to be is the reply.
    Claimed(Reply),
    /// Nothing was written; this is what the slot holds.
    Found(Option<Bytes>),
    /// Nothing was written; what the slot holds is too large to be handed through a script.
    Large,
}

impl Answer {
    /// Takes a reply apart, into the moment on Redis's clock, if the script has asked for it, and the
    /// answer.
    pub(super) fn parse(reply: Value) -> Option<(Option<Timestamp>, Self)> {
        let parts = match reply {
            Value::Int(0) => return Some((None, Self::Large)),
            Value::Int(now) => {
                let now = Timestamp::from_micros(u64::try_from(now).ok()?);
                return Some((Some(now), Self::Done(now)));
            }
            Value::BulkString(record) => return Some((None, Self::Found(Some(record.into())))),
            Value::Okay => return Some((None, Self::Kept)),
            Value::Array(parts) => parts,
            _ => return None,
        };
        let mut parts = parts.into_iter();
        let now = Some(Timestamp::from_micros(number(parts.next()?)?));
        let Some(first) = parts.next() else { return Some((now, Self::Late)) };
        let answer = match (first, parts.next(), parts.next()) {
            (Value::Int(way), Some(fence), Some(attempt)) => {
                let fence = FenceToken::from_number(number(fence)?);
                let grant = Grant { number: u32::try_from(number(attempt)?).ok()?, fence };
                Self::Claimed(match way {
                    1 => Reply::Started(grant),
                    2 => Reply::Reclaimed(grant),
                    3 => Reply::Mine(grant),
                    _ => return None,
                })
            }
            (Value::Int(0), None, None) => Self::Large,
            (value, None, None) => Self::Found(bytes(value)?),
            _ => return None,
        };
        Some((now, answer))
    }
}

/// A string, or nothing where there is none.
pub(super) fn bytes(value: Value) -> Option<Option<Bytes>> {
    match value {
        Value::BulkString(bytes) => Some(Some(bytes.into())),
        Value::Nil => Some(None),
        _ => None,
    }
}

/// A number, as Redis answers it from a script or as text.
pub(super) fn number(value: Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(number).ok(),
        Value::BulkString(text) => std::str::from_utf8(&text).ok()?.parse().ok(),
        _ => None,
    }
}

/// What Redis answers to TIME.
pub(super) fn moment(value: Value) -> Option<Timestamp> {
    let Value::Array(parts) = value else { return None };
    let mut parts = parts.into_iter().filter_map(number);
    let (seconds, micros) = (parts.next()?, parts.next()?);
    Some(Timestamp::from_micros(seconds * 1_000_000 + micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_another_form_is_not_an_answer() {
        for reply in [
            Value::Nil,
            Value::Int(-1),
            Value::Array(vec![]),
            Value::Array(vec![Value::Int(-1)]),
            Value::Array(vec![Value::Int(5), Value::Okay]),
            Value::Array(vec![Value::Int(5), Value::Int(1)]),
            Value::Array(vec![Value::Int(5), Value::Int(1), Value::Int(7)]),
        ] {
            assert_eq!(Answer::parse(reply.clone()), None, "{reply:?}");
        }
    }

    #[test]
    fn a_moment_alone_is_done_or_late() {
        let moment = Timestamp::from_micros(5);
        assert_eq!(Answer::parse(Value::Int(5)), Some((Some(moment), Answer::Done(moment))));
        let reply = Value::Array(vec![Value::Int(5)]);
        assert_eq!(Answer::parse(reply), Some((Some(moment), Answer::Late)));
    }

    #[test]
    fn a_moment_and_a_string_is_what_the_slot_holds_at_that_moment() {
        let reply = Value::Array(vec![Value::Int(5), Value::BulkString(b"record".to_vec())]);
        let found = Answer::Found(Some(Bytes::from_static(b"record")));
        assert_eq!(Answer::parse(reply), Some((Some(Timestamp::from_micros(5)), found)));
    }

    #[test]
    fn what_needs_no_clock_comes_without_a_moment() {
        let record = Answer::Found(Some(Bytes::from_static(b"record")));
        for (reply, answer) in [
            (Value::BulkString(b"record".to_vec()), record),
            (Value::Int(0), Answer::Large),
            (Value::Okay, Answer::Kept),
        ] {
            assert_eq!(Answer::parse(reply), Some((None, answer)));
        }
    }
}
