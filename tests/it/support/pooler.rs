//! A real PgBouncer. It ends with the test process, however it ends.

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use super::launch::Launch;
use super::postgres::PostgresServer;
use super::postgres_programs::{give_away, unprivileged};
use super::supervisor::Supervised;

/// A pooler in transaction mode, in front of a server.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    /// Dropped before its directory is.
    _running: Supervised,
    _dir: tempfile::TempDir,
}

impl Pooler {
    /// With so many connections to the server, for however many clients.
    pub fn start(server: &PostgresServer, connections: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        give_away(dir.path());
        let port = Launch::default().free_port();
        let file = dir.path().join("pgbouncer.ini");
        // With `any` for its way of authentication all are one user, who is named for the database.
        let text = format!(
            "[databases]\npostgres = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = {connections}\n",
            server.port()
        );
        std::fs::write(&file, text).expect("its file is written");
        let mut command = unprivileged();
        command.extend([program().into(), file.into_os_string()]);
        let running = Supervised::start(command, None);
        for _ in 0..1000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Self { port, _running: running, _dir: dir };
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the pooler does not start");
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Debian has it where only root looks.
fn program() -> &'static Path {
    let debian = Path::new("/usr/sbin/pgbouncer");
    if debian.is_file() { debian } else { Path::new("pgbouncer") }
}
