//! A real process, the example `recovery_points`, that is killed between its phases.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post as on_post;
use http::HeaderMap;

use crate::support::http::{Ask, Server, post};
use crate::support::postgres::{PostgresServer, Version};
use crate::support::process::{Process, until_settled};

/// The bank and the carrier, which stay up.
#[derive(Debug, Default)]
struct Partners {
    asked: Mutex<Vec<(String, String)>>,
    /// Who does not answer.
    stuck: Mutex<Option<&'static str>>,
}

impl Partners {
    async fn serve(self: &Arc<Self>) -> Server {
        let router = Router::new().route("/{service}", on_post(answer));
        Server::start(router.with_state(Arc::clone(self))).await
    }

    /// The keys with which one of them was asked.
    fn asked(&self, service: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(name, _)| name == service).map(|(_, key)| key.clone()).collect()
    }
}

async fn answer(
    State(partners): State<Arc<Partners>>,
    Path(service): Path<String>,
    headers: HeaderMap,
) -> String {
    let key = headers["idempotency-key"].to_str().expect("text").to_owned();
    partners.asked.lock().unwrap().push((service.clone(), key));
    let stuck = *partners.stuck.lock().unwrap() == Some(service.as_str());
    if stuck {
        std::future::pending::<()>().await;
    }
    format!("{service} done")
}

/// Longer than a refusal takes.
const A_MOMENT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_shop_that_is_killed_goes_on_behind_its_last_phase() {
    let database = PostgresServer::start(Version::Packaged, &[]);
    let partners = Arc::new(Partners::default());
    let at = format!("http://127.0.0.1:{}", partners.serve().await.port());
    let shop = || {
        let flags = [&database.url(), "--partners", &at, "--lease-ms", "900"];
        Process::start_example("recovery_points", &flags)
    };
    let order: Ask = post("/orders").key("k").body("apples");
    for (service, orders) in [("authorise", 0), ("ship", 1), ("ship", 1)] {
        *partners.stuck.lock().unwrap() = Some(service);
        let asked = partners.asked(service).len();
        let victim = shop();
        let mut client = victim.http().connect().await;
        // An earlier victim may still keep it out.
        while partners.asked(service).len() == asked {
            client.write(&order).await;
            let answer = tokio::time::timeout(A_MOMENT, client.try_read()).await;
            assert!(!matches!(answer, Ok(None)), "the shop is gone");
        }
        victim.kill();
        assert_eq!(rows(&database), orders, "{service}");
    }
    *partners.stuck.lock().unwrap() = None;
    let survivor = shop();
    let answer = until_settled(&survivor, &order).await;
    assert_eq!((answer.status, answer.text()), (201, "order 1: authorise done, ship done\n"));
    survivor.send(&order).await.is_replay_of(&answer);
    assert_eq!(rows(&database), 1);
    for (service, times) in [("authorise", 2), ("ship", 3)] {
        let mut keys = partners.asked(service);
        assert_eq!(keys.len(), times, "{service}");
        keys.dedup();
        assert_eq!(keys.len(), 1, "{service}");
    }
}

fn rows(database: &PostgresServer) -> i64 {
    database.query("SELECT count(*) FROM shop_orders")[0].get(0)
}
