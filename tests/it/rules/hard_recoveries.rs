//! Hard cases of abandoned claims: what else can happen to a claim while somebody finds out what
//! became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use tokio::sync::Notify;
use tower_idempotency::clock::ManualClock;
use tower_idempotency::protocol::{Attempt, Ran, Reply, TakeOver};
use tower_idempotency::store::{ErrorKind, Operation, Store as _};
use tower_idempotency::{IdempotencyLayer, InFlight, MemoryStore, Policy, Recovery};

use crate::support::any_store::{AnyStore, on_every_store};
use crate::support::app::{App, Run, eventually, layer_with, pause};
use crate::support::attempt::{attempt_of, response};
use crate::support::faulty_store::{Fault, FaultyStore};
use crate::support::http::{Ask, keyed};

on_every_store![rule_24_a_worker_whose_claim_was_resolved_gives_the_answer_that_stands];

/// A hook that gives its answer when it is told to.
#[derive(Clone, Default)]
struct Gate {
    asked: Arc<AtomicUsize>,
    open: Arc<Notify>,
}

impl Gate {
    fn policy(&self, answer: Recovery) -> Policy {
        let gate = self.clone();
        Policy::new().on_abandoned(move |_| {
            gate.asked.fetch_add(1, Ordering::SeqCst);
            let (gate, answer) = (gate.clone(), answer.clone());
            async move {
                gate.open.notified().await;
                answer
            }
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn known() -> Recovery {
    Recovery::Response(Response::new("the hook's".into()))
}

async fn numbered(layer: IdempotencyLayer) -> App {
    App::start(layer, |run: Run| async move {
        format!("attempt {}", run.claim.expect("a claim").attempt())
    })
    .await
}

/// Another server claims the slot of a request, or takes it over, and dies.
async fn abandoned(store: &AnyStore, ask: &Ask) -> Attempt {
    let mut attempt = attempt_of(ask, Duration::from_millis(50));
    attempt.take_over = TakeOver::Below(5);
    drop(store.claimed(attempt.clone()).await);
    pause(80).await;
    attempt
}

async fn rule_24_a_worker_whose_claim_was_resolved_gives_the_answer_that_stands(inner: AnyStore) {
    // It learns so from the refusal of its outcome, and from nothing else.
    let store = FaultyStore::new(&inner);
    for verb in [Operation::Renew, Operation::Look] {
        store.fault(verb, Fault::Fails(ErrorKind::Unreachable));
    }
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let policy = Policy::new().lease(Duration::from_millis(200));
    let frozen = App::start(layer_with(&store, policy), move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            "the worker's"
        }
    })
    .await;
    let worker = frozen.in_background(&keyed("k"));
    eventually(|| frozen.runs() == 1).await;
    pause(400).await;
    let hook = Policy::new().on_abandoned(async |_| known());
    let other = numbered(layer_with(&inner, hook)).await;
    let resolved = other.send(keyed("k")).await;
    assert_eq!(resolved.text(), "the hook's");
    go.notify_one();
    worker.await.expect("an answer").is_replay_of(&resolved);
    frozen.send(keyed("k")).await.is_replay_of(&resolved);
}

#[tokio::test]
async fn rule_24_a_worker_that_counts_its_claim_as_live_gives_the_answer_that_stands() {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(MemoryStore::with_clock(Arc::clone(&clock)));
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let late = App::start(layer_with(&store, Policy::new()), move |run: Run| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            assert!(run.claim.expect("a claim").is_live());
            "the worker's"
        }
    })
    .await;
    let worker = late.in_background(&keyed("k"));
    eventually(|| late.runs() == 1).await;
    // The store's clock jumps, and the server's does not.
    clock.advance(Duration::from_secs(40));
    let hook = Policy::new().on_abandoned(async |_| known());
    let resolved = numbered(layer_with(&store, hook)).await.send(keyed("k")).await;
    assert_eq!(resolved.text(), "the hook's");
    go.notify_one();
    worker.await.expect("an answer").is_replay_of(&resolved);
    late.send(keyed("k")).await.is_replay_of(&resolved);
}

#[tokio::test]
async fn rule_23_a_hook_that_says_rerun_says_so_of_one_claim_only() {
    let store = AnyStore::memory();
    let gate = Gate::default();
    let app = numbered(layer_with(&store, gate.policy(Recovery::Rerun))).await;
    abandoned(&store, &keyed("k")).await;
    let asks = app.in_background(&keyed("k"));
    eventually(|| gate.asked() == 1).await;
    // A server without a hook takes over and dies as well: of its claim nobody has been asked.
    abandoned(&store, &keyed("k")).await;
    gate.open.notify_one();
    asks.await.expect("an answer").is_refused(409, "outcome-unknown");
    assert_eq!(app.runs(), 0);
    gate.open.notify_one();
    app.send(keyed("k")).await.is_first("attempt 3");
    assert_eq!(gate.asked(), 2);
}

#[tokio::test]
async fn rule_23_a_hook_that_says_rerun_does_not_speak_of_a_later_claim_of_the_same_number() {
    let store = AnyStore::memory();
    let gate = Gate::default();
    let app = numbered(layer_with(&store, gate.policy(Recovery::Rerun))).await;
    let first = abandoned(&store, &keyed("k")).await;
    let asks = app.in_background(&keyed("k"));
    eventually(|| gate.asked() == 1).await;
    // Its worker comes back and has executed nothing; the next begins as attempt 1 again and dies.
    let within = Duration::from_secs(1);
    store.release(&first, Ran::No, within, within).await.expect("it is released");
    abandoned(&store, &keyed("k")).await;
    gate.open.notify_one();
    asks.await.expect("an answer").is_refused(409, "outcome-unknown");
    assert_eq!(app.runs(), 0);
}

#[tokio::test]
async fn rule_22_a_rerun_that_finds_its_own_early_claim_renews_it_before_it_runs() {
    let inner = AnyStore::memory();
    let (store, gate) = (FaultyStore::new(&inner), Gate::default());
    let policy = gate.policy(Recovery::Rerun).lease(Duration::from_millis(150));
    let looks = inner.clone();
    let app = App::start(layer_with(&store, policy), move |run: Run| {
        let looks = looks.clone();
        async move {
            let slot = attempt_of(&keyed("k"), Duration::ZERO).slot;
            let seen = looks.look(slot, Duration::from_secs(1)).await.expect("the store answers");
            let fence = run.claim.expect("a claim").fence();
            format!("live: {}", seen.running(fence).is_some())
        }
    })
    .await;
    let first = abandoned(&inner, &keyed("k")).await;
    store.fault(Operation::Begin, Fault::Overtaken);
    let asks = app.in_background(&keyed("k"));
    eventually(|| gate.asked() == 1).await;
    // Its worker has executed nothing. Then the first copy of the begin arrives, claims, and lapses.
    let within = Duration::from_secs(1);
    inner.release(&first, Ran::No, within, within).await.expect("it is released");
    assert!(matches!(store.make_overtaken().await, Reply::Started(_)));
    pause(200).await;
    gate.open.notify_one();
    asks.await.expect("an answer").is_first("live: true");
}

#[tokio::test]
async fn rule_14_what_became_of_a_key_while_the_hook_ran_is_told_to_the_same_request_only() {
    let store = AnyStore::memory();
    let gate = Gate::default();
    let app = numbered(layer_with(&store, gate.policy(known()))).await;
    abandoned(&store, &keyed("k")).await;
    let asks = app.in_background(&keyed("k"));
    eventually(|| gate.asked() == 1).await;
    let later = abandoned(&store, &keyed("k")).await;
    let within = Duration::from_secs(1);
    store.release(&later, Ran::No, within, within).await.expect("it is released");
    let another = attempt_of(&keyed("k").body("another"), within);
    let another = store.claimed(another).await;
    store.completed(&another, &response(200, "of another request")).await;
    gate.open.notify_one();
    asks.await.expect("an answer").is_refused(422, "key-reused");
}

#[tokio::test]
async fn rule_23_a_look_that_fails_leaves_the_question_open() {
    let inner = AnyStore::memory();
    let store = FaultyStore::new(&inner);
    let app = numbered(layer_with(&store, Policy::new().on_abandoned(async |_| known()))).await;
    abandoned(&inner, &keyed("k")).await;
    store.fault(Operation::Look, Fault::Fails(ErrorKind::Unreachable));
    app.send(keyed("k")).await.is_refused(503, "store-unavailable");
    store.recover();
    assert_eq!(app.send(keyed("k")).await.text(), "the hook's");
}

#[tokio::test]
async fn rule_23_who_has_its_answer_does_not_wait_for_another_server_that_asks_as_well() {
    let inner = AnyStore::memory();
    let store = FaultyStore::new(&inner);
    store.fault(Operation::Renew, Fault::Fails(ErrorKind::Unreachable));
    let (gates, lease) = ([Gate::default(), Gate::default()], Duration::from_millis(200));
    let policy = |gate: &Gate| {
        let patient = InFlight::wait(Duration::from_secs(60));
        gate.policy(known()).lease(lease).in_flight(patient)
    };
    let one = numbered(layer_with(&store, policy(&gates[0]))).await;
    let other = numbered(layer_with(&inner, policy(&gates[1]))).await;
    abandoned(&inner, &keyed("k")).await;
    let first = one.in_background(&keyed("k"));
    eventually(|| gates[0].asked() == 1).await;
    // The right to ask lapses.
    pause(400).await;
    let second = other.in_background(&keyed("k"));
    eventually(|| gates[1].asked() == 1).await;
    gates[0].open.notify_one();
    let first = tokio::time::timeout(Duration::from_secs(10), first).await.expect("in time");
    assert_eq!(first.expect("an answer").text(), "the hook's");
    gates[1].open.notify_one();
    assert_eq!(second.await.expect("an answer").text(), "the hook's");
}

#[tokio::test]
async fn rule_23_a_rerun_that_came_too_late_leaves_the_question_open() {
    let inner = AnyStore::memory();
    let store = FaultyStore::new(&inner);
    let slow = store.clone();
    let policy = Policy::new().on_abandoned(move |_| {
        slow.fault(Operation::Begin, Fault::Late);
        async { Recovery::Rerun }
    });
    let app = numbered(layer_with(&store, policy)).await;
    abandoned(&inner, &keyed("k")).await;
    app.send(keyed("k")).await.is_refused(503, "store-unavailable");
    store.recover();
    let policy = Policy::new().on_abandoned(async |_| Recovery::Rerun);
    let other = numbered(layer_with(&inner, policy)).await;
    other.settled_or_unknown(&keyed("k")).await.is_first("attempt 2");
}

#[tokio::test]
async fn rule_23_a_worker_that_comes_back_answers_for_a_hook_that_does_not_know() {
    let store = AnyStore::memory();
    let gate = Gate::default();
    let app = numbered(layer_with(&store, gate.policy(Recovery::StillUnknown))).await;
    let claim = store.claimed(attempt_of(&keyed("k"), Duration::from_millis(50))).await;
    pause(80).await;
    let asks = app.in_background(&keyed("k"));
    eventually(|| gate.asked() == 1).await;
    store.completed(&claim, &response(200, "the worker's")).await;
    gate.open.notify_one();
    assert_eq!(asks.await.expect("an answer").text(), "the worker's");
}

#[tokio::test]
async fn rule_27_where_a_hook_may_decide_otherwise_an_answer_is_given_only_while_the_claim_is_live()
{
    let store = FaultyStore::new(&AnyStore::memory());
    let policy = || Policy::new().lease(Duration::from_millis(200));
    for (hook, status) in [(false, 200), (true, 503)] {
        let policy = match hook {
            true => policy().on_abandoned(async |_| Recovery::Rerun),
            false => policy(),
        };
        let builder = crate::support::app::layer(&store).policy(policy);
        let builder = builder.store_timeout(Duration::from_millis(50));
        let app = App::start(builder.build().expect("valid"), |_| pause(500)).await;
        let ask = keyed(&format!("{hook}"));
        let request = app.in_background(&ask);
        eventually(|| app.runs() == 1).await;
        for verb in [Operation::Renew, Operation::Complete] {
            store.fault(verb, Fault::Fails(ErrorKind::Unreachable));
        }
        assert_eq!(request.await.expect("an answer").status, status, "hook: {hook}");
        store.recover();
    }
}
