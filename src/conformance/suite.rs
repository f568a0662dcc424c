use std::any::Any;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

use super::{Case, Harness, cases};

/// A case that has not ended by then never will: its calls have 20 seconds each.
const LIMIT: Duration = Duration::from_secs(60);

/// Most cases wait: on a server's clock, or for its answers.
const THREADS_PER_CORE: usize = 8;

/// The contract as a program of tests: every [case](super::cases) on every store that it is given.
///
/// It takes the arguments of the tests of Rust: a part of a name, `--list`, `--exact`,
/// `--test-threads` and so on. A test is called by its store, its theme and its case:
/// `redis::begin::a_lapsed_lease_is_taken_over_at_least_once`. Without `--test-threads`, eight for
/// each core run at once.
///
/// ```no_run
/// use std::process::ExitCode;
/// use tower_idempotency::MemoryStore;
/// use tower_idempotency::conformance::Suite;
///
/// fn main() -> ExitCode {
///     Suite::new("small", async || MemoryStore::new().max_records(1000))
///         .and("large", async || MemoryStore::new())
///         .run()
/// }
/// ```
#[must_use = "a suite does nothing until it is run"]
pub struct Suite {
    subjects: Vec<(String, Arc<Prepare>)>,
}

/// Makes a harness on this runtime.
type Prepare = dyn Fn(&Runtime) -> Harness + Send + Sync;

impl Suite {
    /// All cases on the store of this name. `prepare` is called once for each case and gives a
    /// store, or a [`Harness`] where the store has a clock of its own.
    ///
    /// Cases run at the same time and may share one server: each has slots of its own, and none
    /// empties a store. A store that cannot be reached should panic here or answer with errors: its
    /// cases fail, none is left out.
    pub fn new<H: Into<Harness>>(
        name: impl Into<String>,
        prepare: impl AsyncFn() -> H + Send + Sync + 'static,
    ) -> Self {
        Self { subjects: Vec::new() }.and(name, prepare)
    }

    /// All cases on one more store.
    pub fn and<H: Into<Harness>>(
        mut self,
        name: impl Into<String>,
        prepare: impl AsyncFn() -> H + Send + Sync + 'static,
    ) -> Self {
        let prepare = move |runtime: &Runtime| runtime.block_on(prepare()).into();
        self.subjects.push((name.into(), Arc::new(prepare)));
        self
    }

    /// Runs what the arguments of the program ask for, and tells whether it passed.
    ///
    /// # Panics
    /// If the operating system gives no threads.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        arguments.test_threads.get_or_insert(THREADS_PER_CORE * cores);
        let runtime = Builder::new_multi_thread().enable_all().build().expect("threads");
        let runtime = Arc::new(runtime);
        let trials = self.subjects.iter().flat_map(|(name, prepare)| {
            cases().map(|case| trial(name, Arc::clone(prepare), case, Arc::clone(&runtime)))
        });
        libtest_mimic::run(&arguments, trials.collect()).exit_code()
    }
}

fn trial(name: &str, prepare: Arc<Prepare>, case: &'static Case, runtime: Arc<Runtime>) -> Trial {
    Trial::test(format!("{name}::{case}"), move || {
        let harness = prepare(&runtime);
        let case_runs =
            runtime.spawn(async move { tokio::time::timeout(LIMIT, case.run(&harness)).await });
        let wrong = match runtime.block_on(case_runs) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) => format!("a call hangs: the case has not ended after {LIMIT:?}"),
            Err(panic) => said(panic.into_panic()),
        };
        Err(Failed::from(format!("{}\n{wrong}", case.sentence())))
    })
}

/// What a panic says.
fn said(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast::<String>().map(|text| *text);
    text.or_else(|panic| panic.downcast::<&str>().map(|text| text.to_string()))
        .unwrap_or_else(|_| "it panicked".into())
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.subjects.iter().map(|(name, _)| name)).finish()
    }
}
