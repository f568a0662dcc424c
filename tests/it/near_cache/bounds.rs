//! What the cache holds at most, and what is seen of it.

use std::time::Duration;

use bytes::Bytes;
use tower_idempotency::protocol::{Fields, Outcome};

use super::{Scene, begin, outcome, response};

#[tokio::test]
async fn many_answers_take_no_more_bytes_than_they_may() {
    let mut scene = Scene::new();
    scene.near = scene.near.max_bytes(1 << 20);
    let body = "b".repeat(1000);
    for _ in 0..5000 {
        scene.replayed(&body).await;
        assert!(scene.near.bytes() <= 1 << 20, "{}", scene.near.bytes());
    }
    assert!(scene.near.bytes() > 1 << 19, "and the room is used: {}", scene.near.bytes());
}

#[tokio::test]
async fn an_answer_of_more_than_a_sixteenth_is_not_kept() {
    let mut scene = Scene::new();
    scene.near = scene.near.max_bytes(1 << 20);
    for (len, kept) in [(60 << 10, true), (64 << 10, false), (2 << 20, false)] {
        let (headers, trailers) = (Fields::none(), Fields::none());
        let large =
            Outcome::Response { status: 200, headers, body: Bytes::from(vec![7; len]), trailers };
        let attempt = super::attempt();
        let claim = scene.shared.claimed(attempt.clone()).await;
        scene.shared.completed(&claim, &large).await;
        let before = scene.asked();
        for _ in 0..2 {
            assert_eq!(scene.replay(&attempt).await, large);
        }
        assert_eq!(scene.asked() - before, if kept { 1 } else { 2 }, "{len}");
    }
}

#[tokio::test]
async fn a_cache_without_room_or_age_keeps_nothing() {
    for (bytes, age) in [(0, 1), (1 << 20, 0)] {
        let mut scene = Scene::new();
        scene.near = scene.near.max_bytes(bytes).max_age(Duration::from_secs(age));
        let attempt = scene.completed("answer").await;
        for asked in 1..4 {
            assert_eq!(outcome(begin(&scene.near, &attempt).await), response("answer"));
            assert_eq!((scene.asked(), scene.near.bytes()), (asked, 0));
        }
    }
}

#[tokio::test]
async fn what_is_kept_is_not_shown() {
    let scene = Scene::new();
    scene.replayed("body-7a1e").await;
    assert!(scene.near.bytes() > 0);
    for shown in [format!("{:?}", scene.near), format!("{:#?}", scene.near)] {
        assert!(shown.starts_with("NearCache"), "{shown}");
        assert!(!shown.contains("body-7a1e") && !shown.contains("x-name"), "{shown}");
    }
}
