use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo, Slot};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};

use super::group::{Groups, Member, Proof, Road, abandoned, hand_out, judge, packed, patience};
use super::link::refused;
use super::server_time::ServerTime;
use crate::store::redis::durability::Durability;

/// How often the nodes are asked at most which of them has which hash slots.
const INTERVAL: u64 = 500_000;

/// Which node of a Cluster has which hash slots, as far as is known here.
///
/// The client library knows better, and keeps it to itself. This is only so that claims for one node
/// can share a wait for its replicas: where it is wrong, each goes its own way.
#[derive(Default)]
pub(super) struct Shards {
    nodes: Mutex<HashMap<Slot, Arc<Node>>>,
    /// When the nodes were asked last, in microseconds of this machine's clock.
    asked: AtomicU64,
}

struct Node {
    host: String,
    port: u16,
    groups: Arc<Groups>,
}

/// The way to one node of a Cluster.
struct NodeRoad {
    connection: ClusterConnection,
    node: Arc<Node>,
}

impl Shards {
    /// Runs a command with the next group for its node, or alone where that is not known.
    pub(super) async fn take(
        self: &Arc<Self>,
        connection: &ClusterConnection,
        durability: Durability,
        key: &[u8],
        command: Cmd,
        until: Duration,
    ) -> RedisResult<(Value, Proof)> {
        let node = self.nodes().get(&Slot::for_key(key)).cloned();
        if let Some(node) = node {
            let road = NodeRoad { connection: connection.clone(), node: Arc::clone(&node) };
            match node.groups.take(road, durability, command.clone(), until).await {
                Err(error) if is_of_another(&error) => {}
                reply => return reply,
            }
        }
        self.learn(connection);
        alone(connection.clone(), durability, command, until).await
    }

    /// Asks a node in the background which of them has which slots.
    fn learn(self: &Arc<Self>, connection: &ClusterConnection) {
        let (now, asked) = (ServerTime::here_in_micros(), self.asked.load(Ordering::Relaxed));
        let swapped =
            || self.asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed);
        if asked > 0 && now < asked + INTERVAL || swapped().is_err() {
            return;
        }
        let (shards, mut connection) = (Arc::clone(self), connection.clone());
        tokio::spawn(async move {
            let mut question = redis::cmd("CLUSTER");
            question.arg("SLOTS");
            let anywhere = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
            if let Ok(Value::Array(ranges)) = connection.route_command(question, anywhere).await {
                shards.keep(&ranges);
            }
        });
    }

    fn keep(&self, ranges: &[Value]) {
        let mut nodes = self.nodes();
        // A node that is known already keeps its groups: what is under way there goes on.
        let mut known: HashMap<(String, u16), Arc<Node>> =
            nodes.drain().map(|(_, node)| ((node.host.clone(), node.port), node)).collect();
        for range in ranges {
            let Some((first, last, host, port)) = read(range) else { continue };
            let node = known
                .entry((host.clone(), port))
                .or_insert_with(|| Arc::new(Node { host, port, groups: Arc::default() }));
            let slots = (first..=last).filter_map(Slot::new);
            nodes.extend(slots.map(|slot| (slot, Arc::clone(node))));
        }
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<Slot, Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On the one connection to the node, so that the wait is right behind the commands.
impl Road for NodeRoad {
    async fn send(&self, durability: Durability, group: Vec<Member>) {
        let (mut pipeline, wait, callers) = packed(durability, group);
        pipeline.add_command(wait);
        let Node { host, port, .. } = &*self.node;
        let node = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
        let (mut connection, count) = (self.connection.clone(), pipeline.len());
        let replies = connection.route_pipeline(pipeline, 0, count, node).await;
        let mut replies =
            replies.map(|replies| replies.into_iter().map(refused).collect::<Vec<_>>());
        let waited = replies.as_mut().ok().and_then(Vec::pop);
        hand_out(replies, callers, &proof(durability, waited));
    }
}

/// A command and a wait for it alone. The library finds the node, and repeats both together where it
/// does.
async fn alone(
    mut connection: ClusterConnection,
    durability: Durability,
    command: Cmd,
    until: Duration,
) -> RedisResult<(Value, Proof)> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.add_command(command).add_command(durability.wait(patience(until)));
    let replies = redis::aio::ConnectionLike::req_packed_commands(&mut connection, &pipeline, 0, 2);
    let mut replies = replies.await?.into_iter().map(refused);
    let reply = replies.next().ok_or_else(abandoned)??;
    Ok((reply, proof(durability, replies.next())))
}

fn proof(durability: Durability, waited: Option<RedisResult<Value>>) -> Proof {
    let waited = waited.unwrap_or_else(|| Err(abandoned()));
    Proof::of(waited.and_then(|waited| judge(durability, &waited)))
}

/// Whether the commands of a group are not all for the node that it was sent to. None of them may
/// have been carried out twice in effect: the nonce sees to that.
fn is_of_another(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, Moved, ReadOnly, TryAgain};
    matches!(
        error.kind(),
        ErrorKind::ClusterConnectionNotFound
            | ErrorKind::Server(Moved | Ask | TryAgain | ReadOnly | ClusterDown)
    )
}

/// The first and the last slot of a range, and its master.
fn read(range: &Value) -> Option<(u16, u16, String, u16)> {
    let Value::Array(fields) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &fields[..] else {
        return None;
    };
    let [Value::BulkString(host), Value::Int(port), ..] = &master[..] else { return None };
    // Without a host it is the one that was asked, and who that was is not known here.
    let host = std::str::from_utf8(host).ok().filter(|host| !host.is_empty())?;
    let number = |number: &i64| u16::try_from(*number).ok();
    Some((number(first)?, number(last)?, host.to_owned(), number(port)?))
}
