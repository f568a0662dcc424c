use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::watch;

use super::group::Groups;
use super::link::Link;
use super::server_time::ServerTime;
use crate::protocol::Timestamp;

/// How long a failed connect answers for: while Redis is down, requests do not each knock.
const PAUSE: Duration = Duration::from_millis(50);

/// How old a connection must be before a server that is no master is asked for again.
const SETTLED: Duration = Duration::from_millis(100);

/// After this long without an acknowledgement a connection is dead, however quiet the network is.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);

/// How often a quiet connection is then asked for a sign of life.
const PROBE: Duration = Duration::from_secs(2);

/// How many calls may wait for their turn to be written.
const QUEUE: usize = 512;

/// One connection to Redis, shared by all calls and made when it is needed.
///
/// Connecting happens in a task of its own: callers come and go, and a caller with little time left
/// must not take the connection of the others with it. All who need one meanwhile wait for the same
/// attempt. The connection manager of the `redis` crate is not used, since it stops connecting for
/// good when a server answers the handshake with an error such as `LOADING`.
#[derive(Clone)]
pub(super) struct Lane(Arc<Inner>);

struct Inner {
    client: Client,
    connect_timeout: Duration,
    time: Arc<ServerTime>,
    state: Mutex<State>,
}

enum State {
    Idle,
    Connecting { attempt: Attempt, since: Duration },
    Live(Live),
    Failed { error: RedisError, until: Duration },
}

/// Ends when the connection is made or has failed.
type Attempt = watch::Receiver<Option<Result<Live, RedisError>>>;

/// A connection. Clones of it share one socket.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) link: Link,
    shared: Arc<Shared>,
}

struct Shared {
    since: Duration,
    /// When the last reply came, in microseconds of this machine's clock.
    heard: AtomicU64,
    /// When the first call was sent that no reply has come after; 0 if there is none.
    asked: AtomicU64,
    /// Whether the server has refused `SET … IFEQ`.
    lacks_ifeq: AtomicBool,
    groups: Groups,
    /// Whether the canary was looked for on it.
    visited: AtomicBool,
}

impl Live {
    fn new(link: Link) -> Self {
        let live = Self {
            link,
            shared: Arc::new(Shared {
                since: ServerTime::here(),
                heard: AtomicU64::new(0),
                asked: AtomicU64::new(0),
                lacks_ifeq: AtomicBool::new(false),
                groups: Groups::default(),
                visited: AtomicBool::new(false),
            }),
        };
        live.hear();
        live
    }

    /// Notes that a call is sent.
    pub(super) fn ask(&self, now: u64) {
        let _ = self.shared.asked.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that a reply came.
    pub(super) fn hear(&self) {
        self.shared.heard.store(ServerTime::here_in_micros(), Ordering::Relaxed);
        self.shared.asked.store(0, Ordering::Relaxed);
    }

    /// The calls that are followed by a wait for replicas.
    pub(super) fn groups(&self) -> &Groups {
        &self.shared.groups
    }

    pub(super) fn was_visited(&self) -> bool {
        self.shared.visited.load(Ordering::Relaxed)
    }

    /// Whether nobody has looked for the canary on it; the next one has.
    pub(super) fn visit(&self) -> bool {
        !self.shared.visited.swap(true, Ordering::Relaxed)
    }

    pub(super) fn lacks_ifeq(&self) -> bool {
        self.shared.lacks_ifeq.load(Ordering::Relaxed)
    }

    /// Notes that the server does not know `SET … IFEQ`. The next connection tries it again, since
    /// the server behind it may be a newer one.
    pub(super) fn note_lack_of_ifeq(&self) {
        self.shared.lacks_ifeq.store(true, Ordering::Relaxed);
    }

    /// For how long calls have been sent and nothing has come back.
    fn silence(&self) -> Duration {
        match self.shared.asked.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            asked => ServerTime::here().saturating_sub(Duration::from_micros(asked)),
        }
    }

    fn heard(&self) -> Duration {
        Duration::from_micros(self.shared.heard.load(Ordering::Relaxed))
    }
}

impl Lane {
    pub(super) fn new(client: Client, connect_timeout: Duration, time: Arc<ServerTime>) -> Self {
        let state = Mutex::new(State::Idle);
        Self(Arc::new(Inner { client, connect_timeout, time, state }))
    }

    /// The connection, made first if there is none.
    pub(super) async fn connection(&self) -> Result<Live, RedisError> {
        loop {
            let mut attempt = match &mut *self.state() {
                State::Live(live) => return Ok(live.clone()),
                // An attempt that is overdue belongs to a runtime that stands still.
                State::Connecting { attempt, since } if !self.is_overdue(*since) => attempt.clone(),
                State::Failed { error, until } if ServerTime::here() < *until => {
                    return Err(error.clone());
                }
                state => self.connect(state),
            };
            let ended = attempt.wait_for(Option::is_some);
            let patience = self.0.connect_timeout.saturating_add(SETTLED);
            let Ok(ended) = tokio::time::timeout(patience, ended).await else {
                continue;
            };
            match ended.map(|ended| ended.clone()) {
                Ok(Some(ended)) => return ended,
                // The task is gone with its runtime; the next one is spawned on this one.
                _ => self.end_attempt(&attempt, State::Idle),
            }
        }
    }

    /// Gives up a connection; calls that wait on it for a reply go on waiting.
    pub(super) fn replace(&self, dead: &Live) {
        let mut state = self.state();
        if matches!(&*state, State::Live(live) if Arc::ptr_eq(&live.shared, &dead.shared)) {
            *state = State::Idle;
            tracing::debug!(address = %self.address(), "Redis connection given up");
        }
    }

    /// Gives up a connection to a server that is no longer the master, unless it is new: then this
    /// is what the address leads to for now, and connecting again and again would only add load.
    pub(super) fn replace_settled(&self, readonly: &Live) {
        if ServerTime::here().saturating_sub(readonly.shared.since) > SETTLED {
            self.replace(readonly);
        }
    }

    /// Gives up a connection on which nothing has come since a call that timed out was sent, unless
    /// it has been silent for too short a time to tell. Calls with little time of their own tell
    /// together.
    pub(super) fn replace_silent(&self, sent: Duration) {
        let silent = match &*self.state() {
            State::Live(live) if live.heard() < sent && live.silence() >= SETTLED => {
                Some(live.clone())
            }
            _ => None,
        };
        if let Some(live) = silent {
            self.replace(&live);
        }
    }

    pub(super) fn address(&self) -> &redis::ConnectionAddr {
        self.0.client.get_connection_info().addr()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an attempt has taken so long that another one may be made beside it.
    fn is_overdue(&self, since: Duration) -> bool {
        ServerTime::here().saturating_sub(since) > self.0.connect_timeout.saturating_add(SETTLED)
    }

    fn connect(&self, state: &mut State) -> Attempt {
        let (ended, attempt) = watch::channel(None);
        *state = State::Connecting { attempt: attempt.clone(), since: ServerTime::here() };
        let lane = self.clone();
        tokio::spawn(async move {
            let result = lane.0.open().await;
            if let Err(error) = &result {
                tracing::debug!(address = %lane.address(), %error, "connecting to Redis failed");
            }
            let state = match &result {
                Ok(live) => State::Live(live.clone()),
                Err(error) => {
                    State::Failed { error: error.clone(), until: ServerTime::here() + PAUSE }
                }
            };
            lane.end_attempt(&ended.subscribe(), state);
            ended.send_replace(Some(result));
        });
        attempt
    }

    /// What becomes of the lane after an attempt. Where another one has taken its place, a connection
    /// is still welcome, a failure is not.
    fn end_attempt(&self, ended: &Attempt, next: State) {
        let mut state = self.state();
        let current = match &*state {
            State::Connecting { attempt, .. } => attempt.same_channel(ended),
            _ => false,
        };
        let welcome = matches!(next, State::Live(_)) && !matches!(*state, State::Live(_));
        if current || welcome {
            *state = next;
        }
    }
}

impl Inner {
    /// Connects and asks for the time; the scripts are loaded when they are missed.
    async fn open(&self) -> Result<Live, RedisError> {
        tokio::time::timeout(self.connect_timeout, self.handshake())
            .await
            .map_err(|elapsed| std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed))?
    }

    async fn handshake(&self) -> Result<Live, RedisError> {
        // Every verb is bounded by the time it was given, and a second timer per call would add
        // nothing but its cost.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let mut connection =
            self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let sent = ServerTime::here();
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await?;
        self.time.relearn(Timestamp::from_micros(seconds * 1_000_000 + micros), sent);
        Ok(Live::new(Link::Single(connection)))
    }
}

/// The same client with sockets that send at once and notice when the other end is gone. What the
/// caller has set stays.
pub(super) fn tuned(client: Client) -> Client {
    let info = client.get_connection_info();
    let mut settings: TcpSettings = info.tcp_settings().clone().set_nodelay(true);
    if settings.keepalive().is_none() {
        let keepalive = TcpKeepalive::new().with_time(UNACKNOWLEDGED).with_interval(PROBE);
        settings = settings.set_keepalive(keepalive);
    }
    #[cfg(target_os = "linux")]
    if settings.user_timeout().is_none() {
        settings = settings.set_user_timeout(UNACKNOWLEDGED);
    }
    // Opening a client only stores the address; one that was valid stays so.
    Client::open(info.clone().set_tcp_settings(settings)).unwrap_or(client)
}
