//! A master with a replica and nobody who watches them.

use super::launch::{Kind, Launch};
use super::patience::block_until;
use super::redis::RedisServer;

/// Both keep append-only files, and the replica is filled at once.
const PROMPT: &[&str] =
    &["--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0"];

/// A master and a replica that has all of it.
pub fn replicated(kind: Kind) -> (RedisServer, RedisServer) {
    let server = || RedisServer::launch(&Launch { kind, ..Launch::new(PROMPT) });
    let (master, replica) = (server(), server());
    let port = master.port().to_string();
    replica.command(&[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]).expect("it is a replica");
    let online = |info: String| info.contains(",state=online,");
    block_until("the replica is online", || master.query("INFO replication").is_ok_and(online));
    // The master sends what is written meanwhile only when the replica has answered once.
    master.command(&[b"SET", b"ready", b"yes"]).expect("it is set");
    block_until("the replica follows", || replica.query("EXISTS ready") == Ok(1));
    (master, replica)
}
