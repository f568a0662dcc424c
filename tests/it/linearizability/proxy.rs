//! A proxy that loses what it carries, breaks connections, and delivers what it holds when nobody
//! waits for it any more.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::history::now;

/// One in so many pieces meets each kind of fault.
const ONE_IN: u32 = 60;

/// A proxy on a port of its own. It lives as long as the runtime of the test.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub port: u16,
    chaos: Arc<Mutex<StdRng>>,
    /// When a connection was broken or fell silent, by this machine's clock.
    broken: Arc<Mutex<Vec<u64>>>,
}

/// How a connection ends.
enum End {
    Closed,
    /// This piece reaches the server after its client has been cut off.
    Late(Vec<u8>),
}

impl Proxy {
    pub fn to(server: SocketAddr, seed: u64) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("it can be polled");
        let listener = TcpListener::from_std(listener).expect("there is a runtime");
        let port = listener.local_addr().expect("its address").port();
        let chaos = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        let proxy = Self { port, chaos, broken: Arc::default() };
        let carrier = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let proxy = carrier.clone();
                tokio::spawn(async move { proxy.carry(client, server).await });
            }
        });
        proxy
    }

    /// When connections were broken, oldest first.
    pub fn broken(&self) -> Vec<u64> {
        self.broken.lock().unwrap().clone()
    }

    async fn carry(&self, client: TcpStream, server: TcpStream) {
        let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, mut to_server) = server.into_split();
        let end = tokio::select! {
            end = self.requests(from_client, &mut to_server) => end,
            () = self.replies(from_server, to_client) => End::Closed,
        };
        // The client is cut off by now.
        if let End::Late(piece) = end {
            tokio::time::sleep(self.some_time(400)).await;
            let _gone = to_server.write_all(&piece).await;
        }
    }

    async fn requests(&self, mut from: OwnedReadHalf, to: &mut OwnedWriteHalf) -> End {
        let mut piece = Vec::new();
        while from.read_buf(&mut piece).await.is_ok_and(|read| read > 0) {
            match self.dice() {
                0 => {
                    self.note();
                    return End::Closed;
                }
                1 => {
                    self.note();
                    return End::Late(piece);
                }
                2 => tokio::time::sleep(self.some_time(60)).await,
                _ => {}
            }
            if to.write_all(&piece).await.is_err() {
                break;
            }
            piece.clear();
        }
        End::Closed
    }

    async fn replies(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut piece = Vec::new();
        while from.read_buf(&mut piece).await.is_ok_and(|read| read > 0) {
            match self.dice() {
                // The call was carried out, and nobody is told.
                0 => return self.note(),
                1 => {
                    self.note();
                    std::future::pending::<()>().await;
                }
                2 => tokio::time::sleep(self.some_time(60)).await,
                _ => {}
            }
            if to.write_all(&piece).await.is_err() {
                return;
            }
            piece.clear();
        }
    }

    fn note(&self) {
        self.broken.lock().unwrap().push(now());
    }

    fn dice(&self) -> u32 {
        self.chaos.lock().unwrap().random_range(0..ONE_IN)
    }

    fn some_time(&self, most: u64) -> Duration {
        Duration::from_millis(self.chaos.lock().unwrap().random_range(1..=most))
    }
}
