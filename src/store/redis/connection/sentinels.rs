use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::sentinel::SentinelClient;
use redis::{Client, ConnectionAddr, ConnectionInfo, RedisError, RedisResult};

use super::quorum::{PATIENCE, Quorum, silence};
use super::server_time::ServerTime;
use super::tune::tuned_info;
use crate::store::redis::error::no_provider;

/// How often the Sentinels are asked while there are calls.
const INTERVAL: Duration = Duration::from_millis(750);

/// After this long without calls, what is known of the master is too old to send anything to it.
const STALE: Duration = Duration::from_millis(1500);

/// Those who know which server is the master.
///
/// A master that is cut off from the others goes on answering, and does not know that it has a
/// successor. So the Sentinels are asked not only when a connection breaks but also while it works,
/// in the background and only when there are calls; the first call after a quiet time waits for what
/// they say. All connections of a store share what is found.
pub(in crate::store::redis) struct Sentinels {
    way: Way,
    known: Mutex<Known>,
    /// Held by the call that asks after a quiet time, while others wait for it.
    asking: tokio::sync::Mutex<()>,
}

enum Way {
    /// The client library asks, and believes the first who answers.
    Client(Box<tokio::sync::Mutex<SentinelClient>>),
    Quorum(Box<Quorum>),
}

#[derive(Default)]
struct Known {
    /// How to connect to it.
    master: Option<ConnectionInfo>,
    /// When they were asked last, on this machine's clock.
    asked: Duration,
    /// Whether none of them has answered then.
    silent: bool,
}

impl Known {
    fn note(&mut self, found: &RedisResult<ConnectionInfo>) {
        self.asked = ServerTime::here();
        self.silent = found.as_ref().is_err_and(RedisError::is_io_error);
        match found {
            Ok(master) => self.master = Some(master.clone()),
            Err(error) => tracing::debug!(%error, "the Sentinels name no master"),
        }
    }

    /// Whether there is a master that was known, and whether nobody has answered just now.
    fn state(&self) -> (bool, bool) {
        let known = self.master.is_some();
        (known, known && self.silent && self.age() < INTERVAL)
    }

    fn age(&self) -> Duration {
        ServerTime::here().saturating_sub(self.asked)
    }
}

impl Sentinels {
    pub(in crate::store::redis) fn of(client: SentinelClient) -> Self {
        Self::new(Way::Client(Box::new(tokio::sync::Mutex::new(client))))
    }

    /// The Sentinels at these places, for the master of this name.
    pub(in crate::store::redis) fn at(
        sentinels: Vec<ConnectionInfo>,
        master: &str,
        template: ConnectionInfo,
    ) -> RedisResult<Self> {
        Ok(Self::new(Way::Quorum(Quorum::new(sentinels, master, template)?.into())))
    }

    fn new(way: Way) -> Self {
        Self { way, known: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// The master, to connect to it. Where no Sentinel answers, the one that was known has to do:
    /// running work must be able to store its outcome.
    pub(in crate::store::redis) async fn find_master(
        self: &Arc<Self>,
        within: Duration,
    ) -> RedisResult<Client> {
        let (known, silent) = self.known().state();
        let found = match silent {
            true => Err(silence()),
            // There must be time left to connect to the one that is known.
            false => self.ask(if known { within / 2 } else { within }).await,
        };
        let found = found.or_else(|error| match self.known().master.clone() {
            Some(master) if error.is_io_error() => Ok(master),
            _ => Err(error),
        });
        Client::open(found?)
    }

    /// Asks, and waits so long for the answer. One that comes later is not lost: a single Sentinel
    /// that is silent may cost a client of them a second each time.
    async fn ask(self: &Arc<Self>, within: Duration) -> RedisResult<ConnectionInfo> {
        let sentinels = Arc::clone(self);
        let asking = tokio::spawn(async move {
            let found = tokio::time::timeout(PATIENCE * 4, sentinels.look()).await;
            let found = found.unwrap_or_else(|_| Err(silence()));
            sentinels.known().note(&found);
            found
        });
        let found = match tokio::time::timeout(within, asking).await {
            Ok(found) => return found.unwrap_or_else(|_panicked| Err(no_provider())),
            Err(_) => Err(silence()),
        };
        self.known().note(&found);
        found
    }

    async fn look(&self) -> RedisResult<ConnectionInfo> {
        match &self.way {
            Way::Client(client) => {
                let found = client.lock().await.async_get_client().await?;
                Ok(tuned_info(found.get_connection_info().clone()))
            }
            Way::Quorum(quorum) => quorum.find_master().await,
        }
    }

    /// Whether another master was named the last time. Asks again in the background if that is some
    /// time ago.
    pub(in crate::store::redis) fn have_moved_from(
        self: &Arc<Self>,
        address: &ConnectionAddr,
    ) -> bool {
        let mut known = self.known();
        if known.age() > INTERVAL {
            known.asked = ServerTime::here();
            let sentinels = Arc::clone(self);
            tokio::spawn(async move { sentinels.ask(PATIENCE).await.map(drop) });
        }
        known.master.as_ref().is_some_and(|master| master.addr() != address)
    }

    /// Asks again if nobody has for so long that a fail-over may have gone unnoticed.
    pub(in crate::store::redis) async fn refresh(self: &Arc<Self>) {
        if !self.is_stale() {
            return;
        }
        // Whoever holds it may have stopped running, with its runtime.
        let asking = tokio::time::timeout(PATIENCE, self.asking.lock()).await;
        if asking.is_ok() && self.is_stale() {
            self.known().asked = ServerTime::here();
            // Where they do not answer, what is known has to do. Boxed, since every call of a store
            // would be as large otherwise.
            let _ = Box::pin(self.ask(PATIENCE)).await;
        }
    }

    pub(in crate::store::redis) fn is_stale(&self) -> bool {
        let known = self.known();
        known.master.is_some() && known.age() > STALE
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the master")?;
        let Way::Quorum(quorum) = &self.way else {
            return f.write_str(" that Sentinel names");
        };
        write!(f, " {quorum}")
    }
}
