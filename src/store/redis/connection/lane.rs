use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{RedisError, RedisResult};
use tokio::sync::watch;

use super::live::Live;
use super::server_time::ServerTime;
use super::source::Source;
use crate::protocol::Slot;
use crate::store::poll::jittered;
use crate::store::redis::error::no_provider;
use crate::store::watch::board::Board;

/// How long the first failed connect answers for: while Redis is down, requests do not each knock.
/// Each further failure answers for twice as long, up to a limit: once Redis is back, nobody is to
/// wait for long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// How old a connection must be before a server that is no master is asked for again.
const SETTLED: Duration = Duration::from_millis(100);

/// How old a connection to a Cluster must be before another one is made beside it.
const RENEWED: Duration = Duration::from_secs(1);

/// One connection to Redis, shared by all calls and made when it is needed.
///
/// Connecting happens in a task of its own: callers come and go, and a caller with little time left
/// must not take the connection of the others with it. All who need one meanwhile wait for the same
/// attempt. The connection manager of the `redis` crate is not used, since it stops connecting for
/// good when a server answers the handshake with an error such as `LOADING`.
#[derive(Clone)]
pub(in crate::store::redis) struct Lane(Arc<Inner>);

struct Inner {
    source: Source,
    connect_timeout: Duration,
    time: Arc<ServerTime>,
    /// Where the notifications go, if there are any.
    board: Option<Arc<Board>>,
    state: Mutex<State>,
}

enum State {
    Idle,
    Connecting { attempt: Attempt, since: Duration, failures: u32 },
    Live(Live),
    Failed { error: RedisError, until: Duration, failures: u32 },
}

/// Connections for the same purpose. Calls that concern one slot share one.
pub(in crate::store::redis) struct Lanes(Box<[Lane]>);

impl Lanes {
    pub(in crate::store::redis) fn new(count: usize, lane: impl Fn() -> Lane) -> Self {
        Self((0..count).map(|_| lane()).collect())
    }

    pub(in crate::store::redis) fn of(&self, slot: &Slot) -> &Lane {
        let [first, second, ..] = *slot.as_bytes();
        &self.0[usize::from(u16::from_be_bytes([first, second])) % self.0.len()]
    }

    /// For what concerns no slot.
    pub(in crate::store::redis) fn first(&self) -> &Lane {
        &self.0[0]
    }
}

/// Ends when the connection is made or has failed.
type Attempt = watch::Receiver<Option<Result<Live, RedisError>>>;

impl Lane {
    /// With a `board`, notifications can be asked for and go there.
    pub(in crate::store::redis) fn new(
        source: Source,
        connect_timeout: Duration,
        time: Arc<ServerTime>,
        board: Option<Arc<Board>>,
    ) -> Self {
        let state = Mutex::new(State::Idle);
        Self(Arc::new(Inner { source, connect_timeout, time, board, state }))
    }

    /// The connection, if there is one and nothing has to be asked before it is used.
    pub(in crate::store::redis) fn ready(&self) -> Option<Live> {
        if self.0.source.is_stale() {
            return None;
        }
        match &*self.state() {
            State::Live(live) if !self.0.source.has_moved_from(live.address()) => {
                Some(live.clone())
            }
            _ => None,
        }
    }

    /// Whether the server is known not to have `SET … IFEQ`.
    pub(in crate::store::redis) fn lacks_ifeq(&self) -> bool {
        matches!(&*self.state(), State::Live(live) if live.lacks_ifeq())
    }

    /// The connection, made first if there is none.
    pub(in crate::store::redis) async fn connection(&self) -> Result<Live, RedisError> {
        self.0.source.refresh().await;
        loop {
            let mut attempt = match &mut *self.state() {
                State::Live(live) if !self.0.source.has_moved_from(live.address()) => {
                    return Ok(live.clone());
                }
                // An attempt that is overdue belongs to a runtime that stands still.
                State::Connecting { attempt, since, .. } if !self.is_overdue(*since) => {
                    attempt.clone()
                }
                State::Failed { error, until, .. } if ServerTime::here() < *until => {
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

    /// Gives up a connection; calls that wait on it for a reply go on waiting. One to a Cluster is
    /// not given up for one node: the client library looks after each.
    pub(in crate::store::redis) fn replace(&self, dead: &Live) {
        if dead.link.is_cluster() && dead.silence() < SETTLED {
            return;
        }
        let mut state = self.state();
        if matches!(&*state, State::Live(live) if live.is(dead)) {
            *state = State::Idle;
            drop(state);
            self.tell_board();
            tracing::debug!(address = %self.source(), "Redis connection given up");
        }
    }

    /// Gives up a connection to a server that is no longer the master, unless it is new: then this
    /// is what the address leads to for now, and connecting again and again would only add load.
    pub(in crate::store::redis) fn replace_settled(&self, readonly: &Live) {
        if readonly.age() > SETTLED {
            self.replace(readonly);
        }
    }

    /// Gives up a connection on which nothing has come since a call that timed out was sent, unless
    /// it has been silent for too short a time to tell. Calls with little time of their own tell
    /// together.
    pub(in crate::store::redis) fn replace_silent(&self, sent: Duration) {
        let live = match &*self.state() {
            State::Live(live) => live.clone(),
            _ => return,
        };
        if live.heard() < sent && live.silence() >= SETTLED {
            self.replace(&live);
        } else if live.link.is_cluster() {
            self.renew(live);
        }
    }

    /// Makes another connection to a Cluster, and has it take the place of this one once it is
    /// there: a node may be silent that has been replaced, and the library would go on asking it.
    fn renew(&self, old: Live) {
        if old.age() < RENEWED || old.renewing().swap(true, Ordering::Relaxed) {
            return;
        }
        let lane = self.clone();
        tokio::spawn(async move {
            let opened = lane.0.open().await;
            old.renewing().store(false, Ordering::Relaxed);
            let mut state = lane.state();
            if let (Ok(new), State::Live(live)) = (opened, &mut *state)
                && live.is(&old)
            {
                *live = new;
                drop(state);
                lane.tell_board();
            }
        });
    }

    /// What was to be notified on a connection that is gone has to be looked at.
    fn tell_board(&self) {
        self.0.board.iter().for_each(|board| board.wake_all());
    }

    pub(in crate::store::redis) fn source(&self) -> &Source {
        &self.0.source
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
        let since = ServerTime::here();
        let failures = match state {
            State::Connecting { failures, .. } | State::Failed { failures, .. } => *failures,
            State::Idle => 0,
            State::Live(_) => {
                self.tell_board();
                0
            }
        };
        *state = State::Connecting { attempt: attempt.clone(), since, failures };
        let lane = self.clone();
        tokio::spawn(async move {
            let result = lane.0.open().await;
            if let Err(error) = &result {
                tracing::debug!(address = %lane.source(), %error, "connecting to Redis failed");
            }
            let state = match &result {
                Ok(live) => State::Live(live.clone()),
                // Counted from its beginning: one that took its time was pause enough.
                Err(error) => State::Failed {
                    error: error.clone(),
                    until: since + jittered(pause_after(failures)),
                    failures: failures + 1,
                },
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
    async fn open(self: &Arc<Self>) -> RedisResult<Live> {
        let inner = Arc::clone(self);
        // In a task of its own since it may panic.
        let connecting = tokio::spawn(async move {
            let Self { source, connect_timeout, time, board, .. } = &*inner;
            source.connect(*connect_timeout, time, board.as_ref()).await
        });
        let connected = connecting.await.map_err(|_| no_provider())?;
        connected.map(Live::new)
    }
}

/// How long a failure answers for that comes after so many others.
fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnecting_backs_off_to_less_than_half_a_second() {
        let pauses: Vec<_> = [0, 1, 2, 3, 4, 99].map(|n| pause_after(n).as_millis()).into();
        assert_eq!(pauses, [50, 100, 200, 400, 400, 400]);
    }
}
