use deadpool_postgres::tokio_postgres::{Client, SimpleQueryMessage};

use crate::protocol::Timestamp;
use crate::store::postgres::error::Failure;
use crate::store::postgres::migrate;

/// What the sessions of the store are set to.
///
/// Users run `SERIALIZABLE` by default, under which claims of one key fail each other. A plan with a
/// sequential scan, made while the table was small, would be used on while it grows. A statement that
/// waits for a lock must not be left behind by its caller. A claim that a crash can undo runs twice.
const SET_UP: &str = "
    SET default_transaction_isolation = 'read committed';
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off;
    SET jit = off;
    SET lock_timeout = '500ms';
    SELECT set_config('synchronous_commit', 'on', false)
        FROM pg_settings WHERE name = 'synchronous_commit' AND setting = 'off';
";

/// The same for one transaction.
pub(super) const BEGIN: &str = "
    BEGIN ISOLATION LEVEL READ COMMITTED;
    SET LOCAL enable_seqscan = off;
    SET LOCAL jit = off;
    SET LOCAL lock_timeout = '500ms';
    SELECT set_config('synchronous_commit', 'on', true)
        FROM pg_settings WHERE name = 'synchronous_commit' AND setting = 'off';
";

/// Sets a session up, sees that the table is one that this release knows, and tells the time there.
pub(super) async fn set_up(
    client: &Client,
    table: &str,
    pooler: bool,
) -> Result<Timestamp, Failure> {
    let set_up = if pooler { "" } else { SET_UP };
    let ask = format!(
        "{set_up} SELECT to_regclass('{table}') IS NOT NULL,
            obj_description(to_regclass('{table}'), 'pg_class'),
            (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    );
    let messages = client.simple_query(&ask).await?;
    let row = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let Some(row) = row else { return Err(Failure::Unusable("the server answers without a row")) };
    if row.get(0) != Some("t") {
        return Err(Failure::Unusable("there is no such table: run PostgresStore::migrate"));
    }
    migrate::require(row.get(1))?;
    let micros = row.get(2).and_then(|micros| micros.parse().ok()).unwrap_or_default();
    Ok(Timestamp::from_micros(micros))
}
