//! A store of one's own, and the proof that it keeps the contract: a file for each slot.
//!
//! ```text
//! cargo run --example custom_store --features conformance
//! ```

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tower_idempotency::clock::{Clock as _, SystemClock};
use tower_idempotency::conformance::Suite;
use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Operation, Outcome, Ran, Record, Reply, Slot, Timestamp, Verb,
    apply,
};
use tower_idempotency::store::{self, Effect, Error, ErrorKind, Operation as Called, Seen, Store};

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a folder");
    Suite::new("files", async move || FileStore(folder.path().into())).run()
}

/// Several processes of one machine may share the folder: the lock of a file is theirs too. What is
/// written survives the process, but nobody has seen to it that it survives the machine.
#[derive(Debug)]
struct FileStore(PathBuf);

impl FileStore {
    /// The whole contract: what was found becomes what `apply` says, and nobody comes between.
    fn run(&self, slot: Slot, verb: Verb<'_>, within: Duration) -> Result<Reply, Error> {
        let (deadline, called) = (now().after(within), called(&verb));
        let mut file = self.locked(slot).map_err(|error| failed(error, called))?;
        let found = read(&mut file, called)?;
        let (record, reply) = apply(found.clone(), &Operation { verb, deadline }, now());
        if record != found {
            write(&mut file, record.as_ref()).map_err(|error| failed(error, called))?;
        }
        Ok(reply)
    }

    /// The file of a slot, which is free again when it is closed.
    fn locked(&self, slot: Slot) -> io::Result<File> {
        let name: String = slot.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        let file = options.open(self.0.join(name))?;
        file.lock()?;
        Ok(file)
    }
}

/// When the record expires, and the record; an empty file is none.
fn read(file: &mut File, called: Called) -> Result<Option<Record>, Error> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| failed(error, called))?;
    let Some((expires, record)) = bytes.split_first_chunk() else { return Ok(None) };
    let expires = Timestamp::from_micros(u64::from_be_bytes(*expires));
    let record = Record::decode(record.to_vec().into(), expires);
    record.map(Some).map_err(|invalid| Error::unreadable(invalid, called))
}

fn write(file: &mut File, record: Option<&Record>) -> io::Result<()> {
    file.rewind()?;
    file.set_len(0)?;
    let Some(record) = record else { return Ok(()) };
    file.write_all(&[&record.expires.as_micros().to_be_bytes()[..], &record.encode()].concat())
}

fn now() -> Timestamp {
    Timestamp::from_micros(0).after(SystemClock.unix())
}

fn failed(error: io::Error, called: Called) -> Error {
    Error::new(ErrorKind::Unreachable, called, Effect::Unknown).with_source(error)
}

fn called(verb: &Verb<'_>) -> Called {
    match verb {
        Verb::Begin(_) => Called::Begin,
        Verb::Renew(_) => Called::Renew,
        Verb::Complete(..) => Called::Complete,
        Verb::Release { .. } => Called::Release,
        Verb::Resolve { .. } => Called::Resolve,
    }
}

impl Store for FileStore {
    async fn begin(&self, attempt: &Attempt, within: Duration) -> Result<Reply, Error> {
        self.run(attempt.slot, Verb::Begin(attempt), within)
    }
    async fn renew(&self, claim: &Claim, within: Duration) -> Result<Reply, Error> {
        self.run(claim.attempt().slot, Verb::Renew(claim), within)
    }
    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        within: Duration,
    ) -> Result<Reply, Error> {
        self.run(claim.attempt().slot, Verb::Complete(claim, outcome), within)
    }
    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        self.run(attempt.slot, Verb::Release { attempt, ran, tombstone }, within)
    }
    async fn look(&self, slot: Slot, _: Duration) -> Result<Seen, Error> {
        let mut file = self.locked(slot).map_err(|error| failed(error, Called::Look))?;
        let (record, now) = (read(&mut file, Called::Look)?, now());
        Ok(Seen { record: record.filter(|record| now < record.expires), now })
    }
    async fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Result<Seen, Error> {
        store::poll(self, slot, fence, within).await // nothing tells it of changes
    }
    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        self.run(slot, Verb::Resolve { fence, outcome, retention }, within)
    }
}
