use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use deadpool_postgres::tokio_postgres::types::{FromSqlOwned, IsNull, ToSql, Type, to_sql_checked};
use deadpool_postgres::tokio_postgres::{self, Row};

use crate::protocol::{FenceToken, Grant, HEADER_LEN, InvalidRecord, Record, Timestamp};
use crate::store::records::micros;

/// What a statement answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The server's clock when the statement began.
    pub(super) now: Timestamp,
    /// The server's clock just before the statement saw anything.
    pub(super) seen: Timestamp,
    /// What was written, if anything was.
    pub(super) done: Option<Done>,
    /// Else what the slot holds.
    pub(super) found: Result<Option<Record>, InvalidRecord>,
    /// The fourth of `done` where nothing was written: what a look is told besides.
    pub(super) flag: bool,
    /// Whether the end of what was found is told to those who listen.
    pub(super) waited: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) grant: Grant,
    pub(super) reclaimed: bool,
}

impl Answer {
    /// Reads the one row that every statement answers.
    pub(super) fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let fence: Option<i64> = row.try_get(2)?;
        let attempt: Option<i32> = row.try_get(3)?;
        let flag = row.try_get::<_, Option<bool>>(4)?.unwrap_or_default();
        let grant = fence.zip(attempt).map(|(fence, attempt)| Grant {
            fence: FenceToken::from_number(unsigned(fence)),
            number: u32::try_from(attempt).unwrap_or_default(),
        });
        let record = bytes_of(row)?;
        Ok(Self {
            now: moment(row, 0)?,
            seen: moment(row, 1)?,
            done: grant.map(|grant| Done { grant, reclaimed: flag }),
            found: record.map(|(bytes, expires)| Record::decode(bytes, expires)).transpose(),
            flag,
            waited: row.try_get::<_, Option<bool>>(14)?.unwrap_or_default(),
        })
    }
}

/// The binary form of the record in a row, put together from its columns, and its end.
fn bytes_of(row: &Row) -> Result<Option<(Bytes, Timestamp)>, tokio_postgres::Error> {
    let Some(phase) = row.try_get::<_, Option<i16>>(5)? else { return Ok(None) };
    let fence: i64 = get(row, 8)?;
    let attempt: i32 = get(row, 9)?;
    let [nonce, fingerprint, form] = [10, 11, 12].map(|column| row.try_get::<_, &[u8]>(column));
    let (nonce, fingerprint, form) = (nonce?, fingerprint?, form?);
    let outcome = row.try_get::<_, Option<&[u8]>>(13)?.unwrap_or_default();
    let (marks, names) = form.split_at(form.len().min(3));
    let mut record = BytesMut::with_capacity(HEADER_LEN + names.len() + outcome.len());
    record.put_slice(marks.get(..1).unwrap_or_default());
    record.put_u8(u8::try_from(phase).unwrap_or_default());
    record.put_slice(marks.get(1..).unwrap_or_default());
    record.put_u64(unsigned(fence));
    record.put_u32(u32::try_from(attempt).unwrap_or_default());
    record.put_u64(moment(row, 7)?.as_micros());
    [nonce, fingerprint, names, outcome].iter().for_each(|part| record.put_slice(part));
    Ok(Some((record.freeze(), moment(row, 6)?)))
}

fn moment(row: &Row, column: usize) -> Result<Timestamp, tokio_postgres::Error> {
    get(row, column).map(|micros: i64| Timestamp::from_micros(unsigned(micros)))
}

fn get<T: FromSqlOwned>(row: &Row, column: usize) -> Result<T, tokio_postgres::Error> {
    row.try_get(column)
}

/// Everything that is counted here is from 0 on.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// A number as PostgreSQL keeps it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The same of a span, in microseconds.
pub(super) fn span(span: Duration) -> i64 {
    signed(micros(span))
}

/// The same of a count.
pub(super) fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// What the column `form` keeps of a record without an outcome: its mark, how its fingerprint was
/// made.
pub(super) fn form(record: &[u8]) -> Vec<u8> {
    [&record[..1], &record[2..4], &record[HEADER_LEN..]].concat()
}

/// Bytes that the client library cannot show in its logs.
pub(super) struct Hidden<T>(pub(super) T);

impl<T: AsRef<[u8]>> ToSql for Hidden<T> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_slice(self.0.as_ref());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::BYTEA
    }

    to_sql_checked!();
}

impl<T: AsRef<[u8]>> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.as_ref().len())
    }
}
