use std::env;
use std::ops::Sub;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::profile::Profile;
use crate::workload::Workload;

/// What one request costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Without those of the hash.
    pub instructions: f64,
    /// Of SHA-256 in software: valgrind hides that the processor has instructions for it.
    pub hash: f64,
    pub allocations: f64,
}

impl Cost {
    /// Runs this program under callgrind, twice for each subject at once, as
    /// `<program> run <subject> <workload> <requests>`.
    ///
    /// # Panics
    ///
    /// If a run fails.
    #[must_use]
    pub fn of<const N: usize>(subjects: [&str; N], workload: Workload) -> [Self; N] {
        let (few, many) = workload.counts();
        let runs = subjects
            .map(|subject| [few, many].map(|requests| Run::start(subject, workload, requests)));
        runs.map(|runs| {
            let [few_profile, many_profile] = runs.map(Run::profile);
            let slope = |count: fn(&Profile) -> u64| {
                (count(&many_profile) as f64 - count(&few_profile) as f64) / f64::from(many - few)
            };
            Self {
                instructions: slope(|profile| profile.instructions - profile.hash),
                hash: slope(|profile| profile.hash),
                allocations: slope(|profile| profile.allocations),
            }
        })
    }
}

impl Sub for Cost {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            instructions: self.instructions - other.instructions,
            hash: self.hash - other.hash,
            allocations: self.allocations - other.allocations,
        }
    }
}

/// A process under callgrind.
struct Run {
    process: Child,
    file: PathBuf,
}

impl Run {
    fn start(subject: &str, workload: Workload, requests: u32) -> Self {
        let workload = workload.name();
        let name = format!("overhead-{}-{subject}-{workload}-{requests}.out", std::process::id());
        let file = env::temp_dir().join(name);
        let process = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(env::current_exe().expect("a program has a path"))
            .args(["run", subject, workload, &requests.to_string()])
            .stdin(Stdio::null())
            .spawn()
            .expect("valgrind starts; `scripts/setup` installs it");
        Self { process, file }
    }

    fn profile(mut self) -> Profile {
        let status = self.process.wait().expect("a child can be waited for");
        assert!(status.success(), "a run under callgrind ended with {status}");
        let text = std::fs::read_to_string(&self.file).expect("callgrind has written its profile");
        // A file that stays is only litter.
        let _ = std::fs::remove_file(&self.file);
        Profile::parse(&text)
    }
}
