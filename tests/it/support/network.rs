//! Networks that a test can cut: one server from the others, while the test still reaches it.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rand::RngExt;

use super::launch::{Launch, Place};
use super::proxies::Proxies;
use super::redis::RedisServer;

/// Hosts, known by their number, with a server on each.
#[derive(Debug)]
pub enum Network {
    /// All on one loopback interface, which nothing cuts.
    Loopback,
    /// Each in a network namespace of its own.
    Namespaces(Namespaces),
    /// Each behind a proxy.
    Proxies(Proxies),
}

impl Network {
    /// Namespaces, or proxies where this process may not make them.
    pub fn that_can_be_cut(hosts: usize) -> Self {
        match Namespaces::new(hosts) {
            Ok(namespaces) => Self::Namespaces(namespaces),
            Err(reason) => {
                eprintln!("no network namespaces ({reason}): the servers are behind proxies");
                Self::Proxies(Proxies::new(hosts))
            }
        }
    }

    /// Starts a server on a host.
    pub fn launch(&self, host: usize, mut launch: Launch) -> RedisServer {
        match self {
            Self::Loopback => RedisServer::launch(&launch),
            Self::Namespaces(namespaces) => {
                launch.place = namespaces.place(host);
                RedisServer::launch(&launch)
            }
            Self::Proxies(proxies) => proxies.launch(host, launch),
        }
    }

    /// The address by which everybody knows the server of a host.
    pub fn address(&self, host: usize, server: &RedisServer) -> SocketAddr {
        match self {
            Self::Loopback | Self::Namespaces(_) => server.address(),
            Self::Proxies(proxies) => proxies.address(host),
        }
    }

    /// Nothing gets from this host to another or back from now on, but what the test sends and is
    /// answered does.
    pub fn cut_off(&self, host: usize) {
        match self {
            Self::Loopback => panic!("this network cannot be cut"),
            Self::Namespaces(namespaces) => namespaces.route("add", host),
            Self::Proxies(proxies) => proxies.cut_off(Some(host)),
        }
    }

    /// Ends that.
    pub fn heal(&self, host: usize) {
        match self {
            Self::Loopback => {}
            Self::Namespaces(namespaces) => namespaces.route("del", host),
            Self::Proxies(proxies) => proxies.cut_off(None),
        }
    }
}

/// Makes a namespace for a bridge and one for each address, says so, and removes them when standard
/// input ends. The first address is the one of the test, which stays outside.
const NAMESPACES: &str = r#"
trap '' HUP INT QUIT TERM
name=$1 test=$2
shift 2
remove() {
    for host in bridge "$@"; do ip netns del "$name-$host" 2>/dev/null; done
    ip link del "$name" 2>/dev/null
}
trap 'remove "$@"' EXIT
set -e
exec 2>&1
ip netns add "$name-bridge"
ip -n "$name-bridge" link add bridge type bridge
ip -n "$name-bridge" link set dev bridge up
ip link add "$name" type veth peer name test netns "$name-bridge"
ip -n "$name-bridge" link set dev test master bridge up
ip addr add "$test/28" dev "$name"
ip link set dev "$name" up
for host in "$@"; do
    ip netns add "$name-$host"
    ip link add "$host" netns "$name-bridge" type veth peer name wire netns "$name-$host"
    ip -n "$name-bridge" link set dev "$host" master bridge up
    ip -n "$name-$host" addr add "$host/28" dev wire
    ip -n "$name-$host" link set dev wire up
    ip -n "$name-$host" link set dev lo up
done
echo ready
cat >/dev/null
"#;

/// A network namespace for each host, all on one bridge with the test.
#[derive(Debug)]
pub struct Namespaces {
    supervisor: Child,
    name: String,
    hosts: Vec<Ipv4Addr>,
}

impl Namespaces {
    fn new(hosts: usize) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static FIRST: LazyLock<u32> = LazyLock::new(|| rand::rng().random_range(0..8192));
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ti{}x{count}", std::process::id());
        // Sixteen of the addresses that RFC 2544 keeps for tests.
        let net = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (*FIRST + count) % 8192 * 16;
        let mut addresses = (net + 1..net + 15).map(Ipv4Addr::from);
        let test = addresses.next().expect("an address");
        let hosts: Vec<_> = addresses.take(hosts).collect();
        let mut supervisor = Command::new("sh")
            .args(["-c", NAMESPACES, "sh", &name, &test.to_string()])
            .args(hosts.iter().map(Ipv4Addr::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut line = String::new();
        let stdout = supervisor.stdout.take().expect("its output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("the supervisor says something");
        let namespaces = Self { supervisor, name, hosts };
        if line.trim() == "ready" { Ok(namespaces) } else { Err(line.trim().to_owned()) }
    }

    fn place(&self, host: usize) -> Place {
        let host = self.hosts[host];
        Place { host, namespace: Some(format!("{}-{host}", self.name)) }
    }

    /// Adds or deletes the routes that swallow what this host sends to the others, and what they
    /// send to it.
    fn route(&self, verb: &str, host: usize) {
        let others: Vec<_> = (0..self.hosts.len()).filter(|&other| other != host).collect();
        self.swallow(verb, host, &others);
        others.iter().for_each(|&other| self.swallow(verb, other, &[host]));
    }

    fn swallow(&self, verb: &str, from: usize, to: &[usize]) {
        let namespace = self.place(from).namespace.expect("a namespace");
        let mut ip = Command::new("ip")
            .args(["-n", &namespace, "-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("ip starts");
        let mut lines = ip.stdin.take().expect("its input is a pipe");
        for &to in to {
            let route = format!("route {verb} blackhole {}", self.place(to).host);
            writeln!(lines, "{route}").expect("it listens");
        }
        drop(lines);
        assert!(ip.wait().expect("ip ends").success(), "the routes are not changed");
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        self.supervisor.wait().expect("the supervisor ends");
    }
}
