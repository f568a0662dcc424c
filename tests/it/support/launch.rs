//! Which server is started, where and how.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::RngExt;

/// Which program serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Redis,
    Valkey,
}

impl Kind {
    /// The program: in the path, or where scripts/setup puts it.
    fn program(self) -> PathBuf {
        let name = match self {
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
        };
        if Command::new(name).arg("--version").output().is_ok() {
            return name.into();
        }
        let test = std::env::current_exe().expect("a path");
        let mut folders = test.ancestors().map(|folder| folder.join("servers").join(name));
        let found = folders.find(|program| program.is_file());
        found.unwrap_or_else(|| panic!("{name} is missing: run scripts/setup, or install {name}"))
    }
}

/// Where a server listens.
#[derive(Clone, Debug)]
pub struct Place {
    pub host: Ipv4Addr,
    /// The network namespace that this address is in, if it is not the one of the tests.
    pub namespace: Option<String>,
}

impl Default for Place {
    fn default() -> Self {
        Self { host: Ipv4Addr::LOCALHOST, namespace: None }
    }
}

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    pub kind: Kind,
    pub place: Place,
    /// Options such as `--appendonly yes`, word by word.
    pub options: Vec<String>,
    /// The file that it starts with; the server may rewrite it.
    pub file: String,
    /// A folder with `server.pem` and `server.key`: it also serves TLS, on the port of `tls_port`.
    pub tls: Option<PathBuf>,
    /// Nobody drops what is shared, so its supervisor removes the directory.
    pub shared: bool,
    /// What it finds in its environment.
    pub environment: Vec<(&'static str, OsString)>,
}

impl Launch {
    pub fn new(options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Self { options, ..Self::default() }
    }

    /// The command that starts it on this port and directory.
    pub fn command(&self, port: u16, dir: &Path) -> Vec<OsString> {
        let mut command: Vec<OsString> = Vec::new();
        if let Some(namespace) = &self.place.namespace {
            command.extend(["ip", "netns", "exec", namespace].map(OsString::from));
        }
        if !self.environment.is_empty() {
            command.push("env".into());
            command.extend(self.environment.iter().map(|(name, value)| {
                let mut both = OsString::from(format!("{name}="));
                both.push(value);
                both
            }));
        }
        let host = self.place.host.to_string();
        command.push(self.kind.program().into());
        command.push(self.file_in(dir).into());
        command.extend(["--port", &port.to_string(), "--bind", &host].map(OsString::from));
        // In a namespace, the test is a stranger.
        command.extend(["--protected-mode", "no", "--save", "", "--dir"].map(OsString::from));
        command.push(dir.into());
        if let Some(folder) = &self.tls {
            command.extend(["--tls-port", &tls_port(port).to_string()].map(OsString::from));
            command.extend(["--tls-auth-clients", "no", "--tls-cert-file"].map(OsString::from));
            command.extend([folder.join("server.pem").into(), "--tls-key-file".into()]);
            command.push(folder.join("server.key").into());
        }
        command.extend(self.options.iter().map(OsString::from));
        command
    }

    /// Where its file lies.
    pub fn file_in(&self, dir: &Path) -> PathBuf {
        dir.join("server.conf")
    }

    /// A port that is free now and that no outgoing connection is given meanwhile, and so is the
    /// one 10000 above it, for TLS or for what the servers of a cluster tell each other.
    pub fn free_port(&self) -> u16 {
        loop {
            let port = rand::rng().random_range(10_000..20_000);
            // Nobody else is in a namespace of ours.
            let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if self.place.namespace.is_some() || free(port) && free(port + 10_000) {
                return port;
            }
        }
    }
}

/// The port for TLS of the server at this port.
pub fn tls_port(port: u16) -> u16 {
    port + 10_000
}
