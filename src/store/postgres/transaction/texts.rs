//! What is said at the beginning and at the end of a handler's transaction.

use deadpool_postgres::tokio_postgres::IsolationLevel;
use deadpool_postgres::tokio_postgres::types::Type;

use crate::protocol::Claim;
use crate::store::postgres::settings::Settings;

/// Where a transaction goes back to if its handler has refused the request.
pub(super) const SAVEPOINT: &str = "SAVEPOINT tower_idempotency";

/// The types of the arguments of what marks a record, and of what stores an outcome.
pub(super) const JOIN_TYPES: [Type; 3] = [Type::BYTEA, Type::BYTEA, Type::INT8];
pub(super) const COMMIT_TYPES: [Type; 5] =
    [Type::BYTEA, Type::BYTEA, Type::INT8, Type::BYTEA, Type::INT8];

/// What begins a handler's transaction. Others have to wait for what it has locked, so the server
/// ends it if its worker stands still for a lease, and looks whether there is still one while a
/// statement runs. What is set ends with the transaction, so that no other one is taken for it.
pub(in crate::store::postgres) fn begin_text(settings: &Settings, claim: &Claim) -> String {
    let level = match settings.isolation {
        IsolationLevel::Serializable => "SERIALIZABLE",
        IsolationLevel::RepeatableRead => "REPEATABLE READ",
        _ => "READ COMMITTED",
    };
    let (fence, lease) = (claim.grant().fence.number(), claim.attempt().lease);
    let idle = u64::try_from((lease - lease / 20).as_millis()).unwrap_or(u64::MAX);
    let idle = idle.clamp(1, i32::MAX as u64);
    let look = (idle / 4).clamp(1, 1000);
    let setting = "current_setting('idle_in_transaction_session_timeout')::interval";
    format!(
        "BEGIN ISOLATION LEVEL {level} READ WRITE;
        SELECT {AT_ITS_START},
            set_config('tower_idempotency.claim', '{fence}', true),
            {DURABLE},
            CASE WHEN {setting} = '0' OR {setting} > '{idle} ms'
                THEN set_config('idle_in_transaction_session_timeout', '{idle}ms', true) END,
            CASE WHEN current_setting('client_connection_check_interval') = '0'
                    AND version() LIKE '%linux%'
                THEN set_config('client_connection_check_interval', '{look}ms', true) END"
    )
}

/// What is said before the record is marked: whatever the default is, it is one short transaction
/// that is durable when it has ended.
pub(super) fn join_text() -> String {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
        SELECT {AT_ITS_START}, {DURABLE}, set_config('lock_timeout', '500ms', true),
            set_config('enable_seqscan', 'off', true)"
    )
}

/// Fails where a transaction had begun before the `BEGIN` that is sent together with this: that only
/// warns, and what somebody else has left there would be committed with the outcome.
const AT_ITS_START: &str = "CASE WHEN transaction_timestamp() <> statement_timestamp()
    THEN current_setting('tower_idempotency.in_a_transaction_of_others') END";

/// A commit waits for the disk.
const DURABLE: &str = "CASE WHEN current_setting('synchronous_commit') = 'off'
    THEN set_config('synchronous_commit', 'on', true) END";

/// The outcome is stored by the index, however small the table is: a scan of all of it would be in
/// the way of every other transaction under `SERIALIZABLE`.
pub(in crate::store::postgres) const BY_THE_INDEX: &str = "SET LOCAL enable_seqscan = off";
