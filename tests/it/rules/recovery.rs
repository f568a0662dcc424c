//! Rule 23: a hook that finds out what became of an abandoned claim.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Response, StatusCode};
use tower_idempotency::protocol::{Attempt, Phase};
use tower_idempotency::store::{ErrorKind, Operation};
use tower_idempotency::{Abandoned, Guarantee, InFlight, MemoryStore, Policy, Recovery};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Run, eventually, layer_with, pause};
use crate::support::attempt::{attempt_of, response, slot_of};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::{Ask, keyed};

on_every_store![
    rule_23_a_hook_that_says_rerun_lets_the_next_attempt_run,
    rule_23_a_hook_that_knows_the_response_has_it_stored_and_replayed,
    rule_23_a_hook_that_does_not_know_leaves_the_outcome_unknown,
    rule_23_two_servers_that_meet_an_abandoned_key_run_the_hook_once,
    rule_23_a_hook_decides_under_at_least_once_too,
    rule_23_a_worker_that_comes_back_while_the_hook_runs_has_the_last_word,
    rule_23_who_waits_gets_what_the_hook_found,
];

/// A policy with a hook that counts its calls.
fn asking<A>(
    calls: &Arc<AtomicUsize>,
    ask: impl Fn(Abandoned) -> A + Send + Sync + 'static,
) -> Policy
where
    A: Future<Output = Recovery> + Send + 'static,
{
    let calls = Arc::clone(calls);
    Policy::new().on_abandoned(move |abandoned| {
        calls.fetch_add(1, Ordering::SeqCst);
        ask(abandoned)
    })
}

fn count(calls: &Arc<AtomicUsize>) -> usize {
    calls.load(Ordering::SeqCst)
}

/// A claim whose server has died, its lease lapsed.
async fn abandoned(store: &AnyStore, ask: &Ask) -> Attempt {
    let attempt = attempt_of(ask, Duration::from_millis(50));
    drop(store.claimed(attempt.clone()).await);
    pause(80).await;
    attempt
}

async fn numbered(store: &AnyStore, policy: Policy) -> App {
    App::start(layer_with(store, policy), |run: Run| async move {
        format!("attempt {}", run.claim.expect("a claim").attempt())
    })
    .await
}

async fn rule_23_a_hook_that_says_rerun_lets_the_next_attempt_run(store: AnyStore) {
    let calls = Arc::default();
    let policy = asking(&calls, async |_| Recovery::Rerun);
    let app = numbered(&store, policy).await;
    abandoned(&store, &keyed("k")).await;
    let first = app.send(keyed("k")).await;
    first.is_first("attempt 2");
    app.send(keyed("k")).await.is_replay_of(&first);
    assert_eq!((app.runs(), count(&calls)), (1, 1));
}

async fn rule_23_a_hook_that_knows_the_response_has_it_stored_and_replayed(store: AnyStore) {
    let (calls, seen) = (Arc::default(), Arc::new(Mutex::new(None)));
    let tell = Arc::clone(&seen);
    let policy = asking(&calls, move |abandoned| {
        *tell.lock().unwrap() = Some(abandoned);
        async {
            let mut response = Response::new("charged before".into());
            *response.status_mut() = StatusCode::CREATED;
            for (name, value) in [("location", "/charges/7"), ("set-cookie", "secret")] {
                let name = HeaderName::from_static(name);
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            Recovery::Response(response)
        }
    });
    let app = numbered(&store, policy).await;
    let attempt = abandoned(&store, &keyed("k")).await;
    let fence = store.seen(slot_of(&keyed("k"))).await.record.expect("a record").fence;
    for _ in 0..2 {
        let replay = app.send(keyed("k")).await;
        assert_eq!((replay.status, replay.text()), (201, "charged before"));
        assert!(replay.is_replay());
        assert_eq!(replay.header("location"), Some("/charges/7"));
        assert_eq!(replay.header("set-cookie"), None);
    }
    assert_eq!((app.runs(), count(&calls)), (0, 1));
    let told: Abandoned = seen.lock().unwrap().take().expect("the hook was asked");
    assert_eq!((told.tenant(), told.key().as_str(), told.attempt()), ("", "k", 1));
    assert_eq!((told.fingerprint(), told.fence()), (&attempt.fingerprint, fence));
    assert_eq!(told.slot(), slot_of(&keyed("k")));
    assert_eq!(told.derived_key("card"), told.slot().derived_key("card"));
    assert!(told.age() >= Duration::from_millis(80) && told.age() < Duration::from_secs(60));
    let record = store.seen(slot_of(&keyed("k"))).await.record.expect("a record");
    assert!(matches!(record.phase, Phase::Completed { .. }));
    assert_eq!(record.fence, fence, "it is the outcome of the claim that was abandoned");
}

async fn rule_23_a_hook_that_does_not_know_leaves_the_outcome_unknown(store: AnyStore) {
    let calls = Arc::default();
    let policy = asking(&calls, async |_| Recovery::StillUnknown);
    let app = numbered(&store, policy.lease(Duration::from_millis(400))).await;
    let attempt = abandoned(&store, &keyed("k")).await;
    for _ in 0..3 {
        let unknown = app.send(keyed("k")).await;
        unknown.is_refused(409, "outcome-unknown");
        assert_eq!(unknown.header("retry-after"), None);
    }
    assert_eq!(count(&calls), 1, "an answer stands for a lease");
    pause(600).await;
    app.send(keyed("k")).await.is_refused(409, "outcome-unknown");
    assert_eq!((app.runs(), count(&calls)), (0, 2));
    app.send(keyed("k").body("another")).await.is_refused(422, "key-reused");
    // The worker was only slow: its outcome still counts.
    let record = store.seen(slot_of(&keyed("k"))).await.record.expect("a record");
    assert_eq!((record.nonce, record.attempt), (attempt.nonce, 1));
}

async fn rule_23_two_servers_that_meet_an_abandoned_key_run_the_hook_once(store: AnyStore) {
    for answer in [Recovery::Rerun, Recovery::StillUnknown, Recovery::Response(Response::default())]
    {
        let calls = Arc::default();
        let name = format!("{answer:?}");
        let policy = asking(&calls, move |_| {
            let answer = answer.clone();
            async {
                pause(200).await;
                answer
            }
        });
        let apps = [numbered(&store, policy.clone()).await, numbered(&store, policy).await];
        let ask = keyed(&name[..5]);
        abandoned(&store, &ask).await;
        let asked = [&apps[0], &apps[1], &apps[0], &apps[1]].map(|app| {
            let (app, ask) = (app.clone(), ask.clone());
            tokio::spawn(async move { app.send(ask).await })
        });
        for request in asked {
            let answer = request.await.expect("an answer");
            assert!(answer.status == 200 || answer.status == 409, "{answer:?}");
        }
        for app in [&apps[0], &apps[1]] {
            app.settled_or_unknown(&ask).await;
        }
        assert_eq!(count(&calls), 1, "{name}");
        assert!(apps[0].runs() + apps[1].runs() <= 1);
    }
}

async fn rule_23_a_hook_decides_under_at_least_once_too(store: AnyStore) {
    let calls = Arc::default();
    let policy = asking(&calls, async |_| Recovery::StillUnknown);
    let app = numbered(&store, policy.guarantee(Guarantee::AtLeastOnce)).await;
    abandoned(&store, &keyed("k")).await;
    app.send(keyed("k")).await.is_refused(409, "outcome-unknown");
    assert_eq!((app.runs(), count(&calls)), (0, 1));
}

async fn rule_23_a_worker_that_comes_back_while_the_hook_runs_has_the_last_word(store: AnyStore) {
    for (name, answer) in
        [("a", Recovery::Rerun), ("b", Recovery::Response(Response::new("the hook's".into())))]
    {
        let calls = Arc::default();
        let policy = asking(&calls, move |_| {
            let answer = answer.clone();
            async {
                pause(300).await;
                answer
            }
        });
        let app = numbered(&store, policy).await;
        let claim = store.claimed(attempt_of(&keyed(name), Duration::from_millis(50))).await;
        pause(80).await;
        let asked = tokio::spawn({
            let app = app.clone();
            async move { app.send(keyed(name)).await }
        });
        eventually(|| count(&calls) == 1).await;
        store.completed(&claim, &response(200, "the worker's")).await;
        let answer = asked.await.expect("an answer");
        assert_eq!((answer.is_replay(), answer.text()), (true, "the worker's"));
        assert_eq!(app.runs(), 0);
    }
}

async fn rule_23_who_waits_gets_what_the_hook_found(store: AnyStore) {
    let calls = Arc::default();
    let policy = asking(&calls, async |_| {
        pause(300).await;
        Recovery::Response(Response::new("the hook's".into()))
    });
    let policy = policy.in_flight(InFlight::wait(Duration::from_secs(10)));
    let apps = [numbered(&store, policy.clone()).await, numbered(&store, policy).await];
    abandoned(&store, &keyed("k")).await;
    let asked = (0..10).map(|number| {
        let app = apps[number % 2].clone();
        tokio::spawn(async move { app.send(keyed("k")).await })
    });
    for request in asked.collect::<Vec<_>>() {
        let answer = request.await.expect("an answer");
        assert_eq!((answer.is_replay(), answer.text()), (true, "the hook's"));
    }
    assert_eq!(count(&calls), 1);
}

#[tokio::test]
async fn rule_23_a_hook_that_panics_or_takes_too_long_leaves_the_outcome_unknown() {
    let store = AnyStore::Memory(Arc::new(MemoryStore::new()));
    let hooks = [
        Policy::new().on_abandoned(|_| -> std::future::Ready<Recovery> { panic!("a bug") }),
        Policy::new().on_abandoned(async |_| panic!("a bug")),
        Policy::new().max_run(Duration::from_millis(100)).on_abandoned(async |_| {
            std::future::pending::<()>().await;
            Recovery::Rerun
        }),
    ];
    for (number, policy) in hooks.into_iter().enumerate() {
        let app = numbered(&store, policy).await;
        let ask = keyed(&format!("{number}"));
        abandoned(&store, &ask).await;
        app.send(&ask).await.is_refused(409, "outcome-unknown");
        assert_eq!(app.runs(), 0);
    }
}

#[tokio::test]
async fn rule_23_a_hook_whose_answer_cannot_be_stored_is_asked_again() {
    let inner = AnyStore::memory();
    let store = FaultyStore::new(&inner);
    let calls = Arc::default();
    let policy = asking(&calls, async |_| Recovery::Response(Response::new("the hook's".into())));
    let builder = crate::support::app::layer(&store).policy(policy);
    let builder = builder.store_timeout(Duration::from_millis(100));
    let app = App::counting(builder.build().expect("valid")).await;
    abandoned(&inner, &keyed("k")).await;
    store.fault(Operation::Resolve, Fault::Fails(ErrorKind::Unreachable));
    app.send(keyed("k")).await.is_refused(503, "store-unavailable");
    store.recover();
    let replay = app.settled(keyed("k")).await;
    assert_eq!((replay.is_replay(), replay.text()), (true, "the hook's"));
    assert_eq!(count(&calls), 2);
}

#[tokio::test]
async fn rule_23_a_server_that_dies_while_it_asks_leaves_the_question_to_the_next() {
    let store = AnyStore::memory();
    let calls = Arc::default();
    let policy = asking(&calls, async |_| Recovery::Rerun).lease(Duration::from_millis(300));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("one");
    let (dying, ask) = (store.clone(), keyed("k"));
    abandoned(&store, &ask).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    runtime.spawn(async move {
        let stuck = Policy::new().lease(Duration::from_millis(300)).on_abandoned(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            std::future::pending()
        });
        let app = numbered(&dying, stuck).await;
        app.send(keyed("k")).await
    });
    eventually(|| count(&asked) == 1).await;
    runtime.shutdown_background();
    let app = numbered(&store, policy).await;
    let first = app.settled(&ask).await;
    first.is_first("attempt 2");
    assert_eq!(count(&calls), 1);
}
