//! What a server writes down while all of this happens to it.

use crate::support::app::{eventually, pause};
use crate::support::http::post;
use crate::support::process::{Process, slow, until_settled};
use crate::support::redis::RedisServer;
use crate::support::wire::{Loss, Wire};

const KEY: &str = "key-3f9c21";
const BODY: &str = "body-7a1e88";
const TENANT: &str = "tenant-c04d17";

#[tokio::test]
async fn a_server_logs_no_key_no_body_and_no_tenant_at_trace() {
    let mut redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let wire = Wire::to(redis.port()).await;
    let logs = tempfile::NamedTempFile::new().expect("a temporary file");
    let flags = ["--store-timeout-ms", "400", "--lease-ms", "700"];
    let server = Process::start_with_logs(&wire.url(), &flags, logs.reopen().expect("it is there"));
    let ask = |target: &str, key: &str, body: &str| {
        let key = format!("{KEY}-{key}");
        post(target).key(key).header("x-tenant", TENANT).body(format!("{BODY}-{body}"))
    };
    for (target, body) in [
        ("/echo", "1"),
        ("/echo", "1"),
        ("/echo", "2"),
        ("/status/429", "1"),
        ("/status/500", "1"),
        ("/panic", "1"),
        ("/stream-error", "1"),
        ("/bytes/2000000", "1"),
        ("/trailers", "1"),
        ("/slow/1500", "1"),
    ] {
        server.send(&ask(target, "k", body)).await;
    }
    server.send(&ask("/echo", "not, a key", "1")).await.is_refused(400, "key-invalid");
    let mut gone = server.http().connect().await;
    gone.write(ask("/slow/300", "gone", "1")).await;
    pause(100).await;
    server.send(&ask("/slow/300", "gone", "1")).await.is_refused(409, "in-progress");
    drop(gone);
    wire.lose("EVALSHA", Loss::Close);
    server.send(&ask("/echo", "lost", "1")).await;
    redis.kill();
    server.send(&ask("/echo", "down", "1")).await.is_refused(503, "store-unavailable");
    redis.restart();
    until_settled(&server, &slow(1, KEY)).await;
    server.terminate();
    assert!(server.ended().await.success());
    let read = || String::from_utf8_lossy(&std::fs::read(logs.path()).expect("logs")).into_owned();
    eventually(|| read().contains("stopping")).await;
    let written = read();
    for said in ["claimed", "replayed", "refused", "the handler panicked", "begin failed"] {
        assert!(written.contains(said), "nothing was logged of {said:?}");
    }
    for secret in [KEY, BODY, TENANT] {
        let line = written.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
