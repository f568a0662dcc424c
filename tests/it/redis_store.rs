//! What only a real Redis can show: lost replies, full memory, restarts, replicas, foreign values.

use std::time::Duration;

use redis::Value;
use tower_idempotency::clock::{Clock, SystemClock};
use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Fields, Fingerprint, Found, Grant, Guarantee, Nonce, Outcome, Ran,
    Reply, Scheme, Slot,
};
use tower_idempotency::store::redis::Concern;
use tower_idempotency::store::{Effect, Error, ErrorKind, RedisStore, Store};

use crate::support::redis::{RedisServer, shared};
use crate::support::wire::{Loss, Wire};

const WITHIN: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

// --- the wire

#[tokio::test]
async fn begin_and_complete_are_one_round_trip_each() {
    let (wire, store) = wired().await;
    warm_up(&store).await;
    wire.reset();
    let claim = start(&store).await;
    assert_eq!((wire.commands(), wire.replies()), (vec!["EVALSHA".to_owned()], 1));
    wire.reset();
    complete(&store, &claim, "done").await;
    assert_eq!((wire.commands(), wire.replies()), (vec!["EVALSHA".to_owned()], 1));
    wire.reset();
    let retry = attempt(claim.attempt().slot);
    assert_eq!(replayed(store.begin(&retry, WITHIN).await), response("done"));
    assert_eq!((wire.commands(), wire.replies()), (vec!["EVALSHA".to_owned()], 1));
}

#[tokio::test]
async fn a_large_answer_takes_exactly_one_more_command() {
    let (wire, store) = wired().await;
    warm_up(&store).await;
    for (len, commands) in [(4014, &["EVALSHA"][..]), (4015, &["EVALSHA", "GET"])] {
        let claim = start(&store).await;
        complete(&store, &claim, &"x".repeat(len)).await;
        wire.reset();
        let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
        assert_eq!(replayed(reply), response(&"x".repeat(len)));
        assert_eq!(wire.commands(), commands, "{len} bytes");
    }
}

#[tokio::test]
async fn a_new_connection_costs_the_handshake_and_one_question_for_the_time() {
    let (wire, store) = wired().await;
    begin_one(&store).await;
    let commands = wire.commands();
    let handshake: Vec<_> =
        commands.iter().map(String::as_str).take_while(|c| *c != "TIME").collect();
    assert!(handshake.iter().all(|command| *command == "CLIENT"), "{commands:?}");
    let rest: Vec<_> = commands.iter().map(String::as_str).skip(handshake.len()).collect();
    assert!(matches!(rest[..], ["TIME", "EVALSHA"] | ["TIME", "EVALSHA", "EVAL"]), "{rest:?}");
}

#[tokio::test]
async fn a_begin_whose_reply_was_lost_with_the_connection_is_repeated_unnoticed() {
    let (wire, store) = wired().await;
    warm_up(&store).await;
    wire.reset();
    wire.lose("EVALSHA", Loss::Close);
    let reply = store.begin(&attempt(slot()), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Mine(_))), "{reply:?}");
    assert_eq!(wire.commands().iter().filter(|name| *name == "EVALSHA").count(), 2);
}

#[tokio::test]
async fn a_complete_whose_reply_was_lost_with_the_connection_is_repeated_unnoticed() {
    let (wire, store) = wired().await;
    let claim = start(&store).await;
    warm_up(&store).await;
    wire.lose("EVALSHA", Loss::Close);
    complete(&store, &claim, "done").await;
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response("done"));
}

#[tokio::test]
async fn a_begin_whose_reply_never_came_is_unknown_and_its_copy_is_mine() {
    let (wire, store) = wired().await;
    warm_up(&store).await;
    wire.lose("EVALSHA", Loss::Silence);
    let attempt = attempt(slot());
    let error = store.begin(&attempt, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::Unknown));
    let reply = store.begin(&attempt, WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Mine(Grant { number: 1, .. }))), "{reply:?}");
}

#[tokio::test]
async fn a_complete_whose_reply_never_came_is_unknown_and_its_copy_is_applied() {
    let (wire, store) = wired().await;
    warm_up(&store).await;
    let claim = start(&store).await;
    wire.lose("EVALSHA", Loss::Silence);
    let error =
        store.complete(&claim, &response("first"), Duration::from_millis(300)).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::Unknown));
    complete(&store, &claim, "second").await;
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response("first"));
}

// --- the server goes away and comes back

#[tokio::test]
async fn a_script_flush_is_survived() {
    let server = RedisServer::start(&[]);
    let store = server.store();
    let claim = start(&store).await;
    server.command(&[b"SCRIPT", b"FLUSH"]).expect("scripts are flushed");
    complete(&store, &claim, "done").await;
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response("done"));
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_not_noticed() {
    let server = RedisServer::start(&[]);
    let store = server.store();
    let claim = start(&store).await;
    warm_up(&store).await;
    server.command(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]).expect("connections are killed");
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Found(Found::Busy { .. }))), "{reply:?}");
    complete(&store, &claim, "done").await;
}

#[tokio::test]
async fn a_restart_between_begin_and_complete_loses_nothing() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = server.store();
    let claim = start(&store).await;
    server.kill();
    server.restart();
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Found(Found::Busy { .. }))), "{reply:?}");
    complete(&store, &claim, "done").await;
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response("done"));
}

#[tokio::test]
async fn a_store_can_be_made_and_refuse_while_redis_is_down_and_recovers_within_a_second() {
    let mut server = RedisServer::start(&[]);
    server.kill();
    let store = server.store();
    let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unreachable, Effect::None));
    assert!(error.is_transient());
    for _ in 0..2 {
        server.restart();
        let back = now();
        while let Err(error) = store.begin(&attempt(slot()), Duration::from_millis(500)).await {
            assert!(now() - back < Duration::from_secs(1), "{error:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        warm_up(&store).await;
        server.kill();
        let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
    }
}

#[tokio::test]
async fn a_crowd_waits_for_one_connection() {
    let (wire, store) = wired().await;
    let begins = (0..200).map(|_| async { store.begin(&attempt(slot()), WITHIN).await });
    for reply in futures_util::future::join_all(begins).await {
        assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
    }
    assert_eq!(wire.commands().iter().filter(|name| *name == "TIME").count(), 1);
}

#[tokio::test]
async fn a_begin_that_was_given_up_on_does_not_land_later() {
    let server = RedisServer::start(&[]);
    let store = server.store();
    warm_up(&store).await;
    server.pause();
    let within = Duration::from_millis(200);
    let (attempt, started) = (attempt(slot()), now());
    let error = store.begin(&attempt, within).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::Unknown));
    assert!(now() - started < within * 3, "the call is over when its time is over");
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.resume();
    let seen = store.look(attempt.slot, WITHIN).await.expect("look answers");
    assert_eq!(seen.record, None);
    let keys = server.command(&[b"EXISTS", &key("idempotency", attempt.slot)]);
    assert_eq!(keys, Ok(Value::Int(0)));
}

#[tokio::test]
async fn work_that_was_given_up_on_while_connecting_was_never_sent() {
    let server = RedisServer::start(&[]);
    server.pause();
    let store = server.store();
    let error = store.begin(&attempt(slot()), Duration::from_millis(200)).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::None));
    server.resume();
}

#[tokio::test]
async fn a_clock_that_was_set_forward_costs_one_repetition() {
    let (wire, store) = wired().await;
    wire.set_back(Duration::from_secs(86_400));
    begin_one(&store).await;
    let scripts = wire.commands().iter().filter(|name| name.starts_with("EVAL")).count();
    assert!(scripts >= 2, "the first copy is late: {:?}", wire.commands());
    wire.reset();
    begin_one(&store).await;
    assert_eq!(wire.commands(), ["EVALSHA"], "the time is known now");
}

// --- a full server, a replica

#[tokio::test]
async fn a_full_redis_refuses_new_keys_answers_old_ones_and_lets_running_work_finish() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let store = server.store();
    let (completed, running) = (start(&store).await, start(&store).await);
    let (released, abandoned) = (start(&store).await, lapsing(&store).await);
    complete(&store, &completed, &"x".repeat(5000)).await;
    let filler = vec![b'x'; 64 << 10];
    for name in 0..40_u8 {
        server.command(&[b"SET", &[name], &filler]).expect("there is room");
    }
    server.command(&[b"CONFIG", b"SET", b"maxmemory", b"2mb"]).expect("the limit is set");

    let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Full, Effect::None));
    let reply = store.begin(&attempt(completed.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response(&"x".repeat(5000)));
    let reply = store.begin(&attempt(running.attempt().slot), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Found(Found::Busy { .. }))), "{reply:?}");
    let reply = store.begin(running.attempt(), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Mine(_))), "{reply:?}");
    let rerun = Attempt { guarantee: Guarantee::AtLeastOnce, ..attempt(abandoned.attempt().slot) };
    let error = store.begin(&rerun, WITHIN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "a take-over is new work");

    assert_eq!(store.renew(&running, WITHIN).await.expect("renew"), Reply::Applied);
    complete(&store, &running, "done").await;
    let reply = store.release(released.attempt(), Ran::No, HOUR, WITHIN).await;
    assert_eq!(reply.expect("release"), Reply::Applied);
    let (slot, fence) = (abandoned.attempt().slot, abandoned.grant().fence);
    let reply = store.resolve(slot, fence, &response("operator"), HOUR, WITHIN).await;
    assert_eq!(reply.expect("resolve"), Reply::Applied);
}

#[tokio::test]
async fn a_replica_is_refused_until_it_is_a_master_again() {
    let (master, server) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let store = server.store();
    let claim = start(&store).await;
    let port = master.port().to_string();
    server.command(&[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]).expect("it is a replica");
    let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::ReadOnly, Effect::None));
    let error = store.complete(&claim, &response("done"), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::ReadOnly, Effect::None));
    server.command(&[b"REPLICAOF", b"NO", b"ONE"]).expect("it is a master");
    begin_one(&store).await;
    // The copy from the empty master may have removed the record: then it is put back.
    complete(&store, &claim, "done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_busy_with_a_script_is_not_ready() {
    let server = RedisServer::start(&["--busy-reply-threshold", "20"]);
    let store = server.store();
    begin_one(&store).await;
    std::thread::scope(|scope| {
        // It ends when it is killed below.
        scope.spawn(|| server.command(&[b"EVAL", b"while true do end", b"0"]));
        let begun = tokio::task::block_in_place(|| {
            std::thread::sleep(Duration::from_millis(200));
            tokio::runtime::Handle::current().block_on(store.begin(&attempt(slot()), WITHIN))
        });
        let killed = server.command(&[b"SCRIPT", b"KILL"]);
        let error = begun.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::NotReady, Effect::None));
        killed.expect("the script is killed");
    });
    begin_one(&store).await;
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_not_ready_and_then_is_at_once() {
    let mut server = RedisServer::start(&[]);
    let store = server.store();
    for _ in 0..30 {
        begin_one(&store).await;
    }
    server.command(&[b"SAVE"]).expect("the data is saved");
    server.restart_slowly(Duration::from_millis(20));
    let error = loop {
        let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
        if error.kind() != ErrorKind::Unreachable {
            break error;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((error.kind(), error.effect()), (ErrorKind::NotReady, Effect::None));
    server.wait();
    begin_one(&store).await;
}

// --- values of somebody else

#[tokio::test]
async fn what_is_not_a_record_is_an_error_and_is_never_written_over() {
    let whole = recorded_bytes().await;
    let damaged = [&whole[..whole.len() - 1], b"!"].concat();
    let later = [&[0xE2], &whole[1..]].concat();
    for (value, kind) in [
        (&b""[..], ErrorKind::Corrupt),
        (b"{\"status\":200}", ErrorKind::Corrupt),
        (&whole[..40], ErrorKind::Corrupt),
        (&damaged, ErrorKind::Corrupt),
        (&later, ErrorKind::Unsupported),
        (&later[..8], ErrorKind::Unsupported),
    ] {
        let (server, slot) = (shared(), slot());
        let key = key("idempotency", slot);
        server.command(&[b"SET", &key, value]).expect("the value is set");
        for error in all_verbs(&server.store(), slot).await {
            assert_eq!((error.kind(), error.effect()), (kind, Effect::None), "{error:?}");
        }
        let left = server.command(&[b"GET", &key]);
        assert_eq!(left, Ok(Value::BulkString(value.to_vec())));
        assert_eq!(server.command(&[b"PTTL", &key]), Ok(Value::Int(-1)));
    }
}

#[tokio::test]
async fn a_value_of_another_type_is_an_error() {
    let (server, slot) = (shared(), slot());
    let key = key("idempotency", slot);
    server.command(&[b"RPUSH", &key, b"a"]).expect("the list is made");
    for error in all_verbs(&server.store(), slot).await {
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Corrupt, Effect::None));
    }
    assert_eq!(server.command(&[b"LLEN", &key]), Ok(Value::Int(1)));
}

// --- credentials and settings

#[tokio::test]
async fn wrong_credentials_are_refused_and_not_shown() {
    let server = RedisServer::start(&[]);
    server.command(&[b"CONFIG", b"SET", b"requirepass", b"s3cret-right"]).expect("it is set");
    let url = format!("redis://:s3cret-wrong@127.0.0.1:{}/0", server.port());
    let store = RedisStore::connect(url).expect("a valid address");
    let error = store.begin(&attempt(slot()), WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Refused, Effect::None));
    let shown = format!("{store:?} {error:?} {error}");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("127.0.0.1"), "{shown}");

    let url = format!("redis://:s3cret-right@127.0.0.1:{}/0", server.port());
    begin_one(&RedisStore::connect(url).expect("a valid address")).await;
}

#[tokio::test]
async fn the_rights_that_the_documentation_names_are_enough() {
    let server = RedisServer::start(DURABLE);
    let rights = "on >word ~idempotency:* +evalsha +eval +time +getrange +get +set +setrange \
                  +append +pexpire +strlen +pttl +info";
    let user = [&["ACL", "SETUSER", "store"][..], &rights.split_whitespace().collect::<Vec<_>>()];
    let user: Vec<_> = user.concat().into_iter().map(str::as_bytes).collect();
    server.command(&user).expect("the user is made");
    let url = format!("redis://store:word@127.0.0.1:{}/0", server.port());
    let store = RedisStore::connect(url).expect("a valid address");

    assert_eq!(store.verify().await.expect("the server is asked"), []);
    let claim = start(&store).await;
    assert_eq!(store.renew(&claim, WITHIN).await.expect("renew"), Reply::Applied);
    complete(&store, &claim, &"x".repeat(5000)).await;
    let reply = store.begin(&attempt(claim.attempt().slot), WITHIN).await;
    assert_eq!(replayed(reply), response(&"x".repeat(5000)));
    assert!(store.look(claim.attempt().slot, WITHIN).await.expect("look").record.is_some());
    let reply = store.release(start(&store).await.attempt(), Ran::No, HOUR, WITHIN).await;
    assert_eq!(reply.expect("release"), Reply::Applied);
    let abandoned = lapsing(&store).await;
    let (slot, fence) = (abandoned.attempt().slot, abandoned.grant().fence);
    let reply = store.resolve(slot, fence, &response("operator"), HOUR, WITHIN).await;
    assert_eq!(reply.expect("resolve"), Reply::Applied);
}

#[tokio::test]
async fn prefixes_keep_services_apart() {
    let (slot, one, two) = (slot(), shared().store().prefix("one"), shared().store().prefix("two"));
    for (store, prefix) in [(&one, "one"), (&two, "two")] {
        let reply = store.begin(&attempt(slot), WITHIN).await;
        assert!(matches!(reply, Ok(Reply::Started(_))), "{reply:?}");
        let exists = shared().command(&[b"EXISTS", &key(prefix, slot)]);
        assert_eq!(exists, Ok(Value::Int(1)));
    }
}

#[tokio::test]
async fn a_durable_master_that_evicts_nothing_is_no_concern() {
    let server = RedisServer::start(DURABLE);
    assert_eq!(server.store().verify().await.expect("the server is asked"), []);
    server.store().require_safe().await.expect("it is safe");
}

#[tokio::test]
async fn a_redis_that_would_lose_records_is_a_concern_and_refused() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let concerns = server.store().verify().await.expect("the server is asked");
    let policy = "allkeys-lru".to_owned();
    assert_eq!(concerns, [Concern::Evicts { policy }, Concern::NoAppendOnlyFile]);
    let error = server.store().require_safe().await.unwrap_err();
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(concerns.iter().all(|concern| source.contains(&concern.to_string())), "{source}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_replica_is_a_concern() {
    let (master, server) = (RedisServer::start(DURABLE), RedisServer::start(DURABLE));
    let port = master.port().to_string();
    server.command(&[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]).expect("it is a replica");
    assert_eq!(server.store().verify().await.expect("the server is asked"), [Concern::Replica]);
}

// --- what the tests above are made of

/// A store behind a proxy in front of the shared server.
async fn wired() -> (Wire, RedisStore) {
    let wire = Wire::to(shared().port()).await;
    let store = RedisStore::connect(wire.url()).expect("a valid address");
    (wire, store)
}

/// Makes both connections and loads the scripts of begin and complete.
async fn warm_up(store: &RedisStore) {
    let claim = start(store).await;
    complete(store, &claim, "warm").await;
}

fn slot() -> Slot {
    Slot::from_bytes(rand::random())
}

fn attempt(slot: Slot) -> Attempt {
    Attempt {
        slot,
        fingerprint: Fingerprint::new(Scheme::raw(), [7; 32]),
        nonce: Nonce::from_bytes(rand::random()),
        lease: HOUR,
        retention: HOUR,
        guarantee: Guarantee::AtMostOnce,
        max_attempts: 3,
    }
}

fn response(body: &str) -> Outcome {
    let (headers, trailers) = (Fields::none(), Fields::none());
    Outcome::Response { status: 201, headers, body: body.to_owned().into(), trailers }
}

/// Claims a slot that nobody asks for again.
async fn begin_one(store: &RedisStore) {
    let _claim = start(store).await;
}

async fn start(store: &RedisStore) -> Claim {
    claimed(store, attempt(slot())).await
}

/// A claim whose lease has lapsed.
async fn lapsing(store: &RedisStore) -> Claim {
    let lease = Duration::from_millis(1);
    let claim = claimed(store, Attempt { lease, ..attempt(slot()) }).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    claim
}

async fn claimed(store: &RedisStore, attempt: Attempt) -> Claim {
    match store.begin(&attempt, WITHIN).await {
        Ok(Reply::Started(grant)) => attempt.claim(grant),
        reply => panic!("begin gave {reply:?}"),
    }
}

async fn complete(store: &RedisStore, claim: &Claim, body: &str) {
    let reply = store.complete(claim, &response(body), WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Applied)), "complete gave {reply:?}");
}

fn replayed(reply: Result<Reply, Error>) -> Outcome {
    match reply {
        Ok(Reply::Found(Found::Completed { outcome, .. })) => outcome,
        reply => panic!("begin gave {reply:?}"),
    }
}

/// What every verb says about a slot that none of them can read.
async fn all_verbs(store: &RedisStore, slot: Slot) -> Vec<Error> {
    let attempt = attempt(slot);
    let grant = Grant { number: 1, fence: FenceToken::from_number(1) };
    let (claim, outcome) = (attempt.clone().claim(grant), response("never stored"));
    let rerun = Attempt { guarantee: Guarantee::AtLeastOnce, ..attempt.clone() };
    vec![
        store.begin(&attempt, WITHIN).await.unwrap_err(),
        store.begin(&rerun, WITHIN).await.unwrap_err(),
        store.renew(&claim, WITHIN).await.unwrap_err(),
        store.complete(&claim, &outcome, WITHIN).await.unwrap_err(),
        store.release(&attempt, Ran::No, HOUR, WITHIN).await.unwrap_err(),
        store.resolve(slot, grant.fence, &outcome, HOUR, WITHIN).await.unwrap_err(),
        store.look(slot, WITHIN).await.unwrap_err(),
    ]
}

/// A completed record as it lies in Redis.
async fn recorded_bytes() -> Vec<u8> {
    let store = shared().store();
    let claim = start(&store).await;
    complete(&store, &claim, "some answer").await;
    match shared().command(&[b"GET", &key("idempotency", claim.attempt().slot)]) {
        Ok(Value::BulkString(bytes)) => bytes,
        reply => panic!("{reply:?}"),
    }
}

fn key(prefix: &str, slot: Slot) -> Vec<u8> {
    [prefix.as_bytes(), b":", slot.as_bytes()].concat()
}

fn now() -> Duration {
    SystemClock.monotonic()
}
