//! A store whose calls fail when they are told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_idempotency::protocol::{Attempt, Claim, FenceToken, Outcome, Ran, Reply, Slot};
use tower_idempotency::store::{Effect, Error, ErrorKind, Operation, Seen, Store};

use super::any_store::AnyStore;

/// What happens to the calls of a verb.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The call is not made.
    Fails(ErrorKind),
    /// The call is not made, and nobody says so.
    Hangs,
    /// The call is made, and its reply is lost.
    LosesReply,
    /// The call is made, and its reply takes its time.
    Delays(Duration),
    /// The call is made, and others run before and after it.
    Yields,
    /// The call arrives after its deadline. Only `begin` can.
    Late,
    /// The next call is not made, and nobody knows; the test makes it later. Only `begin` can.
    Overtaken,
}

#[derive(Clone, Debug)]
pub struct FaultyStore {
    inner: AnyStore,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    faults: HashMap<Operation, Fault>,
    calls: HashMap<Operation, usize>,
    /// The longest time that a `begin` was given.
    longest: Duration,
    overtaken: Option<Attempt>,
}

impl FaultyStore {
    pub fn new(inner: &AnyStore) -> Self {
        Self { inner: inner.clone(), state: Arc::default() }
    }

    /// From now on, calls of this verb fail.
    pub fn fault(&self, verb: Operation, fault: Fault) {
        self.state.lock().unwrap().faults.insert(verb, fault);
    }

    /// From now on, all calls work.
    pub fn recover(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    /// How often a verb was called.
    pub fn calls(&self, verb: Operation) -> usize {
        self.state.lock().unwrap().calls.get(&verb).copied().unwrap_or_default()
    }

    /// The longest time that a `begin` was given.
    pub fn longest_begin(&self) -> Duration {
        self.state.lock().unwrap().longest
    }

    /// Makes the call that was overtaken.
    pub async fn make_overtaken(&self) -> Reply {
        let attempt = self.state.lock().unwrap().overtaken.take().expect("a call was overtaken");
        self.inner.begin(&attempt, Duration::from_secs(1)).await.expect("the store answers")
    }

    async fn pass<T>(
        &self,
        verb: Operation,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let call = Box::pin(call);
        let fault = {
            let mut state = self.state.lock().unwrap();
            *state.calls.entry(verb).or_default() += 1;
            state.faults.get(&verb).copied()
        };
        match fault {
            None | Some(Fault::Late | Fault::Overtaken) => call.await,
            Some(Fault::Fails(kind)) => Err(Error::new(kind, verb, Effect::None)),
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::Yields) => {
                tokio::task::yield_now().await;
                let reply = call.await;
                tokio::task::yield_now().await;
                reply
            }
            Some(Fault::Delays(time)) => {
                let reply = call.await;
                tokio::time::sleep(time).await;
                reply
            }
            Some(Fault::LosesReply) => {
                drop(call.await);
                Err(Error::new(ErrorKind::TimedOut, verb, Effect::Unknown))
            }
        }
    }
}

impl Store for FaultyStore {
    async fn begin(&self, attempt: &Attempt, within: Duration) -> Result<Reply, Error> {
        let fault = {
            let mut state = self.state.lock().unwrap();
            state.longest = state.longest.max(within);
            let fault = state.faults.get(&Operation::Begin).copied();
            if matches!(fault, Some(Fault::Overtaken)) {
                state.faults.remove(&Operation::Begin);
                state.overtaken = Some(attempt.clone());
            }
            fault
        };
        match fault {
            Some(Fault::Late) => {
                return self.pass(Operation::Begin, async { Ok(Reply::Late) }).await;
            }
            Some(Fault::Overtaken) => {
                return Err(Error::new(ErrorKind::Unreachable, Operation::Begin, Effect::Unknown));
            }
            _ => {}
        }
        self.pass(Operation::Begin, self.inner.begin(attempt, within)).await
    }
    async fn renew(&self, claim: &Claim, within: Duration) -> Result<Reply, Error> {
        self.pass(Operation::Renew, self.inner.renew(claim, within)).await
    }
    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        within: Duration,
    ) -> Result<Reply, Error> {
        self.pass(Operation::Complete, self.inner.complete(claim, outcome, within)).await
    }
    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        self.pass(Operation::Release, self.inner.release(attempt, ran, tombstone, within)).await
    }
    async fn look(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
        self.pass(Operation::Look, self.inner.look(slot, within)).await
    }
    async fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Result<Seen, Error> {
        self.pass(Operation::Watch, self.inner.watch(slot, fence, within)).await
    }
    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        let call = self.inner.resolve(slot, fence, outcome, retention, within);
        self.pass(Operation::Resolve, call).await
    }
}
