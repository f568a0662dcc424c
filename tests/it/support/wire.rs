//! A TCP proxy in front of Redis that counts what goes over the wire and can lose replies.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::resp::Message;

/// What happens to a reply that is lost.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// It is swallowed, and the connection goes on as if there had been none.
    Silence,
    /// It is swallowed, and the connection is closed.
    Close,
}

/// Where a command is held for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before it reaches Redis.
    Request,
    /// After Redis has carried it out, before the answer reaches the server.
    Reply,
}

#[derive(Debug, Default)]
struct Traffic {
    /// The connections and names of all commands, in order.
    commands: Vec<(usize, String)>,
    replies: usize,
    /// Lose the reply to the next command of this name.
    lose: Option<(&'static str, Loss)>,
    /// Hold the command of this number, counted from 0 since the last reset.
    hold: Option<(usize, Point)>,
    held: bool,
    /// Set Redis's clock back in its next answer to TIME.
    set_back: Option<Duration>,
}

/// A proxy on a port of its own. It lives as long as the runtime of the test.
#[derive(Clone, Debug)]
pub struct Wire {
    port: u16,
    traffic: Arc<Mutex<Traffic>>,
    /// Mutes the connections that there are.
    mute: Arc<Notify>,
}

impl Wire {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let wire = Self {
            port: listener.local_addr().expect("its address").port(),
            traffic: Arc::default(),
            mute: Arc::default(),
        };
        let (traffic, mute) = (Arc::clone(&wire.traffic), Arc::clone(&wire.mute));
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let muted = Arc::clone(&mute).notified_owned();
                tokio::spawn(forward(connection, client, server, Arc::clone(&traffic), muted));
            }
        });
        wire
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Forgets what has gone over the wire so far.
    pub fn reset(&self) {
        let mut traffic = self.traffic.lock().unwrap();
        *traffic = Traffic::default();
    }

    /// The names of the commands since then, in order.
    pub fn commands(&self) -> Vec<String> {
        let traffic = self.traffic.lock().unwrap();
        traffic.commands.iter().map(|(_, name)| name.clone()).collect()
    }

    /// The same for each connection that carried any, oldest first.
    pub fn commands_by_connection(&self) -> Vec<Vec<String>> {
        let mut connections = BTreeMap::<_, Vec<_>>::new();
        for (connection, name) in &self.traffic.lock().unwrap().commands {
            connections.entry(*connection).or_default().push(name.clone());
        }
        connections.into_values().collect()
    }

    /// How many replies came back since then.
    pub fn replies(&self) -> usize {
        self.traffic.lock().unwrap().replies
    }

    /// Holds a command for good, and all that its connection carries after it. Commands are counted
    /// from 0 since the last reset.
    pub fn hold(&self, number: usize, point: Point) {
        self.traffic.lock().unwrap().hold = Some((number, point));
    }

    /// Whether a command is held.
    pub fn holds(&self) -> bool {
        self.traffic.lock().unwrap().held
    }

    /// Loses the reply to the next command of this name.
    pub fn lose(&self, command: &'static str, loss: Loss) {
        self.traffic.lock().unwrap().lose = Some((command, loss));
    }

    /// Swallows whatever else the connections that there are carry; new ones work.
    pub fn mute(&self) {
        self.mute.notify_waiters();
    }

    /// Sets Redis's clock back, but only in its next answer to TIME: to the store it then looks as
    /// if the clock was set forward afterwards.
    pub fn set_back(&self, span: Duration) {
        self.traffic.lock().unwrap().set_back = Some(span);
    }
}

type Shared = Arc<Mutex<Traffic>>;

/// The numbers and names of the commands that a connection has not seen the answers to.
type Waiting = VecDeque<(usize, String)>;

async fn forward(
    connection: usize,
    client: TcpStream,
    server: TcpStream,
    traffic: Shared,
    muted: impl Future<Output = ()>,
) {
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let waiting = Mutex::default();
    tokio::select! {
        () = requests(connection, &mut from_client, &mut to_server, &waiting, &traffic) => return,
        () = replies(&mut from_server, &mut to_client, &waiting, &traffic) => return,
        () = muted => {}
    }
    let _closed = tokio::io::copy(&mut from_client, &mut tokio::io::sink()).await;
}

async fn requests(
    connection: usize,
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    waiting: &Mutex<Waiting>,
    traffic: &Shared,
) {
    let mut buffer = Vec::new();
    while from.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        while let Some(Message { bytes, word: name }) = Message::take(&mut buffer) {
            let number = {
                let mut traffic = traffic.lock().unwrap();
                traffic.commands.push((connection, name.clone()));
                traffic.commands.len() - 1
            };
            waiting.lock().unwrap().push_back((number, name));
            hold(traffic, number, Point::Request).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }
}

async fn replies(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    waiting: &Mutex<Waiting>,
    traffic: &Shared,
) {
    let mut buffer = Vec::new();
    while from.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
        while let Some(mut message) = Message::take(&mut buffer) {
            let Some((number, answered)) = answered_by(&message, &mut waiting.lock().unwrap())
            else {
                if to.write_all(&message.bytes).await.is_err() {
                    return;
                }
                continue;
            };
            hold(traffic, number, Point::Reply).await;
            let loss = {
                let mut traffic = traffic.lock().unwrap();
                traffic.replies += 1;
                if answered == "TIME"
                    && let Some(span) = traffic.set_back.take()
                {
                    let earlier = message.word.parse::<u64>().expect("seconds") - span.as_secs();
                    message.bytes = format!("*2\r\n$10\r\n{earlier}\r\n$1\r\n0\r\n").into();
                }
                traffic.lose.take_if(|(command, _)| *command == answered)
            };
            let gone = match loss {
                Some((_, Loss::Close)) => true,
                Some((_, Loss::Silence)) => false,
                None => to.write_all(&message.bytes).await.is_err(),
            };
            if gone {
                return;
            }
        }
    }
}

/// The command that is answered. A push answers one only if it is of its name, such as `subscribe`.
fn answered_by(message: &Message, waiting: &mut Waiting) -> Option<(usize, String)> {
    waiting.pop_front_if(|(_, name)| !message.is_push() || name.eq_ignore_ascii_case(&message.word))
}

/// Never returns, if the command of this number is to be held here.
async fn hold(traffic: &Shared, number: usize, point: Point) {
    let held = {
        let mut traffic = traffic.lock().unwrap();
        traffic.held |= traffic.hold == Some((number, point));
        traffic.hold == Some((number, point))
    };
    if held {
        std::future::pending::<()>().await;
    }
}
