//! What a server writes down while all of this happens to it.

use tempfile::NamedTempFile;

use crate::support::app::{eventually, pause};
use crate::support::http::{Ask, post};
use crate::support::postgres::{PostgresServer, Version};
use crate::support::postgres_wire::PostgresWire;
use crate::support::process::{Process, slow, until_settled};
use crate::support::redis::RedisServer;
use crate::support::wire::{Loss, Wire};

const KEY: &str = "key-3f9c21";
const BODY: &str = "body-7a1e88";
const TENANT: &str = "tenant-c04d17";

fn ask(target: &str, key: &str, body: &str) -> Ask {
    let key = format!("{KEY}-{key}");
    post(target).key(key).header("x-tenant", TENANT).body(format!("{BODY}-{body}"))
}

/// A server that logs everything.
fn server(url: &str, logs: &NamedTempFile) -> Process {
    let flags = ["--store-timeout-ms", "400", "--lease-ms", "700"];
    Process::start_with_logs(url, &flags, logs.reopen().expect("it is there"))
}

fn logs() -> NamedTempFile {
    NamedTempFile::new().expect("a temporary file")
}

/// Has a server do all that it does while its store is there.
async fn use_it(server: &Process) {
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
}

/// Ends a server and reads what it has written down.
async fn names_no_secret(server: Process, logs: NamedTempFile) {
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
        // A client library may show bytes as numbers or as digits.
        let bytes = secret.as_bytes();
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers: Vec<String> = bytes.iter().map(ToString::to_string).collect();
        for shape in [secret, &digits, &numbers.join(", ")] {
            let line = written.lines().find(|line| line.contains(shape));
            assert_eq!(line, None, "{secret}");
        }
    }
}

#[tokio::test]
async fn a_server_logs_no_key_no_body_and_no_tenant_at_trace() {
    let mut redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let wire = Wire::to(redis.port()).await;
    let logs = logs();
    let server = server(&wire.url(), &logs);
    use_it(&server).await;
    wire.lose("EVALSHA", Loss::Close);
    server.send(&ask("/echo", "lost", "1")).await;
    redis.kill();
    server.send(&ask("/echo", "down", "1")).await.is_refused(503, "store-unavailable");
    redis.restart();
    names_no_secret(server, logs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_postgres_logs_no_key_no_body_and_no_tenant_at_trace() {
    let mut postgres =
        PostgresServer::start(Version::Packaged, &["log_parameter_max_length_on_error=-1"]);
    let wire = PostgresWire::to(postgres.port()).await;
    let logs = logs();
    let server = server(&postgres.url_at(wire.port()), &logs);
    use_it(&server).await;
    wire.lose(Loss::Close);
    server.send(&ask("/echo", "lost", "1")).await;
    // A statement that fails is told back with its arguments, if one wants that.
    postgres.query("ALTER TABLE idempotency_reference ADD CHECK (false) NOT VALID");
    server.send(&ask("/echo", "refused", "1")).await.is_refused(503, "store-unavailable");
    postgres.query("ALTER TABLE idempotency_reference DROP CONSTRAINT idempotency_reference_check");
    postgres.kill();
    server.send(&ask("/echo", "down", "1")).await.is_refused(503, "store-unavailable");
    postgres.restart();
    names_no_secret(server, logs).await;
}
