//! A cache in front of the store, past which the outcome is committed.

use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;
use tower_idempotency::{NearCache, Policy};

use super::{Shop, a_key};
use crate::support::app::{App, layer_with};
use crate::support::http::Server;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cached_while_a_handler_ran_is_forgotten_when_its_outcome_is_committed() {
    let (shop, (key, ask)) = (Shop::open(), a_key());
    let cache = Arc::new(NearCache::new(Arc::clone(&shop.store)));
    let (itself, old) = (Arc::new(OnceLock::<Server>::new()), format!("{}_old", shop.records));
    let handler = {
        let (shop, itself, old, ask) =
            (shop.clone(), Arc::clone(&itself), old.clone(), ask.clone());
        move |run: crate::support::app::Run| {
            let (shop, itself, ask) = (shop.clone(), Arc::clone(&itself), ask.clone());
            let old = old.clone();
            async move {
                let tx = shop.charge(&run).await;
                if run.number == 2 {
                    // The answer of a server that had looked before the record expired comes late.
                    let records = &shop.records;
                    let swap = |to: &str| {
                        shop.server.query(&format!(
                            "CREATE TABLE {records}_{to} AS TABLE {records}; DELETE FROM {records};
                             INSERT INTO {records} TABLE {old}; SELECT 1"
                        ));
                    };
                    swap("mine");
                    let late = itself.get().expect("a server").send(ask).await;
                    assert_eq!((late.text(), late.is_replay()), ("1", true));
                    shop.server.query(&format!(
                        "DELETE FROM {records}; INSERT INTO {records} TABLE {records}_mine; SELECT 1"
                    ));
                }
                drop(tx);
                (StatusCode::CREATED, run.number.to_string())
            }
        }
    };
    let app = App::start(layer_with(&cache, Policy::new()), handler).await;
    itself.set(app.server).expect("it is set once");
    assert_eq!(app.send(&ask).await.text(), "1");
    // The record expires, and so does what the handler wrote under it.
    shop.server.query(&format!(
        "CREATE TABLE {old} AS TABLE {0}; DELETE FROM {0}; DELETE FROM {1}; SELECT 1",
        shop.records, shop.charges
    ));
    assert_eq!(app.send(&ask).await.text(), "2");
    let retry = app.send(&ask).await;
    assert_eq!((retry.text(), retry.is_replay(), shop.rows(&key)), ("2", true, 1));
}
