//! What goes over the wire for each verb, and replies that are lost on it.

use std::time::Duration;

use tower_idempotency::protocol::{Found, Grant, Reply};
use tower_idempotency::store::{Effect, ErrorKind, Store};

use super::{
    WITHIN, attempt, begin_one, complete, replayed, response, slot, start, warm_up, wired,
};
use crate::support::wire::Loss;

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
async fn a_begin_that_was_lost_and_is_then_refused_is_unknown() {
    let (wire, store) = wired().await;
    let claim = start(&store).await;
    warm_up(&store).await;
    wire.lose("EVALSHA", Loss::Close);
    let retry = attempt(claim.attempt().slot);
    let error = store.begin(&retry, WITHIN).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unreachable, Effect::Unknown));
    let reply = store.begin(&retry, WITHIN).await;
    assert!(matches!(reply, Ok(Reply::Found(Found::Busy { .. }))), "{reply:?}");
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
