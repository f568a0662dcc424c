//! The way between a server and PostgreSQL, which loses commits and replies, delays calls and breaks.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::support::postgres_wire::take;
use crate::support::wire::Loss;

/// Of the commits of handlers' transactions one in so many is lost, and of the replies to them.
const COMMITS: u32 = 15;
/// The same for other replies.
const REPLIES: u32 = 120;
/// Of the calls, one in so many is late, and may land after its server was killed.
const CALLS: u32 = 150;

/// A proxy on a port of its own. It lives as long as the runtime of the test.
#[derive(Debug)]
pub struct Line {
    pub port: u16,
    calm: AtomicBool,
    broken: Notify,
    random: Mutex<StdRng>,
    pub lost_commits: AtomicUsize,
    pub lost_acknowledgements: AtomicUsize,
    pub lost_others: AtomicUsize,
    pub late_calls: AtomicUsize,
}

impl Line {
    pub async fn to(port: u16, random: StdRng) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let line = Arc::new(Self {
            port: listener.local_addr().expect("its address").port(),
            calm: AtomicBool::new(false),
            broken: Notify::new(),
            random: Mutex::new(random),
            lost_commits: AtomicUsize::new(0),
            lost_acknowledgements: AtomicUsize::new(0),
            lost_others: AtomicUsize::new(0),
            late_calls: AtomicUsize::new(0),
        });
        let carrier = Arc::clone(&line);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let line = Arc::clone(&carrier);
                tokio::spawn(async move { line.carry(client, server).await });
            }
        });
        line
    }

    /// Breaks all connections.
    pub fn cut(&self) {
        self.broken.notify_waiters();
    }

    /// Does no harm from now on.
    pub fn calm(&self) {
        self.calm.store(true, SeqCst);
    }

    async fn carry(&self, client: TcpStream, server: TcpStream) {
        let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = self.calls(from_client, to_server) => {}
            () = self.replies(from_server, to_client) => {}
            () = self.broken.notified() => {}
        }
    }

    async fn calls(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (mut buffer, mut begun) = (Vec::new(), false);
        while from.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
            while let Some(message) = take(&mut buffer, begun) {
                let asks = std::mem::replace(&mut begun, true) && matches!(message[0], b'Q' | b'S');
                if message == *COMMIT && self.happens(COMMITS) {
                    self.lost_commits.fetch_add(1, SeqCst);
                    return;
                }
                if asks && self.happens(CALLS) {
                    self.late_calls.fetch_add(1, SeqCst);
                    sleep(Duration::from_millis(self.up_to(1500).into())).await;
                }
                if to.write_all(&message).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn replies(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (mut buffer, mut reply) = (Vec::new(), Vec::new());
        while from.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
            while let Some(message) = take(&mut buffer, true) {
                let ready = message[0] == b'Z';
                reply.extend(message);
                if !ready {
                    continue;
                }
                match self.loses(&reply) {
                    Some(Loss::Close) => return,
                    Some(Loss::Silence) => std::future::pending().await,
                    None => {}
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

    fn loses(&self, reply: &[u8]) -> Option<Loss> {
        let (one_in, count) = match is_commit(reply) {
            true => (COMMITS, &self.lost_acknowledgements),
            false => (REPLIES, &self.lost_others),
        };
        if !self.happens(one_in) {
            return None;
        }
        count.fetch_add(1, SeqCst);
        Some(if self.up_to(2) == 0 { Loss::Close } else { Loss::Silence })
    }

    fn happens(&self, one_in: u32) -> bool {
        !self.calm.load(SeqCst) && self.up_to(one_in) == 0
    }

    fn up_to(&self, limit: u32) -> u32 {
        self.random.lock().unwrap().random_range(0..limit)
    }
}

/// The end of a transaction of a handler.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// Whether a transaction of a handler was committed: the last of its statements, and no other has
/// begun.
fn is_commit(reply: &[u8]) -> bool {
    reply.ends_with(b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I")
}
