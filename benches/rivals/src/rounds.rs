//! Everybody over loopback sockets, side by side, in rounds.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::EndToEnd;
use crate::check::{Refusal, check};
use crate::client::Question;
use crate::cpu::{self, Place};
use crate::load::{Keys, Load};
use crate::measure::{Measure, Plan};
use crate::servers::{Server, Store};
use crate::subject::{Library, Rivalry};

/// What a body is where its length is not of interest: 119 bytes of question, 194 of answer.
pub(crate) const SMALL: usize = 0;

/// So much is stored at most before it is replayed.
const STORED_BYTES: usize = 32 << 20;

/// Everything that was measured, and what was not.
pub(crate) struct Results {
    pub(crate) measures: Vec<Measure>,
    pub(crate) unmeasured: Vec<Unmeasured>,
    pub(crate) seed: u64,
}

/// What somebody could not do.
#[derive(PartialEq, Eq)]
pub(crate) struct Unmeasured {
    pub(crate) rivalry: Rivalry,
    pub(crate) bytes: usize,
    /// All of them, if there is none.
    pub(crate) keys: Option<Keys>,
    pub(crate) why: Refusal,
}

/// Measures everybody in each round, in another order each time, with new processes.
pub(crate) fn rounds(options: &EndToEnd, bodies: &[usize], connections: &[usize]) -> Results {
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let mut results = Results { measures: Vec::new(), unmeasured: Vec::new(), seed };
    let mut order: Vec<Rivalry> = Rivalry::ALL.into();
    order.retain(|rivalry| options.only.is_empty() || options.only.contains(rivalry));
    for round in 1..=options.rounds {
        order.shuffle(&mut random);
        for &rivalry in &order {
            for &bytes in bodies {
                let EndToEnd { seconds, workers, .. } = *options;
                let plan = Plan { round, rivalry, bytes, seconds, workers };
                results.of(plan, connections);
            }
        }
        eprintln!("round {round} of {}", options.rounds);
    }
    results
}

/// A question with a body of so many bytes.
pub(crate) fn question(bytes: usize) -> Question {
    match bytes {
        SMALL => Question::post("/payments", overhead::workload::QUESTION.as_bytes()),
        _ => Question::post("/mirror", &vec![b'x'; bytes]),
    }
}

/// Checks a server, and stores what will be replayed there.
pub(crate) async fn prepared(
    rivalry: Rivalry,
    server: &Server,
    bytes: usize,
) -> Result<Load, Refusal> {
    let question = question(bytes);
    check(rivalry.library, server.address, &question, 1).await?;
    let stored = (STORED_BYTES / bytes.max(1)).min(1000);
    let marks = rivalry.library != Library::Bare;
    Load::prepare(server.address, question, 2, stored as u64, marks).await
}

impl Results {
    /// Starts a server and measures it with all these numbers of connections.
    fn of(&mut self, plan: Plan, connections: &[usize]) {
        let Plan { rivalry, bytes, workers, .. } = plan;
        let store = Store::start(rivalry.store);
        let workers = workers.map(|count| format!("--workers={count}"));
        let server = Server::start(rivalry, store.as_ref(), workers.as_slice());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let work = async {
            let load = prepared(rivalry, &server, bytes).await?;
            for &connections in connections {
                for keys in Keys::BOTH {
                    match plan.measure((&server, store.as_ref()), &load, keys, connections).await {
                        Ok(measure) => self.measures.push(measure),
                        Err(why) => self.lack(Unmeasured { rivalry, bytes, keys: Some(keys), why }),
                    }
                }
            }
            Ok(())
        };
        let done = cpu::on(Place::Measuring, || runtime.expect("a runtime").block_on(work));
        if let Err(why) = done {
            self.lack(Unmeasured { rivalry, bytes, keys: None, why });
        }
    }

    fn lack(&mut self, unmeasured: Unmeasured) {
        eprintln!(
            "not measured: {} with {} bytes: {}",
            unmeasured.rivalry, unmeasured.bytes, unmeasured.why
        );
        if !self.unmeasured.contains(&unmeasured) {
            self.unmeasured.push(unmeasured);
        }
    }
}
