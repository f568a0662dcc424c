use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, RedisResult,
};
use tokio::task::JoinSet;

use super::tune::tuned_info;
use crate::store::redis::error::{invalid, no_provider};

/// How long a Sentinel may take to answer; one of them may be as dead as the master.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// The Sentinels of one master. More than half of them are asked and the newest answer counts: one
/// that was cut off together with the old master still names that one.
pub(super) struct Quorum {
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

impl Quorum {
    pub(super) fn new(
        sentinels: Vec<ConnectionInfo>,
        master: &str,
        template: ConnectionInfo,
    ) -> RedisResult<Self> {
        let open = |info| {
            let client = Client::open(tuned_info(info))?;
            Ok(Arc::new(Sentinel { client, idle: Mutex::default() }))
        };
        let sentinels = sentinels.into_iter().map(open).collect::<RedisResult<_>>()?;
        Ok(Self { sentinels, master: master.into(), template: tuned_info(template) })
    }

    pub(super) async fn find_master(&self) -> RedisResult<ConnectionInfo> {
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

/// Nobody has answered in time.
pub(super) fn silence() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address =
            |sentinel: &Arc<Sentinel>| sentinel.client.get_connection_info().addr().to_string();
        let addresses: Vec<_> = self.sentinels.iter().map(address).collect();
        write!(f, "{:?} of the Sentinels at {}", self.master, addresses.join(", "))
    }
}
