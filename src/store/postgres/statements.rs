use deadpool_postgres::tokio_postgres::types::Type;

use super::row::Answer;
use super::table::Table;
use crate::protocol::Timestamp;

/// A statement that the store sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Begin,
    Renew,
    Complete,
    Release,
    Resolve,
    Look,
    /// To look, and to have it told when a running claim ends.
    Mark,
}

impl Verb {
    pub(super) const ALL: [Self; 7] = [
        Self::Begin,
        Self::Renew,
        Self::Complete,
        Self::Release,
        Self::Resolve,
        Self::Look,
        Self::Mark,
    ];

    const fn text(self) -> &'static str {
        match self {
            Self::Begin => include_str!("sql/begin.sql"),
            Self::Renew => include_str!("sql/renew.sql"),
            Self::Complete => include_str!("sql/complete.sql"),
            Self::Release => include_str!("sql/release.sql"),
            Self::Resolve => include_str!("sql/resolve.sql"),
            Self::Look => include_str!("sql/look.sql"),
            Self::Mark => include_str!("sql/mark.sql"),
        }
    }

    /// Whether what was found is saved of another operation than this, which is then refused.
    const fn foreign(self) -> &'static str {
        match self {
            Self::Begin => {
                "found.points IS NOT NULL AND found.nonce <> $5 AND found.fingerprint <> $6"
            }
            _ => "false",
        }
    }

    /// Whose call it is, where a call is somebody's.
    const fn own_nonce(self) -> &'static str {
        match self {
            Self::Begin | Self::Renew | Self::Complete => "$5",
            Self::Release => "$3",
            Self::Resolve | Self::Look | Self::Mark => "NULL::bytea",
        }
    }

    /// Whether nothing was done because the deadline had passed. To look is never too late.
    pub(super) fn is_late(self, answer: &Answer, deadline: Timestamp) -> bool {
        let writes = !matches!(self, Self::Look | Self::Mark);
        writes && answer.done.is_none() && deadline < answer.now
    }

    /// The types of the arguments, of which the deadline and the slot are always the first.
    pub(super) const fn types(self) -> &'static [Type] {
        const TIME: Type = Type::INT8;
        const BYTES: Type = Type::BYTEA;
        const COUNT: Type = Type::INT4;
        match self {
            Self::Begin => &[TIME, BYTES, TIME, TIME, BYTES, BYTES, BYTES, COUNT, TIME, Type::BOOL],
            Self::Renew => &[TIME, BYTES, TIME, TIME, BYTES, BYTES, BYTES, TIME, COUNT, Type::BOOL],
            Self::Complete => &[TIME, BYTES, BYTES, TIME, BYTES, BYTES, BYTES, TIME, COUNT],
            Self::Release => &[TIME, BYTES, BYTES, COUNT, TIME, TIME],
            Self::Resolve => &[TIME, BYTES, TIME, BYTES, TIME],
            Self::Look | Self::Mark => &[TIME, BYTES],
        }
    }
}

/// The texts of all statements, for one table.
#[derive(Debug)]
pub(super) struct Statements {
    verbs: [String; Verb::ALL.len()],
    pub(super) purge: String,
    /// Marks the record of a claim whose handler works in transactions.
    pub(super) join: String,
    /// Completes such a record, in the handler's transaction.
    pub(super) commit: String,
    /// Saves the result of a phase of the handler's.
    pub(super) save: String,
}

impl Statements {
    pub(super) fn new(table: &Table) -> Self {
        let (head, tail) = (include_str!("sql/head.sql"), include_str!("sql/tail.sql"));
        let verb = |verb: Verb| {
            let tail =
                tail.replace("{foreign}", verb.foreign()).replace("{own_nonce}", verb.own_nonce());
            filled(&[head, verb.text(), &tail].concat(), table)
        };
        let filled = |text| filled(text, table);
        Self {
            verbs: Verb::ALL.map(verb),
            purge: filled(include_str!("sql/purge.sql")),
            join: filled(include_str!("sql/join.sql")),
            commit: filled(include_str!("sql/commit.sql")),
            save: filled(include_str!("sql/save.sql")),
        }
    }

    pub(super) fn of(&self, verb: Verb) -> &str {
        &self.verbs[verb as usize]
    }
}

fn filled(text: &str, table: &Table) -> String {
    // A deadline is looked at as late as can be, also after having waited for a lock.
    let in_time = "{now} <= $1";
    let unchanged = "r.slot = $2 AND {in_time}
        AND (r.phase, r.nonce, r.fence) = (found.phase, found.nonce, found.fence)
        AND (r.moment, r.expires) = (found.moment, found.expires)";
    text.replace("{unchanged}", unchanged)
        .replace("{absent}", "{in_time} AND NOT EXISTS (SELECT FROM found)")
        .replace("{in_time}", in_time)
        .replace("{now}", "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        .replace("{records}", table.name())
        .replace("{channel}", table.channel())
}
