//! A clock of a process that tests set, by libfaketime.

use std::ffi::OsString;
use std::path::PathBuf;

use tempfile::TempDir;

/// The wall clock of those processes that are started with its environment. How much time passes for
/// them stays as it is.
#[derive(Debug)]
pub struct FakeClock(TempDir);

impl FakeClock {
    /// A clock that is this many seconds ahead.
    pub fn ahead(seconds: i64) -> Self {
        let clock = Self(tempfile::tempdir().expect("a temporary directory"));
        clock.set(seconds);
        clock
    }

    /// Sets it to this many seconds ahead, at once.
    pub fn set(&self, seconds: i64) {
        // Those who read it find all of it, before and after.
        let next = self.0.path().join("next");
        std::fs::write(&next, format!("{seconds:+}\n")).expect("the clock is written");
        std::fs::rename(next, self.file()).expect("the clock is set");
    }

    /// What a process has to be started with.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", library().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("clock")
    }
}

/// Where distributions put it.
fn library() -> PathBuf {
    let debian = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let folders = [debian.as_str(), "/usr/lib64", "/usr/lib"];
    let files = folders.map(|folder| format!("{folder}/faketime/libfaketime.so.1")).into_iter();
    let found = files.map(PathBuf::from).find(|file| file.is_file());
    found.expect("libfaketime is missing: run scripts/setup, or install libfaketime")
}
