//! Clients that go away, and servers that are asked to.

use std::collections::HashSet;

use crate::support::app::{eventually, pause};
use crate::support::http::post;
use crate::support::process::{Ledger, Process, slow, until_settled};
use crate::support::redis::shared;

fn flags(ledger: &Ledger) -> Vec<String> {
    let prefix = uuid::Uuid::new_v4().to_string();
    ["--prefix", &prefix, "--ledger", ledger.path()].map(str::to_owned).into()
}

fn start(flags: &[String]) -> Process {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Process::start(&shared().url(), &flags)
}

#[tokio::test]
async fn w13_clients_that_hang_up_get_their_answers_with_the_retry() {
    let ledger = Ledger::new();
    let server = start(&flags(&ledger));
    for after in [0, 1, 2, 5, 10, 20, 50, 100, 190, 200, 210] {
        let key = format!("hung-up-after-{after}");
        let request = slow(200, &key);
        let mut client = server.http().connect().await;
        client.write(&request).await;
        pause(after).await;
        drop(client);
        let answer = until_settled(&server, &request).await;
        assert_eq!(answer.status, 200, "{after}");
        assert_eq!(ledger.starts(&key), [1], "{after}");
    }
}

#[tokio::test]
async fn w14_a_server_that_is_asked_to_end_finishes_what_runs() {
    let ledger = Ledger::new();
    let flags = flags(&ledger);
    let server = start(&flags);
    let mut waiting = server.http().connect().await;
    waiting.write(slow(800, "waiting")).await;
    let mut gone = server.http().connect().await;
    gone.write(slow(800, "gone")).await;
    let idle = server.http().connect().await;
    eventually(|| ledger.starts("waiting") == [1] && ledger.starts("gone") == [1]).await;
    drop(gone);
    server.terminate();
    let first = waiting.read().await;
    assert_eq!(first.status, 200);
    assert!(server.ended().await.success());
    drop(idle);
    let next = start(&flags);
    for (key, body) in [("waiting", Some(&first.body)), ("gone", None)] {
        let replay = next.send(&slow(800, key)).await;
        assert_eq!((replay.status, replay.is_replay()), (200, true), "{key}");
        assert_eq!(&replay.body, body.unwrap_or(&replay.body), "{key}");
    }
    assert_eq!((ledger.starts("waiting"), ledger.starts("gone")), (vec![1], vec![1]));
}

#[tokio::test]
async fn w14_a_rolling_restart_under_load_runs_every_key_once() {
    let ledger = Ledger::new();
    let flags = flags(&ledger);
    let mut servers = [start(&flags), start(&flags)];
    for round in 0..6 {
        let keys: Vec<String> = (0..10).map(|number| format!("{round}-{number}")).collect();
        for key in &keys {
            let mut client = servers[0].http().connect().await;
            client.write(slow(100, key)).await;
            pause(2).await;
        }
        let [ending, staying] = servers;
        ending.terminate();
        for key in &keys {
            let answer = until_settled(&staying, &slow(100, key)).await;
            assert_eq!(answer.status, 200);
            assert_eq!(ledger.starts(key), [1]);
        }
        assert!(ending.ended().await.success());
        servers = [staying, start(&flags)];
    }
}

#[tokio::test]
async fn a_hundred_clients_on_two_servers_run_one_key_once() {
    let ledger = Ledger::new();
    let flags = flags(&ledger);
    let servers = [start(&flags), start(&flags)];
    let request = post("/slow/50").key("hot").body("the same");
    let answers = (0..100).map(|number| {
        let (server, request) = (servers[number % 2].http(), request.clone());
        tokio::spawn(async move { server.send(request).await })
    });
    let mut bodies = HashSet::new();
    for answer in answers.collect::<Vec<_>>() {
        let answer = answer.await.expect("an answer");
        match answer.status {
            200 => _ = bodies.insert(answer.body),
            _ => answer.is_refused(409, "in-progress"),
        }
    }
    for server in &servers {
        bodies.insert(until_settled(server, &request).await.body);
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(ledger.starts("hot"), [1]);
}
