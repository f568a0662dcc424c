use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::sentinel::SentinelClient;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, RedisResult,
};
use tokio::task::JoinSet;

use super::server_time::ServerTime;
use super::source::{invalid, no_provider};
use super::tune::tuned_info;

/// How often the Sentinels are asked while there are calls.
const INTERVAL: Duration = Duration::from_millis(750);

/// After this long without calls, what is known of the master is too old to send anything to it.
const STALE: Duration = Duration::from_millis(1500);

/// How long a Sentinel may take to answer; one of them may be as dead as the master.
const PATIENCE: Duration = Duration::from_millis(500);

/// Those who know which server is the master.
///
/// A master that is cut off from the others goes on answering, and does not know that it has a
/// successor. So the Sentinels are asked not only when a connection breaks but also while it works,
/// in the background and only when there are calls; the first call after a quiet time waits for what
/// they say. All connections of a store share what is found.
pub(super) struct Sentinels {
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

/// The Sentinels of one master. More than half of them are asked and the newest answer counts: one
/// that was cut off together with the old master still names that one.
struct Quorum {
    sentinels: Vec<Arc<Sentinel>>,
    master: Arc<str>,
    /// How to connect to the master, but for its address.
    template: ConnectionInfo,
}

struct Sentinel {
    client: Client,
    /// Taken out by whoever asks.
    idle: Mutex<Option<MultiplexedConnection>>,
}

/// What a Sentinel says, and how new that is.
struct Named {
    host: String,
    port: u16,
    epoch: u64,
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
    pub(super) fn of(client: SentinelClient) -> Self {
        Self::new(Way::Client(Box::new(tokio::sync::Mutex::new(client))))
    }

    /// The Sentinels at these places, for the master of this name.
    pub(super) fn at(
        sentinels: Vec<ConnectionInfo>,
        master: &str,
        template: ConnectionInfo,
    ) -> RedisResult<Self> {
        let open = |info| {
            let client = Client::open(tuned_info(info))?;
            Ok(Arc::new(Sentinel { client, idle: Mutex::default() }))
        };
        let sentinels = sentinels.into_iter().map(open).collect::<RedisResult<_>>()?;
        let template = tuned_info(template);
        Ok(Self::new(Way::Quorum(Box::new(Quorum { sentinels, master: master.into(), template }))))
    }

    fn new(way: Way) -> Self {
        Self { way, known: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// The master, to connect to it. Where no Sentinel answers, the one that was known has to do:
    /// running work must be able to store its outcome.
    pub(super) async fn find_master(self: &Arc<Self>, within: Duration) -> RedisResult<Client> {
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
    pub(super) fn have_moved_from(self: &Arc<Self>, address: &ConnectionAddr) -> bool {
        let mut known = self.known();
        if known.age() > INTERVAL {
            known.asked = ServerTime::here();
            let sentinels = Arc::clone(self);
            tokio::spawn(async move { sentinels.ask(PATIENCE).await.map(drop) });
        }
        known.master.as_ref().is_some_and(|master| master.addr() != address)
    }

    /// Asks again if nobody has for so long that a fail-over may have gone unnoticed.
    pub(super) async fn refresh(self: &Arc<Self>) {
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

    fn is_stale(&self) -> bool {
        let known = self.known();
        known.master.is_some() && known.age() > STALE
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Quorum {
    async fn find_master(&self) -> RedisResult<ConnectionInfo> {
        let mut asked = JoinSet::new();
        for sentinel in &self.sentinels {
            let (sentinel, master) = (Arc::clone(sentinel), Arc::clone(&self.master));
            asked.spawn(tokio::time::timeout(PATIENCE, async move { sentinel.ask(&master).await }));
        }
        let mut answers = Vec::new();
        let mut failure = silence();
        while let Some(asked) = asked.join_next().await {
            match asked {
                Ok(Ok(Ok(named))) => answers.push(named),
                Ok(Ok(Err(error))) => failure = error,
                Ok(Err(_late)) => {}
                Err(_panicked) => failure = no_provider(),
            }
            if answers.len() * 2 > self.sentinels.len() {
                break;
            }
        }
        let newest = answers.into_iter().max_by_key(|named| named.epoch).ok_or(failure)?;
        Ok(self.template.clone().set_addr(newest.at(self.template.addr())))
    }
}

impl Sentinel {
    async fn ask(&self, master: &str) -> RedisResult<Named> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let asked = match idle {
            Some(connection) => self.ask_on(connection, master).await,
            None => Err(invalid("not connected")),
        };
        match asked {
            // One that was idle may have been dead for long.
            Err(_) => self.ask_on(self.connect().await?, master).await,
            asked => asked,
        }
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let half = Some(PATIENCE / 2);
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(half).set_response_timeout(half);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn ask_on(
        &self,
        mut connection: MultiplexedConnection,
        master: &str,
    ) -> RedisResult<Named> {
        let mut question = redis::cmd("SENTINEL");
        question.arg("MASTER").arg(master);
        let fields: HashMap<String, String> = question.query_async(&mut connection).await?;
        let field = |name: &str| fields.get(name).map(String::as_str);
        let port = field("port").and_then(|port| port.parse().ok());
        let epoch = field("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
        let named =
            field("ip").zip(port).map(|(host, port)| Named { host: host.to_owned(), port, epoch });
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        named.ok_or_else(|| invalid("a Sentinel does not say where the master is"))
    }
}

impl Named {
    /// Its address, with TLS as there.
    fn at(self, template: &ConnectionAddr) -> ConnectionAddr {
        let Self { host, port, .. } = self;
        match template {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        }
    }
}

fn silence() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the master")?;
        let Way::Quorum(quorum) = &self.way else {
            return f.write_str(" that Sentinel names");
        };
        let Quorum { sentinels, master, .. } = &**quorum;
        let address =
            |sentinel: &Arc<Sentinel>| sentinel.client.get_connection_info().addr().to_string();
        let addresses: Vec<_> = sentinels.iter().map(address).collect();
        write!(f, " {master:?} of the Sentinels at {}", addresses.join(", "))
    }
}
