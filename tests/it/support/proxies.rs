//! Servers behind proxies that can hold back what the servers tell each other. It stands in for
//! network namespaces where a process may not make them.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use super::launch::Launch;
use super::redis::RedisServer;

/// A proxy for each host. The servers make their connections from an address of their own, so that a
/// proxy knows them from the test; Linux has all of 127.0.0.0/8 for that.
#[derive(Debug)]
pub struct Proxies {
    addresses: Vec<SocketAddr>,
    /// Where the servers listen, once they do.
    servers: Vec<Arc<OnceLock<SocketAddr>>>,
    cut_off: CutOff,
}

/// The host that is cut off.
type CutOff = Arc<Mutex<Option<usize>>>;

impl Proxies {
    pub fn new(hosts: usize) -> Self {
        let mut proxies = Self { addresses: vec![], servers: vec![], cut_off: Arc::default() };
        for host in 0..hosts {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            proxies.addresses.push(listener.local_addr().expect("its address"));
            let (server, cut_off) = (Arc::default(), Arc::clone(&proxies.cut_off));
            proxies.servers.push(Arc::clone(&server));
            thread::spawn(move || accept(&listener, host, &server, &cut_off));
        }
        proxies
    }

    /// Starts a server that says that its address is the one of its proxy.
    pub fn launch(&self, host: usize, mut launch: Launch) -> RedisServer {
        let (ip, port) = (Ipv4Addr::LOCALHOST.to_string(), self.address(host).port().to_string());
        let (source, sentinel) = (source_of(host).to_string(), launch.file.contains("sentinel"));
        launch.file.push_str(&if sentinel {
            format!("sentinel announce-ip {ip}\nsentinel announce-port {port}\n")
        } else {
            format!("replica-announce-ip {ip}\nreplica-announce-port {port}\n")
        });
        launch.options.extend(["--bind-source-addr".to_owned(), source]);
        let server = RedisServer::launch(&launch);
        self.servers[host].set(server.address()).expect("one server for each host");
        server
    }

    pub fn address(&self, host: usize) -> SocketAddr {
        self.addresses[host]
    }

    pub fn cut_off(&self, host: Option<usize>) {
        *self.cut_off.lock().unwrap() = host;
    }
}

/// The address that a server's own connections come from.
fn source_of(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 77, u8::try_from(host + 1).expect("few hosts"))
}

fn accept(listener: &TcpListener, to: usize, server: &Arc<OnceLock<SocketAddr>>, cut_off: &CutOff) {
    while let Ok((client, address)) = listener.accept() {
        let from = match address.ip() {
            IpAddr::V4(ip) if ip != Ipv4Addr::LOCALHOST => Some(usize::from(ip.octets()[3]) - 1),
            _ => None,
        };
        let link = Link { from, to, cut_off: Arc::clone(cut_off) };
        let server = Arc::clone(server);
        thread::spawn(move || {
            link.wait();
            let Ok(server) = TcpStream::connect(server.wait()) else { return };
            let back = (server.try_clone(), client.try_clone(), link.clone());
            let (Ok(from_server), Ok(to_client), link_back) = back else { return };
            thread::spawn(move || link_back.forward(from_server, to_client));
            link.forward(client, server);
        });
    }
}

/// A connection from a server, or from the test, to a server.
#[derive(Clone)]
struct Link {
    from: Option<usize>,
    to: usize,
    cut_off: CutOff,
}

impl Link {
    fn forward(&self, mut from: TcpStream, mut to: TcpStream) {
        let _ = to.set_nodelay(true);
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            self.wait();
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        self.wait();
        let (_, _) = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    }

    /// Waits while nothing passes.
    fn wait(&self) {
        while self.is_cut() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_cut(&self) -> bool {
        let (Some(from), Some(host)) = (self.from, *self.cut_off.lock().unwrap()) else {
            return false;
        };
        from == host || self.to == host
    }
}
