//! A master, its replica and the three sentinels that watch them.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use redis::RedisResult;
use tower_idempotency::clock::{Clock as _, SystemClock};

use super::launch::{Kind, Launch};
use super::network::Network;
use super::patience::{block_until, wait_until};
use super::proxies::Proxies;
use super::redis::RedisServer;

/// What the sentinels call their master.
pub const NAME: &str = "payments";

/// Five servers. `nodes` are known by their place in it, whoever is the master.
#[derive(Debug)]
pub struct SentinelTrio {
    pub nodes: [RedisServer; 2],
    pub sentinels: [RedisServer; 3],
    /// The nodes and then the sentinels are its hosts.
    network: Network,
}

impl SentinelTrio {
    /// Starts a master and a replica with options such as `["--appendonly", "yes"]`, and waits until
    /// the replica is in step and every sentinel knows everybody.
    pub fn start(kind: Kind, options: &[&str]) -> Self {
        Self::build(Launch { kind, ..Launch::new(options) }, Network::Loopback)
    }

    /// The same in a network in which the master can be cut off.
    pub fn in_namespaces(kind: Kind, options: &[&str]) -> Self {
        Self::build(Launch { kind, ..Launch::new(options) }, Network::that_can_be_cut(5))
    }

    /// The same as on a machine without network namespaces.
    pub fn behind_proxies(kind: Kind, options: &[&str]) -> Self {
        let network = Network::Proxies(Proxies::new(5));
        Self::build(Launch { kind, ..Launch::new(options) }, network)
    }

    fn build(mut launch: Launch, network: Network) -> Self {
        launch.options.extend(PROMPT.map(str::to_owned));
        let node = |host, file| network.launch(host, Launch { file, ..launch.clone() });
        let master = node(0, String::new());
        let address = network.address(0, &master);
        let replica = node(1, format!("replicaof {} {}\n", address.ip(), address.port()));
        let sentinels = [2, 3, 4].map(|host| {
            let options = vec!["--sentinel".to_owned()];
            let sentinel = Launch { options, file: watch(address), ..launch.clone() };
            let sentinel = network.launch(host, sentinel);
            sentinel.query::<()>(OFTEN).expect("the sentinel is told");
            sentinel
        });
        let trio = Self { nodes: [master, replica], sentinels, network };
        block_until("the sentinels know everybody", || {
            trio.in_step(0) && trio.sentinels.iter().all(knows_everybody)
        });
        trio
    }

    /// The sentinels' addresses, for a client that looks for the master.
    pub fn url(&self) -> String {
        let sentinels = self.sentinels.each_ref().map(|sentinel| sentinel.address().to_string());
        format!("redis+sentinel://{}/{NAME}", sentinels.join(","))
    }

    /// Who is the master, if two sentinels agree: a place in `nodes`.
    pub fn master(&self) -> Option<usize> {
        let named: Vec<_> = self.sentinels.iter().filter_map(named_by).collect();
        (0..2).find(|&node| {
            let address = self.network.address(node, &self.nodes[node]);
            named.iter().filter(|&&named| named == address).count() >= 2
        })
    }

    /// Cuts the master off from its replica and the sentinels, while the test still reaches it, and
    /// gives its place. Without namespaces it is only reached at the address that the sentinels tell.
    pub fn cut_off_master(&self) -> usize {
        let master = self.master().expect("the sentinels agree");
        self.network.cut_off(master);
        master
    }

    /// Ends that.
    pub fn heal(&self, node: usize) {
        self.network.heal(node);
    }

    /// Waits until the sentinels name the other node and it takes writes, and gives its place.
    pub async fn await_failover(&self, old: usize) -> usize {
        let new = 1 - old;
        wait_until("the other node takes over", || {
            self.master() == Some(new) && says(&self.nodes[new], "role:master")
        })
        .await;
        new
    }

    /// Has a sentinel make the other node the master, and gives its place. A sentinel that is slow for
    /// a moment gives up, and is asked again when it would have given up.
    pub async fn replace_master(&self, sentinel: usize) -> usize {
        let old = self.master().expect("the sentinels agree");
        let again = Cell::new(Duration::ZERO);
        wait_until("the sentinels name the other node", || {
            let now = SystemClock.monotonic();
            if now >= again.get() && self.master() == Some(old) {
                again.set(now + Duration::from_secs(5));
                // It may be at it already.
                let question = format!("SENTINEL FAILOVER {NAME}");
                let _ = self.sentinels[sentinel].query::<()>(&question);
            }
            self.master() == Some(1 - old)
        })
        .await;
        self.await_failover(old).await
    }

    /// Waits until a node that is back follows the other one and is in step. A node that was killed
    /// has to be restarted first; it comes up as what it was, until the sentinels see it.
    pub async fn await_replica(&self, node: usize) {
        let master = 1 - node;
        wait_until("the node follows", || self.master() == Some(master) && self.in_step(master))
            .await;
    }

    /// Waits until the sentinels agree and one node follows the other, whoever has been away.
    pub async fn await_whole(&self) {
        let whole = || self.master().is_some_and(|master| self.in_step(master));
        wait_until("one node follows the other", whole).await;
    }

    /// Whether the other node is this one's replica, and has all data. What is written is sent to it
    /// only when it has answered once; until then a dead master takes it along.
    fn in_step(&self, master: usize) -> bool {
        says(&self.nodes[master], "state=online")
            && !says(&self.nodes[master], ",offset=0,")
            && says(&self.nodes[1 - master], "master_link_status:up")
    }
}

/// The trio that all tests of this process share that do not disturb it.
pub fn shared() -> &'static SentinelTrio {
    static SHARED: OnceLock<SentinelTrio> = OnceLock::new();
    let launch = || Launch { shared: true, ..Launch::default() };
    SHARED.get_or_init(|| SentinelTrio::build(launch(), Network::Loopback))
}

/// A replica is filled at once, and notices soon that its master is gone.
const PROMPT: [&str; 4] = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];

/// A sentinel asks and tells often, and a machine that is slow for a moment does not stop it for long.
/// If it asked as seldom as a server may be silent, it would take a new master for dead at once; if
/// it asked more often than five times while it looks at a replica once (a second), it would find none
/// that it knows well enough to be the master.
const OFTEN: &str = "SENTINEL DEBUG ping-period 300 info-period 200 publish-period 200 \
                     ask-period 100 tilt-period 500";

/// The file of a sentinel, which finds the others through the master.
fn watch(master: SocketAddr) -> String {
    format!(
        "sentinel monitor {NAME} {} {} 2\n\
         sentinel down-after-milliseconds {NAME} 800\n\
         sentinel failover-timeout {NAME} 3000\n\
         sentinel parallel-syncs {NAME} 1\n",
        master.ip(),
        master.port()
    )
}

fn knows_everybody(sentinel: &RedisServer) -> bool {
    let of = |what: &str| format!("SENTINEL {what} {NAME}");
    let Ok(master) = sentinel.query::<HashMap<String, String>>(&of("MASTER")) else { return false };
    let replicas: RedisResult<Vec<HashMap<String, String>>> = sentinel.query(&of("REPLICAS"));
    let Ok([replica]) = replicas.as_deref() else { return false };
    let quorum = sentinel.query::<String>(&of("CKQUORUM"));
    master["flags"] == "master"
        && master["num-other-sentinels"] == "2"
        && replica["flags"] == "slave"
        && replica["master-link-status"] == "ok"
        && quorum.is_ok_and(|quorum| quorum.starts_with("OK 3"))
}

/// The master's address, as a sentinel says.
fn named_by(sentinel: &RedisServer) -> Option<SocketAddr> {
    let question = format!("SENTINEL GET-MASTER-ADDR-BY-NAME {NAME}");
    let (host, port): (String, u16) = sentinel.query(&question).ok()?;
    Some((host.parse::<std::net::IpAddr>().ok()?, port).into())
}

fn says(node: &RedisServer, what: &str) -> bool {
    node.query::<String>("INFO replication").is_ok_and(|info| info.contains(what))
}
