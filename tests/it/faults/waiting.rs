//! Servers that wait for each other's answers, and abandoned keys that two of them meet.

use crate::support::app::{answers, eventually, pause};
use crate::support::http::{Answer, Ask};
use crate::support::process::{Ledger, Process, slow, until_settled};
use crate::support::redis::shared;
use crate::support::wire::Wire;

struct Pair {
    first: Process,
    second: Process,
    ledger: Ledger,
}

/// Two servers on one Redis.
fn pair(flags: &[&str]) -> Pair {
    let ledger = Ledger::new();
    let prefix = uuid::Uuid::new_v4().to_string();
    let places = ["--prefix", &prefix, "--ledger", ledger.path()];
    let start = || Process::start(&shared().url(), &[flags, &places].concat());
    Pair { first: start(), second: start(), ledger }
}

/// The same request this many times at once.
fn crowd(server: &Process, request: &Ask, size: usize) -> Vec<tokio::task::JoinHandle<Answer>> {
    let sends = (0..size).map(|_| {
        let (server, request) = (server.http(), request.clone());
        tokio::spawn(async move { server.send(&request).await })
    });
    sends.collect()
}

#[tokio::test]
async fn w27_two_hundred_who_wait_on_two_servers_get_one_answer() {
    let Pair { first, second, ledger } = pair(&["--in-flight", "wait:20000"]);
    let request = slow(700, "k");
    let crowds = [crowd(&first, &request, 100), crowd(&second, &request, 100)];
    let mut all = Vec::new();
    for crowd in crowds {
        all.extend(answers(crowd).await);
    }
    assert_eq!(ledger.starts("k"), [1]);
    let first = all.iter().find(|answer| !answer.is_replay()).expect("a first answer").clone();
    let replays: Vec<_> = all.iter().filter(|answer| answer.is_replay()).collect();
    assert_eq!(replays.len(), 199);
    replays.iter().for_each(|replay| replay.is_replay_of(&first));
}

#[tokio::test]
async fn w27_those_who_wait_for_a_server_that_is_killed_are_told_or_take_over() {
    for (guarantee, status) in [("at-most-once", 409), ("at-least-once", 200)] {
        let flags = ["--in-flight", "wait:20000", "--lease-ms", "700", "--guarantee", guarantee];
        let Pair { first, second, ledger } = pair(&flags);
        let request = slow(400, "k");
        let mut client = first.http().connect().await;
        client.write(&request).await;
        eventually(|| ledger.starts("k") == [1]).await;
        let waiters = crowd(&second, &request, 10);
        pause(100).await;
        first.kill();
        let answers = answers(waiters).await;
        assert!(answers.iter().all(|answer| answer.status == status), "{answers:?}");
        let runs: &[u64] = if status == 200 { &[1, 2] } else { &[1] };
        assert_eq!(ledger.starts("k"), runs, "{guarantee}");
    }
}

#[tokio::test]
async fn w27_who_waits_while_a_server_is_frozen_gets_its_answer_when_it_goes_on() {
    let flags = ["--in-flight", "wait:20000", "--lease-ms", "5000"];
    let Pair { first, second, ledger } = pair(&flags);
    let request = slow(200, "k");
    let mut client = first.http().connect().await;
    client.write(&request).await;
    eventually(|| ledger.starts("k") == [1]).await;
    let waiters = crowd(&second, &request, 5);
    first.pause();
    pause(500).await;
    assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
    first.resume();
    let answer = client.read().await;
    answers(waiters).await.iter().for_each(|replay| replay.is_replay_of(&answer));
}

#[tokio::test]
async fn two_servers_that_meet_an_abandoned_key_ask_once_what_became_of_it() {
    for (answer, status) in [("rerun", 200), ("respond", 200), ("still-unknown", 409)] {
        let ledger = Ledger::new();
        let prefix = uuid::Uuid::new_v4().to_string();
        let start = || {
            let flags = ["--on-abandoned", answer, "--lease-ms", "900", "--prefix", &prefix];
            Process::start(&shared().url(), &[&flags[..], &["--ledger", ledger.path()]].concat())
        };
        let (dying, pair) = (start(), [start(), start()]);
        let request = slow(300, "k");
        let mut client = dying.http().connect().await;
        client.write(&request).await;
        eventually(|| ledger.starts("k") == [1]).await;
        dying.kill();
        let crowds = pair.each_ref().map(|server| crowd(server, &request, 5));
        let settled = futures_util::future::join(
            until_settled(&pair[0], &request),
            until_settled(&pair[1], &request),
        );
        let (one, other) = settled.await;
        assert_eq!([one.status, other.status], [status; 2], "{answer}: {one:?} {other:?}");
        for crowd in crowds {
            answers(crowd).await;
        }
        assert_eq!(ledger.asked("k"), [1], "{answer}");
        let runs: &[u64] = if answer == "rerun" { &[1, 2] } else { &[1] };
        assert_eq!(ledger.starts("k"), runs, "{answer}");
    }
}

#[tokio::test]
async fn w27_five_hundred_who_wait_on_two_servers_cost_redis_a_handful_of_commands() {
    let ledger = Ledger::new();
    let prefix = uuid::Uuid::new_v4().to_string();
    let places = ["--prefix", &prefix, "--ledger", ledger.path()];
    let wires = [Wire::to(shared().port()).await, Wire::to(shared().port()).await];
    let flags = [&["--in-flight", "wait:20000"][..], &places].concat();
    let servers = wires.each_ref().map(|wire| Process::start(&wire.url(), &flags));
    // Each has its connections and has sent its scripts, the one that watches included.
    for (server, other) in [(&servers[0], &servers[1]), (&servers[1], &servers[0])] {
        let warm = slow(200, &format!("warm-{}", server.id()));
        let running = crowd(server, &warm, 1);
        eventually(|| ledger.starts(&format!("warm-{}", server.id())) == [1]).await;
        assert!(other.send(&warm).await.is_replay());
        answers(running).await;
    }
    wires.iter().for_each(Wire::reset);

    let request = slow(4000, "k");
    let mut client = servers[0].http().connect().await;
    client.write(&request).await;
    eventually(|| ledger.starts("k") == [1]).await;
    let crowds = servers.each_ref().map(|server| crowd(server, &request, 250));
    let first = client.read().await;
    for crowd in crowds {
        answers(crowd).await.iter().for_each(|replay| replay.is_replay_of(&first));
    }
    assert_eq!(ledger.starts("k"), [1]);
    // The one that runs it claims and completes. The other asks, then looks, is told, and looks again;
    // and about once a second in between, in case nobody tells.
    assert_eq!(wires[0].commands(), ["EVALSHA", "EVALSHA"]);
    let commands = wires[1].commands();
    let (begin, looks) = commands.split_first().expect("it asks");
    assert_eq!(begin, "EVALSHA");
    assert!(looks.iter().all(|look| look == "EVAL"), "{looks:?}");
    assert!((2..=8).contains(&looks.len()), "{looks:?}");
}
