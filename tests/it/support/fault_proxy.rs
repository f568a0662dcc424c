//! TCP proxies in front of the servers of a store, with the faults of a network.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::dialect::{Dialect, Ports};

/// What is wrong with the network, until it is healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The reply of this number from now on, counted from 0, is lost with all that its connection
    /// would bring after it, and the connection is closed.
    LoseReply(usize),
    /// The same, but the connection only falls silent.
    LoseReplyInSilence(usize),
    /// What the connections that there are send is held, and arrives when a new connection has sent
    /// something: a late copy.
    HoldUntilReconnect,
    /// What is sent to the store arrives when the network is healed.
    BlackholeRequests,
    /// The same for what the store sends.
    BlackholeReplies,
    /// The connections that there are are reset.
    Reset,
    /// The connections that there are end for the client, while the store does not know.
    EndReplies,
    /// They end for the store, while the client does not know: it is told when the network is healed.
    EndRequests,
    /// Whatever is sent, in either direction, is this late.
    Slow(Duration),
}

/// A proxy for each server, on a port of its own; what is wrong is wrong with all of them. They live
/// as long as the runtime of the test.
#[derive(Clone, Debug)]
pub struct FaultProxy(Arc<Network>);

#[derive(Debug)]
struct Network {
    dialect: Dialect,
    ports: Ports,
    state: watch::Sender<State>,
    /// How many connections were made.
    connections: AtomicUsize,
    /// How many replies have come since the fault, and how often the fault has changed something.
    replies: AtomicUsize,
    hits: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    fault: Option<Fault>,
    /// The connections below this number are older than the fault.
    since: usize,
    /// A newer one has sent something.
    reconnected: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Requests,
    Replies,
}

impl FaultProxy {
    /// In front of the servers at these ports.
    pub async fn to(dialect: Dialect, servers: &[u16]) -> Self {
        let (mut ports, mut listeners) = (Ports::new(), Vec::new());
        for &server in servers {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            ports.insert(server, listener.local_addr().expect("its address").port());
            listeners.push((server, listener));
        }
        let network = Arc::new(Network {
            dialect,
            ports,
            state: watch::channel(State::default()).0,
            connections: AtomicUsize::new(0),
            replies: AtomicUsize::new(0),
            hits: AtomicUsize::new(0),
        });
        for (server, listener) in listeners {
            tokio::spawn(accept(listener, server, Arc::clone(&network)));
        }
        Self(network)
    }

    /// The port of the proxy in front of a server.
    pub fn port(&self, server: u16) -> u16 {
        self.0.ports[&server]
    }

    /// From now on this is wrong, instead of what was before.
    pub fn set(&self, fault: Fault) {
        let network = &self.0;
        network.replies.store(0, Ordering::SeqCst);
        network.hits.store(0, Ordering::SeqCst);
        let since = network.connections.load(Ordering::SeqCst);
        network.state.send_replace(State { fault: Some(fault), since, reconnected: false });
    }

    /// How often the fault has changed what somebody sees.
    pub fn hits(&self) -> usize {
        self.0.hits.load(Ordering::SeqCst)
    }

    /// Nothing is wrong any more; what was held arrives.
    pub fn heal(&self) {
        self.0.state.send_replace(State::default());
    }
}

async fn accept(listener: TcpListener, server: u16, network: Arc<Network>) {
    while let Ok((client, _)) = listener.accept().await {
        let number = network.connections.fetch_add(1, Ordering::SeqCst);
        let network = Arc::clone(&network);
        tokio::spawn(async move {
            if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                network.carry(number, client, server).await;
            }
        });
    }
}

impl State {
    fn holds(&self, way: Way, connection: usize) -> bool {
        match self.fault {
            Some(Fault::BlackholeRequests) => way == Way::Requests,
            Some(Fault::BlackholeReplies) => way == Way::Replies,
            Some(Fault::HoldUntilReconnect) => {
                way == Way::Requests && connection < self.since && !self.reconnected
            }
            _ => false,
        }
    }

    fn ends(&self, way: Way, connection: usize) -> bool {
        let ends = match way {
            Way::Requests => Fault::EndRequests,
            Way::Replies => Fault::EndReplies,
        };
        self.fault == Some(ends) && connection < self.since
    }

    fn resets(&self, connection: usize) -> bool {
        self.fault == Some(Fault::Reset) && connection < self.since
    }
}

impl Network {
    async fn carry(&self, number: usize, mut client: TcpStream, mut server: TcpStream) {
        let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
        let reset = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let both = async {
                tokio::join!(
                    self.requests(number, from_client, to_server),
                    self.replies(number, from_server, to_client)
                )
            };
            tokio::select! {
                ((), ()) = both => false,
                () = self.until(|state| state.resets(number)) => true,
            }
        };
        if reset {
            self.hit();
            let (_, _) = (client.set_zero_linger(), server.set_zero_linger());
        }
    }

    async fn requests(&self, number: usize, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => read.unwrap_or(0),
                () = self.until(|state| state.ends(Way::Requests, number)) => {
                    self.hit();
                    0
                }
            };
            if read == 0 {
                break;
            }
            self.pass(Way::Requests, number).await;
            if to.write_all(&buffer[..read]).await.is_err() {
                break;
            }
            self.sent(number);
        }
        let _ = to.shutdown().await;
        // Where it ended for the store only, the client goes on.
        let _ = copy(&mut from, &mut sink()).await;
    }

    async fn replies(&self, number: usize, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) {
        let mut buffer = Vec::new();
        'open: loop {
            let read = tokio::select! {
                read = from.read_buf(&mut buffer) => read.unwrap_or(0),
                () = self.until(|state| state.ends(Way::Replies, number)) => {
                    self.hit();
                    break;
                }
            };
            if read == 0 {
                break;
            }
            while let Some(reply) = self.dialect.take(&mut buffer, &self.ports) {
                self.pass(Way::Replies, number).await;
                if let Some(silence) = self.loses() {
                    if silence {
                        let _ = copy(&mut from, &mut sink()).await;
                    }
                    break 'open;
                }
                if to.write_all(&reply).await.is_err() {
                    break 'open;
                }
            }
        }
        self.until(|state| !state.ends(Way::Requests, number)).await;
        let _ = to.shutdown().await;
        // The store may have to send what nobody hears, before it reads what it was sent.
        let _ = copy(&mut from, &mut sink()).await;
    }

    /// Waits while nothing passes this way.
    async fn pass(&self, way: Way, number: usize) {
        let State { fault, .. } = *self.state.borrow();
        if let Some(Fault::Slow(delay)) = fault {
            self.hit();
            tokio::time::sleep(delay).await;
        }
        if self.state.borrow().holds(way, number) {
            self.hit();
            self.until(|state| !state.holds(way, number)).await;
        }
    }

    /// A connection has sent something, which may be the one that others wait for.
    fn sent(&self, number: usize) {
        // Nothing waits before something is held.
        let held = self.hits.load(Ordering::SeqCst) > 0;
        self.state.send_if_modified(|state| {
            let first = held && number >= state.since && !state.reconnected;
            state.reconnected |= first;
            first
        });
    }

    /// Whether this reply is lost, and in silence.
    fn loses(&self) -> Option<bool> {
        let State { fault, .. } = *self.state.borrow();
        let (lost, silence) = match fault? {
            Fault::LoseReply(number) => (number, false),
            Fault::LoseReplyInSilence(number) => (number, true),
            _ => return None,
        };
        let loses = self.replies.fetch_add(1, Ordering::SeqCst) == lost;
        loses.then(|| {
            self.hit();
            silence
        })
    }

    fn hit(&self) {
        self.hits.fetch_add(1, Ordering::SeqCst);
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        // The sender is in `self`, so it does not end.
        let _ = self.state.subscribe().wait_for(condition).await;
    }
}
