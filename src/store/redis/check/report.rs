use std::fmt;

use super::concern::Concern;

/// What [`RedisStore::verify`](crate::store::redis::RedisStore::verify) has found. `Display` is a line for each
/// server and one for each concern, for an operator to read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The server, or each master of a Cluster.
    pub servers: Vec<Server>,
    /// [`Concern::Emptied`], if that was noticed.
    pub emptied: Option<Concern>,
}

/// What one server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server {
    /// Where it is.
    pub address: String,
    /// Which of the two it is, and its version.
    pub software: Software,
    /// Whether it takes writes.
    pub role: Role,
    /// How many replicas are connected to it.
    pub replicas: u32,
    /// How many of them have all of its data and receive every write.
    pub online: u32,
    /// Its append-only file, if it keeps one.
    pub append_only_file: Option<AppendOnlyFile>,
    /// Its `maxmemory-policy`.
    pub eviction_policy: String,
    /// Its view of the Cluster, if it is in one.
    pub cluster: Option<ClusterView>,
    /// What about it loses records or keeps the store from working.
    pub concerns: Vec<Concern>,
}

/// A program that serves, and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub enum Software {
    Redis(String),
    Valkey(String),
}

/// Whether a server takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Role {
    Master,
    Replica,
}

/// The append-only file of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppendOnlyFile {
    /// `appendfsync`, if the store may ask for it: that needs the right to call `CONFIG GET`.
    pub fsync: Option<String>,
    /// Whether the last write to it succeeded.
    pub last_write_ok: bool,
}

/// How a node sees its Cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterView {
    /// Whether it serves; `None` if the store may not ask, which needs `CLUSTER INFO`.
    pub is_up: Option<bool>,
    /// How many of the 16384 slots are served.
    pub slots: Option<u16>,
}

impl Report {
    /// What loses records or keeps the store from working, for all servers.
    pub fn concerns(&self) -> impl Iterator<Item = &Concern> {
        self.servers.iter().flat_map(|server| &server.concerns).chain(&self.emptied)
    }
}

impl Software {
    /// The version that it reports.
    #[must_use]
    pub fn version(&self) -> &str {
        match self {
            Self::Redis(version) | Self::Valkey(version) => version,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.servers.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{server}")?;
        }
        if let Some(concern) = &self.emptied {
            write!(f, "\nwarning: {concern}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, role) = match (&self.software, self.role) {
            (Software::Redis(_), Role::Master) => ("Redis", "master"),
            (Software::Redis(_), Role::Replica) => ("Redis", "replica"),
            (Software::Valkey(_), Role::Master) => ("Valkey", "master"),
            (Software::Valkey(_), Role::Replica) => ("Valkey", "replica"),
        };
        let (version, online, replicas) = (self.software.version(), self.online, self.replicas);
        write!(f, "{}: {name} {version}, {role}, ", self.address)?;
        write!(f, "{online} of {replicas} replicas online, append-only file ")?;
        match &self.append_only_file {
            None => f.write_str("off")?,
            Some(AppendOnlyFile { fsync, last_write_ok }) => {
                let fsync = fsync.as_deref().unwrap_or("unknown");
                let write = if *last_write_ok { "ok" } else { "failed" };
                write!(f, "on (appendfsync {fsync}, last write {write})")?;
            }
        }
        write!(f, ", maxmemory-policy {}", self.eviction_policy)?;
        if let Some(ClusterView { is_up, slots }) = self.cluster {
            let state = is_up.map_or("unknown", |is_up| if is_up { "up" } else { "down" });
            let slots = slots.map_or_else(|| "unknown".to_owned(), |slots| slots.to_string());
            write!(f, ", Cluster {state} ({slots} of 16384 slots)")?;
        }
        self.concerns
            .iter()
            .try_for_each(|concern| write!(f, "\n{}: warning: {concern}", self.address))
    }
}
