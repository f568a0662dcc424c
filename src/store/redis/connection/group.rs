use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::{oneshot, watch};

use super::link::Link;
use super::server_time::ServerTime;
use crate::store::redis::durability::Durability;

/// The calls that wait for their turn on one connection, on which they are followed by a wait for
/// the replicas.
///
/// That wait blocks the connection, and one covers everything that was written before it. So what
/// comes while a group is under way collects, and is the next group; an idle connection takes a call
/// at once. A task of its own sends the groups: callers come and go.
#[derive(Default)]
pub(super) struct Groups(Mutex<State>);

#[derive(Default)]
struct State {
    under_way: bool,
    waiting: Vec<Member>,
}

/// A call that waits for its turn.
pub(super) struct Member {
    command: Cmd,
    /// When its caller gives up, on this machine's clock.
    until: Duration,
    answer: Caller,
}

/// Who waits for the reply to a call.
pub(super) type Caller = oneshot::Sender<RedisResult<(Value, Proof)>>;

/// Will say whether what a call has written is as durable as was asked for.
#[derive(Clone)]
pub(in crate::store::redis) struct Proof(watch::Receiver<Option<RedisResult<bool>>>);

impl Proof {
    /// A verdict that is known already.
    #[cfg(feature = "redis-cluster")]
    pub(super) fn of(verdict: RedisResult<bool>) -> Self {
        Self(watch::channel(Some(verdict)).1)
    }

    pub(in crate::store::redis) async fn verdict(mut self) -> RedisResult<bool> {
        let verdict = self.0.wait_for(Option::is_some).await.map(|verdict| verdict.clone());
        verdict.ok().flatten().unwrap_or_else(|| Err(abandoned()))
    }
}

/// Where a group is sent.
pub(super) trait Road: Send + 'static {
    /// Sends a group and the wait for what it writes, and hands its replies out.
    fn send(&self, durability: Durability, group: Vec<Member>) -> impl Future<Output = ()> + Send;
}

impl Groups {
    /// Sends a command with the next group.
    pub(super) async fn take(
        self: &Arc<Self>,
        road: impl Road,
        durability: Durability,
        command: Cmd,
        until: Duration,
    ) -> RedisResult<(Value, Proof)> {
        let (answer, answered) = oneshot::channel();
        if self.join(Member { command, until, answer }) {
            let driver = Driver { groups: Arc::clone(self), ended: false };
            tokio::spawn(driver.run(road, durability));
        }
        answered.await.unwrap_or_else(|_| Err(abandoned()))
    }

    /// Adds a call; whether somebody has to be found who sends it.
    fn join(&self, member: Member) -> bool {
        let mut state = self.state();
        state.waiting.push(member);
        !std::mem::replace(&mut state.under_way, true)
    }

    /// Those who wait, for the next group; nothing more is under way if there are none.
    fn depart(&self) -> Vec<Member> {
        let mut state = self.state();
        let mut group = std::mem::take(&mut state.waiting);
        // What nobody waits for any more need not be done.
        group.retain(|member| !member.answer.is_closed());
        state.under_way = !group.is_empty();
        group
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends groups until nobody waits.
struct Driver {
    groups: Arc<Groups>,
    ended: bool,
}

impl Driver {
    async fn run(mut self, road: impl Road, durability: Durability) {
        loop {
            let group = self.groups.depart();
            if group.is_empty() {
                self.ended = true;
                return;
            }
            road.send(durability, group).await;
        }
    }
}

impl Drop for Driver {
    /// Its runtime has ended under it: those who wait on another runtime are told.
    fn drop(&mut self) {
        if !self.ended {
            *self.groups.state() = State::default();
        }
    }
}

/// The commands of a group, the wait that follows them, and who waits for the replies.
pub(super) fn packed(durability: Durability, group: Vec<Member>) -> (Pipeline, Cmd, Vec<Caller>) {
    let until = group.iter().map(|member| member.until).min().unwrap_or_default();
    let mut pipeline = Pipeline::with_capacity(group.len() + 1);
    let mut callers = Vec::with_capacity(group.len());
    for member in group {
        pipeline.add_command(member.command);
        callers.push(member.answer);
    }
    (pipeline, durability.wait(patience(until)), callers)
}

/// A connection to one server.
impl Road for Link {
    async fn send(&self, durability: Durability, group: Vec<Member>) {
        let (pipeline, wait, callers) = packed(durability, group);
        let (given, proof) = watch::channel(None);
        let (mut first, mut second) = (self.clone(), self.clone());
        let mut handed_out = pin!(async {
            hand_out(first.each(&pipeline).await, callers, &Proof(proof));
        });
        let mut waited = pin!(second.command(&wait));
        let mut done = false;
        let waited = poll_fn(|context| {
            // In this order: polled for the first time, each of them is sent, and the server must find
            // the wait right behind the commands. Their replies do not wait for its own.
            done = done || handed_out.as_mut().poll(context).is_ready();
            waited.as_mut().poll(context)
        })
        .await;
        if !done {
            handed_out.await;
        }
        given.send_replace(Some(waited.and_then(|waited| judge(durability, &waited))));
    }
}

pub(super) fn hand_out(
    replies: RedisResult<Vec<RedisResult<Value>>>,
    callers: Vec<Caller>,
    proof: &Proof,
) {
    // A caller that has gone leaves its reply behind.
    match replies {
        Ok(replies) => callers.into_iter().zip(replies).for_each(|(caller, reply)| {
            let _ = caller.send(reply.map(|reply| (reply, proof.clone())));
        }),
        Err(error) => callers.into_iter().for_each(|caller| {
            let _ = caller.send(Err(error.clone()));
        }),
    }
}

/// How long to wait for the replicas: the verdict has to come before the caller gives up.
pub(super) fn patience(until: Duration) -> Duration {
    until.saturating_sub(ServerTime::here()) / 4 * 3
}

pub(super) fn judge(durability: Durability, waited: &Value) -> RedisResult<bool> {
    durability.is_reached(waited).ok_or_else(abandoned)
}

/// Nothing is known of the call.
pub(super) fn abandoned() -> RedisError {
    io::Error::from(io::ErrorKind::BrokenPipe).into()
}
