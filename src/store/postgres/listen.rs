use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_postgres::tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use deadpool_postgres::tokio_postgres::{AsyncMessage, Client, Config, Connection, Error, Socket};
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::Failure;
use crate::store::server_clock::here;
use crate::store::watch::board::Board;

/// For how long it is not tried again to listen, once it has failed.
const FAILED: Duration = Duration::from_secs(1);

type Connecting = Pin<Box<dyn Future<Output = Result<Client, Error>> + Send>>;

/// The connection on which the server tells of the ends of claims. It is made when somebody first
/// waits.
#[derive(Clone)]
pub(super) struct Listener {
    /// Makes a connection whose notifications go to this board.
    connect: Arc<dyn Fn(Arc<Board>) -> Connecting + Send + Sync>,
    channel: Arc<str>,
    state: Arc<Mutex<State>>,
}

enum State {
    Idle,
    Connecting,
    Listening(Client),
    /// It has failed and is not tried again before this moment of this machine's clock.
    Failed(Duration),
}

impl Listener {
    pub(super) fn new<T>(config: Config, tls: T, channel: &str) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let connect = move |board| -> Connecting {
            let (config, tls) = (config.clone(), tls.clone());
            Box::pin(async move {
                let (client, connection) = config.connect(tls).await?;
                tokio::spawn(tell(connection, board));
                Ok(client)
            })
        };
        let state = Arc::new(Mutex::new(State::Idle));
        Self { connect: Arc::new(connect), channel: channel.into(), state }
    }

    /// The same for another channel.
    pub(super) fn on(self, channel: &str) -> Self {
        Self { channel: channel.into(), ..self }
    }

    /// Whether the ends of claims are told from now on. If not, it is seen to in the background, and
    /// the board is woken once they are.
    pub(super) fn listens(&self, board: &Arc<Board>) -> bool {
        let mut state = self.state();
        match &*state {
            State::Listening(client) if !client.is_closed() => return true,
            State::Connecting => return false,
            State::Failed(until) if here() < *until => return false,
            _ => *state = State::Connecting,
        }
        let ended = Ended(self.clone());
        let board = Arc::clone(board);
        tokio::spawn(async move {
            let Ended(listener) = &ended;
            match listener.listen(&board).await {
                Ok(client) => {
                    *listener.state() = State::Listening(client);
                    board.wake_all();
                }
                Err(error) => {
                    let error = Failure::from(error).cause();
                    tracing::debug!(%error, "nothing tells of the ends of claims: it is asked instead");
                }
            }
        });
        false
    }

    async fn listen(&self, board: &Arc<Board>) -> Result<Client, Error> {
        let client = (self.connect)(Arc::clone(board)).await?;
        client.batch_execute(&format!("LISTEN \"{}\"", self.channel)).await?;
        Ok(client)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt to listen has ended, maybe with the runtime that it was made on.
struct Ended(Listener);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if matches!(*state, State::Connecting) {
            *state = State::Failed(here() + FAILED);
        }
    }
}

/// Hands on what the server tells, as long as the connection lives.
async fn tell<T>(mut connection: Connection<Socket, T>, board: Arc<Board>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(notification) = message {
            match slot(notification.payload()) {
                Some(slot) => board.wake(&slot),
                None => board.wake_all(),
            }
        }
    }
    board.wake_all();
}

/// The bytes of a slot from its 64 digits.
fn slot(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
