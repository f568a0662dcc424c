//! A TCP proxy in front of PostgreSQL that counts round trips, and can hold a call or lose a reply.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::wire::{Loss, Point};

/// A proxy on a port of its own. It lives as long as the runtime of the test.
#[derive(Clone, Debug)]
pub struct PostgresWire {
    port: u16,
    /// Where it leads to.
    to: Arc<AtomicU16>,
    traffic: Arc<Mutex<Traffic>>,
}

#[derive(Debug, Default)]
struct Traffic {
    /// How many times the server was asked for something and to say so when it is ready again.
    calls: usize,
    replies: usize,
    /// How many connections were made.
    connections: usize,
    /// Hold the call of this number, counted from 0 since the last reset, for good.
    hold: Option<(usize, Point)>,
    held: bool,
    /// Lose the reply of this number, counted likewise.
    lose: Option<(usize, Loss)>,
}

impl PostgresWire {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("its address").port();
        let wire = Self { port: own, to: Arc::new(port.into()), traffic: Arc::default() };
        let carrier = wire.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let port = carrier.to.load(Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                carrier.traffic.lock().unwrap().connections += 1;
                let wire = carrier.clone();
                tokio::spawn(async move { wire.carry(client, server).await });
            }
        });
        wire
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads new connections to another server.
    pub fn lead_to(&self, port: u16) {
        self.to.store(port, Ordering::SeqCst);
    }

    /// Forgets what has gone over the wire so far.
    pub fn reset(&self) {
        *self.traffic.lock().unwrap() = Traffic::default();
    }

    /// How many calls went over the wire since then.
    pub fn calls(&self) -> usize {
        self.traffic.lock().unwrap().calls
    }

    /// How many connections were made since then.
    pub fn connections(&self) -> usize {
        self.traffic.lock().unwrap().connections
    }

    /// Holds a call for good, and all that its connection carries after it.
    pub fn hold(&self, number: usize, point: Point) {
        self.traffic.lock().unwrap().hold = Some((number, point));
    }

    /// Whether a call is held.
    pub fn holds(&self) -> bool {
        self.traffic.lock().unwrap().held
    }

    /// Loses the reply to the next call.
    pub fn lose(&self, loss: Loss) {
        self.lose_after(0, loss);
    }

    /// Loses the reply to the one that comes after this many others.
    pub fn lose_after(&self, others: usize, loss: Loss) {
        let mut traffic = self.traffic.lock().unwrap();
        traffic.lose = Some((traffic.replies + others, loss));
    }

    /// Whether no reply is left to be lost.
    pub fn has_lost(&self) -> bool {
        self.traffic.lock().unwrap().lose.is_none()
    }

    async fn carry(&self, client: TcpStream, server: TcpStream) {
        let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = self.requests(from_client, to_server) => {}
            () = self.replies(from_server, to_client) => {}
        }
    }

    async fn requests(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (mut buffer, mut call) = (Vec::new(), Vec::new());
        let mut begun = false;
        while from.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
            while let Some(message) = take(&mut buffer, begun) {
                let kind = if std::mem::replace(&mut begun, true) { message[0] } else { 0 };
                call.extend(message);
                match kind {
                    // A simple query, or the end of an extended one.
                    b'Q' | b'S' => {
                        let number = self.count(|traffic| &mut traffic.calls);
                        self.stop_at(number, Point::Request).await;
                    }
                    // The parts of an extended one go together.
                    b'P' | b'B' | b'D' | b'E' | b'C' => continue,
                    _ => {}
                }
                if to.write_all(&call).await.is_err() {
                    return;
                }
                call.clear();
            }
        }
    }

    async fn replies(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (mut buffer, mut reply) = (Vec::new(), Vec::new());
        let mut begun = false;
        while from.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
            while let Some(message) = take(&mut buffer, true) {
                let ready = message[0] == b'Z';
                reply.extend(message);
                if !ready {
                    continue;
                }
                // The first is the end of the beginning.
                if std::mem::replace(&mut begun, true) {
                    let number = self.count(|traffic| &mut traffic.replies);
                    self.stop_at(number, Point::Reply).await;
                    match self.loses(number) {
                        Some(Loss::Close) => return,
                        Some(Loss::Silence) => std::future::pending().await,
                        None => {}
                    }
                }
                if to.write_all(&reply).await.is_err() {
                    return;
                }
                reply.clear();
            }
        }
        // What it says before it closes.
        let _ = to.write_all(&reply).await;
    }

    fn count(&self, what: impl Fn(&mut Traffic) -> &mut usize) -> usize {
        let mut traffic = self.traffic.lock().unwrap();
        let count = what(&mut traffic);
        *count += 1;
        *count - 1
    }

    /// Never returns, if the call of this number is to be held here.
    async fn stop_at(&self, number: usize, point: Point) {
        let held = {
            let mut traffic = self.traffic.lock().unwrap();
            let held = traffic.hold == Some((number, point));
            traffic.held |= held;
            held
        };
        if held {
            std::future::pending::<()>().await;
        }
    }

    fn loses(&self, number: usize) -> Option<Loss> {
        let mut traffic = self.traffic.lock().unwrap();
        traffic.lose.take_if(|(lost, _)| *lost == number).map(|(_, loss)| loss)
    }
}

/// Takes one message off the front. The one that a client begins with has no type.
pub fn take(buffer: &mut Vec<u8>, typed: bool) -> Option<Vec<u8>> {
    let start = usize::from(typed);
    let len = buffer.get(start..start + 4)?.try_into().ok().map(u32::from_be_bytes)?;
    let end = start + len as usize;
    (buffer.len() >= end).then(|| buffer.drain(..end).collect())
}
