//! A Redis Cluster of three masters, each with a replica if the test fails one over.

use std::ops::Range;
use std::sync::OnceLock;

use super::launch::{Kind, Launch};
use super::patience::{block_until, wait_until};
use super::redis::RedisServer;

const MASTERS: usize = 3;
const SLOTS: usize = 16384;

/// Three masters, and then the replica of each, if there are any.
#[derive(Debug)]
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Three masters with options such as `["--appendonly", "yes"]`; all slots are served.
    pub fn start(kind: Kind, options: &[&str]) -> Self {
        Self::build(&Launch { kind, ..Launch::new(options) }, MASTERS)
    }

    /// Each master also has a replica: of `nodes[1]` that is `nodes[4]`.
    pub fn with_replicas(kind: Kind, options: &[&str]) -> Self {
        Self::build(&Launch { kind, ..Launch::new(options) }, 2 * MASTERS)
    }

    fn build(launch: &Launch, nodes: usize) -> Self {
        let mut launch = launch.clone();
        // Who does not answer in this time has not met the others, and is not asked again.
        let options = "--cluster-enabled yes --cluster-node-timeout 5000 \
                       --cluster-replica-validity-factor 0 --repl-diskless-sync-delay 0 \
                       --repl-ping-replica-period 1";
        launch.options.extend(options.split_whitespace().map(str::to_owned));
        let nodes = (0..nodes).map(|_| RedisServer::launch(&launch)).collect();
        let cluster = Self { nodes };
        cluster.assemble();
        cluster
    }

    /// Makes one cluster of the nodes.
    fn assemble(&self) {
        for (number, node) in self.nodes.iter().enumerate() {
            run(node, &format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
            if number < MASTERS {
                let Range { start, end } = share(number);
                run(node, &format!("CLUSTER ADDSLOTSRANGE {start} {}", end - 1));
            }
            let address = self.nodes[0].address();
            run(node, &format!("CLUSTER MEET {} {}", address.ip(), address.port()));
        }
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        block_until("all nodes have met", || {
            self.nodes.iter().all(|node| says(node, "CLUSTER INFO", &known))
        });
        for (replica, master) in self.nodes[MASTERS..].iter().zip(&self.nodes) {
            run(replica, &format!("CLUSTER REPLICATE {}", id(master)));
        }
        block_until("the cluster serves", || self.serves());
        if self.nodes.len() > MASTERS {
            // Now a replica is to take over soon.
            let timeout = "CONFIG SET cluster-node-timeout 1000";
            self.nodes.iter().for_each(|node| run(node, timeout));
        }
    }

    /// The addresses of three nodes, for a client that finds the others by itself.
    pub fn url(&self) -> String {
        let nodes = self.nodes[..MASTERS].iter().map(|node| node.address().to_string());
        format!("redis+cluster://{}", nodes.collect::<Vec<_>>().join(","))
    }

    pub fn slot(&self, key: &str) -> usize {
        let question = format!("CLUSTER KEYSLOT {key}");
        let slot = self.nodes.iter().find_map(|node| node.query(&question).ok());
        slot.expect("a node answers")
    }

    /// Who serves this key: a place in `nodes`.
    pub fn owner(&self, key: &str) -> usize {
        self.owner_of(self.slot(key)).expect("the nodes agree")
    }

    /// Who serves this slot, if most nodes agree.
    pub fn owner_of(&self, slot: usize) -> Option<usize> {
        let views: Vec<_> =
            self.nodes.iter().filter_map(|node| owner_as_seen(node, slot)).collect();
        let votes = |node: &RedisServer| {
            let address = node.address().to_string();
            views.iter().filter(|owner| **owner == address).count()
        };
        self.nodes.iter().position(|node| votes(node) > self.nodes.len() / 2)
    }

    /// Moves a slot and its keys to another master.
    pub fn migrate(&self, slot: usize, from: usize, to: usize) {
        self.open_migration(slot, from, to);
        self.move_keys(slot, from, to);
        self.close_migration(slot, from, to);
    }

    /// Begins to move a slot: the old owner still serves the keys that it has, and sends whoever asks
    /// for others to the new one (`ASK`).
    pub fn open_migration(&self, slot: usize, from: usize, to: usize) {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        run(to, &format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from)));
        run(from, &format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to)));
    }

    /// Moves the keys of a slot whose migration is open.
    pub fn move_keys(&self, slot: usize, from: usize, to: usize) {
        let (from, to) = (&self.nodes[from], self.nodes[to].address());
        let (host, port) = (to.ip().to_string(), to.port().to_string());
        let migrate = ["MIGRATE", &host, &port, "", "0", "5000", "KEYS"].map(str::as_bytes);
        loop {
            let question = format!("CLUSTER GETKEYSINSLOT {slot} 100");
            let keys: Vec<Vec<u8>> = from.query(&question).expect("the keys of the slot");
            if keys.is_empty() {
                return;
            }
            let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
            from.command(&[&migrate[..], &keys].concat()).expect("the keys move");
        }
    }

    /// Makes every master see the new owner of a slot whose keys have moved.
    pub fn close_migration(&self, slot: usize, from: usize, to: usize) {
        let told = format!("CLUSTER SETSLOT {slot} NODE {}", id(&self.nodes[to]));
        run(&self.nodes[to], &told);
        run(&self.nodes[from], &told);
        // The others hear of it anyway, but later.
        self.nodes.iter().for_each(|node| _ = node.query::<()>(&told));
    }

    /// Waits until somebody else serves the slots of a master, and gives its place.
    pub async fn await_failover(&self, old: usize) -> usize {
        let slot = share(old % MASTERS).start;
        let new = || self.owner_of(slot).filter(|&new| new != old);
        let serves = |new: usize| says(&self.nodes[new], "CLUSTER INFO", "cluster_state:ok");
        wait_until("a replica takes over", || new().is_some_and(serves)).await;
        new().expect("the nodes agree")
    }

    /// Waits until a node that is back is a replica and in step.
    pub async fn await_replica(&self, node: usize) {
        let node = &self.nodes[node];
        let follows = || says(node, "INFO replication", IN_STEP) && self.sends();
        wait_until("the node follows", follows).await;
    }

    /// Waits until every node serves and every replica is in step, whoever has been away.
    pub async fn await_whole(&self) {
        wait_until("the cluster is whole", || self.serves()).await;
    }

    /// Whether every master sends what is written to its replica: it does when that has answered
    /// once.
    fn sends(&self) -> bool {
        !self.nodes.iter().any(|node| says(node, "INFO replication", ",offset=0,"))
    }

    /// Whether every node knows every other and serves, and every replica is in step.
    fn serves(&self) -> bool {
        let replicas = self.nodes.len() - MASTERS;
        let follows = |node: &&RedisServer| says(node, "INFO replication", IN_STEP);
        let knows = |node: &RedisServer| {
            let known = node.query::<String>("CLUSTER NODES").unwrap_or_default();
            known.matches(" connected").count() == self.nodes.len()
                && known.matches("slave ").count() == replicas
                && says(node, "CLUSTER INFO", "cluster_state:ok")
        };
        self.nodes.iter().all(knows)
            && self.nodes.iter().filter(follows).count() == replicas
            && self.sends()
    }
}

/// The cluster that all tests of this process share that do not disturb it.
pub fn shared() -> &'static RedisCluster {
    static SHARED: OnceLock<RedisCluster> = OnceLock::new();
    let launch = || Launch { shared: true, ..Launch::default() };
    SHARED.get_or_init(|| RedisCluster::build(&launch(), MASTERS))
}

const IN_STEP: &str = "master_link_status:up";

/// The slots that a master begins with.
fn share(master: usize) -> Range<usize> {
    SLOTS * master / MASTERS..SLOTS * (master + 1) / MASTERS
}

fn run(node: &RedisServer, command: &str) {
    let ran = node.query::<()>(command);
    ran.unwrap_or_else(|error| panic!("{command}: {error}"));
}

fn says(node: &RedisServer, question: &str, what: &str) -> bool {
    node.query::<String>(question).is_ok_and(|answer| answer.contains(what))
}

fn id(node: &RedisServer) -> String {
    node.query("CLUSTER MYID").expect("the node answers")
}

/// The address of a slot's owner, as a node sees it.
fn owner_as_seen(node: &RedisServer, slot: usize) -> Option<String> {
    let nodes: String = node.query("CLUSTER NODES").ok()?;
    let serves = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<usize>().is_ok_and(|first| first <= slot)
            && last.parse::<usize>().is_ok_and(|last| slot <= last)
    };
    // Identifier, address, flags, master, two times, epoch, link; then the slots.
    let mut lines = nodes.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let owner = lines.find(|words| words.iter().skip(8).any(|range| serves(range)))?;
    owner[1].split('@').next().map(str::to_owned)
}
