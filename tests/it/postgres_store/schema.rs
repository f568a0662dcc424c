//! The table: how it comes to be, who may use it, and what is refused.

use std::error::Error as _;
use std::sync::Arc;

use tokio::task::JoinSet;
use tower_idempotency::protocol::Reply;
use tower_idempotency::store::{Effect, Error, ErrorKind, Operation, PostgresStore, Store};

use super::{WITHIN, attempt, complete, rows, slot, start, table};
use crate::support::postgres::shared;

fn unmigrated(name: &str) -> PostgresStore {
    let store = PostgresStore::connect(&shared().url()).expect("an address");
    store.table(name).expect("a name")
}

fn cause(error: &Error) -> String {
    error.source().expect("a cause").to_string()
}

#[tokio::test]
async fn any_number_of_servers_may_migrate_at_once_and_again() {
    let name = table();
    let mut migrations = JoinSet::new();
    for _ in 0..20 {
        let store = unmigrated(&name);
        migrations.spawn(async move { store.migrate().await });
    }
    for migrated in migrations.join_all().await {
        migrated.expect("migrated");
    }
    let store = Arc::new(unmigrated(&name));
    let claim = start(&store).await;
    store.migrate().await.expect("migrated again");
    complete(&store, &claim, "done").await;
    assert_eq!(rows(shared(), &name), 1);
}

#[tokio::test]
async fn a_table_that_is_missing_is_said_to_be_and_used_when_it_is_there() {
    let store = unmigrated(&table());
    let error = store.begin(&attempt(slot()), WITHIN).await.expect_err("no table");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Refused, Effect::None));
    assert_eq!(cause(&error), "there is no such table: run PostgresStore::migrate");
    store.migrate().await.expect("migrated");
    let _claim = start(&store).await;
}

#[tokio::test]
async fn an_older_schema_is_refused_and_a_newer_one_is_not() {
    let name = table();
    let comment = |text: &str| shared().query(&format!("COMMENT ON TABLE {name} IS {text};"));
    unmigrated(&name).migrate().await.expect("migrated");
    for text in ["NULL", "'tower-idempotency schema 0'"] {
        comment(text);
        let error = unmigrated(&name).begin(&attempt(slot()), WITHIN).await.expect_err("too old");
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Refused, Effect::None));
        assert!(cause(&error).contains("run PostgresStore::migrate"), "{}", cause(&error));
    }
    comment("'tower-idempotency schema 99'");
    let _claim = start(&unmigrated(&name)).await;
    unmigrated(&name).migrate().await.expect("there is nothing to do");
}

#[tokio::test]
async fn the_files_make_the_same_table() {
    let text = include_str!("../../../src/store/postgres/migrations/1.sql");
    let name = table();
    assert_eq!(unmigrated("idempotency_records").migrations().collect::<Vec<_>>(), [text]);
    for text in unmigrated(&name).migrations() {
        shared().query(&text);
        shared().query(&text);
    }
    let _claim = start(&unmigrated(&name)).await;
}

#[tokio::test]
async fn a_table_may_be_in_a_schema_of_its_own() {
    let schema = table();
    shared().query(&format!("CREATE SCHEMA {schema}"));
    let store = Arc::new(unmigrated(&format!("{schema}.keys")));
    store.migrate().await.expect("migrated");
    let claim = start(&store).await;
    let watch = super::watch(&store, &claim);
    complete(&store, &claim, "done").await;
    assert!(super::is_completed(&super::end(watch).await));
    assert_eq!(rows(shared(), &format!("{schema}.keys")), 1);
}

/// What the page of the module says that a serving role needs.
const RIGHTS: &str = "GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_records TO app;";

#[tokio::test]
async fn a_role_that_serves_needs_no_right_to_create_anything() {
    let page = include_str!("../../../src/store/postgres/mod.rs");
    assert!(page.contains(RIGHTS), "the page says otherwise");
    let (name, role) = (table(), table());
    let admin = unmigrated(&name);
    admin.migrate().await.expect("migrated");
    shared()
        .query(&format!("CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC;"));
    let url = shared().url().replace("postgres@", &format!("{role}@"));
    let serving = || {
        let store = PostgresStore::connect(&url).expect("an address");
        Arc::new(store.table(&name).expect("a name"))
    };
    let error = serving().begin(&attempt(slot()), WITHIN).await.expect_err("it may not");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Refused, Effect::None));
    assert!(cause(&error).contains("permission denied"), "{}", cause(&error));
    shared().query(&RIGHTS.replace("idempotency_records", &name).replace("app", &role));
    let store = serving();
    let claim = start(&store).await;
    store.renew(&claim, WITHIN).await.expect("renew");
    let watch = super::watch(&store, &claim);
    complete(&store, &claim, "done").await;
    assert!(super::is_completed(&super::end(watch).await));
    let claim = start(&store).await;
    super::release(&store, &claim).await;
    let outcome = super::response("o");
    let resolved = store.resolve(slot(), claim.grant().fence, &outcome, WITHIN, WITHIN).await;
    assert!(matches!(resolved, Ok(Reply::Fenced(_))), "{resolved:?}");
    assert_eq!(store.purge().await.expect("purge"), 0);
    let other = PostgresStore::connect(&url).expect("an address").table(&table());
    let error = other.expect("a name").migrate().await.expect_err("it may not");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Refused, Effect::None));
    assert_eq!(error.operation(), Operation::Migrate);
}
