//! Programs that end with the test process, however it ends.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Starts a program, says its process id, and ends it when standard input ends: when the test says
/// so, or when the test process is gone. A signal from the terminal ends the test process alone. A
/// frozen program has to go on to be told anything but `KILL`.
const KILL: &str = r#"
trap '' HUP INT QUIT TERM
"$@" </dev/null >/dev/null 2>&1 &
echo $!
cat >/dev/null
kill -"$STOP" $! 2>/dev/null
pkill -CONT -P $! 2>/dev/null
kill -CONT $! 2>/dev/null
wait $! 2>/dev/null
if [ -n "$REMOVE" ]; then rm -rf "$REMOVE"; fi
"#;

/// A program that runs.
#[derive(Debug)]
pub struct Supervised {
    supervisor: Child,
    pid: Pid,
}

impl Supervised {
    /// Starts a program; when it ends, so does the folder `remove`.
    pub fn start(program: impl IntoIterator<Item: AsRef<OsStr>>, remove: Option<&Path>) -> Self {
        Self::start_to_be_stopped_by("KILL", program, remove)
    }

    /// The same where the program is to be told its end by this signal.
    pub fn start_to_be_stopped_by(
        signal: &str,
        program: impl IntoIterator<Item: AsRef<OsStr>>,
        remove: Option<&Path>,
    ) -> Self {
        let mut supervisor = Command::new("sh")
            .args(["-c", KILL, "sh"])
            .args(program)
            .env("REMOVE", remove.unwrap_or(Path::new("")))
            .env("STOP", signal)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut line = String::new();
        let stdout = supervisor.stdout.take().expect("its output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("the supervisor says the process id");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        Self { supervisor, pid }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the signal is sent");
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        self.supervisor.wait().expect("the supervisor ends");
    }
}

/// Ends a process if standard input ends before anything is said: then the test process is gone.
const LEASH: &str = "trap '' HUP INT QUIT TERM; read -r _ || kill -KILL \"$1\"";

/// Holds a child that its owner ends, for when the test process does not get to that.
#[derive(Debug)]
pub struct Leash(Child);

impl Leash {
    pub fn of(child: &Child) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", LEASH, "sh", &child.id().to_string()]);
        Self(command.stdin(Stdio::piped()).spawn().expect("sh starts"))
    }

    /// What happens when the test process is gone.
    pub fn is_dropped_by_a_crash(&mut self) {
        drop(self.0.stdin.take());
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.0.stdin.take() {
            let _ = stdin.write_all(b"ended\n");
        }
        let _ = self.0.wait();
    }
}
