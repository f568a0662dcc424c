//! What another server would ask of the store for a request.

use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;
use tower_idempotency::protocol::{
    Attempt, Claim, Fields, Fingerprinter, IdempotencyKey, KeySyntax, Nonce, Outcome, Ran, Reply,
    RequestParts, Scheme, Slot, TakeOver,
};
use tower_idempotency::store::Store as _;

use super::any_store::AnyStore;
use super::http::Ask;

/// How long a call of a test may take.
const WITHIN: Duration = Duration::from_secs(5);

/// The slot of a keyed request under the defaults.
pub fn slot_of(ask: &Ask) -> Slot {
    let (_, value) = ask
        .lines
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"))
        .expect("a key");
    let key = IdempotencyKey::parse(value, &KeySyntax::either()).expect("a key");
    Slot::derive(None, "", &ask.method, Some(&ask.target), &key)
}

/// The attempt of a keyed request under the defaults, with a lease of its own.
pub fn attempt_of(ask: &Ask, lease: Duration) -> Attempt {
    let parts = RequestParts { method: &ask.method, path: &ask.target, ..RequestParts::default() };
    let mut fingerprinter = Fingerprinter::new(Scheme::raw(), None, &parts, []);
    fingerprinter.body(&ask.body);
    Attempt {
        slot: slot_of(ask),
        fingerprint: fingerprinter.finish(),
        nonce: Nonce::from_bytes(rand::rng().random()),
        lease,
        retention: Duration::from_secs(3600),
        take_over: TakeOver::Never,
        transactional: false,
    }
}

/// A response that another server stored.
pub fn response(status: u16, body: &'static str) -> Outcome {
    let headers = [("x-server", "another")].into_iter().collect();
    Outcome::Response {
        status,
        headers,
        body: Bytes::from_static(body.as_bytes()),
        trailers: Fields::none(),
    }
}

impl AnyStore {
    /// Another server claims the slot of a request, and may die with it.
    pub async fn claimed(&self, attempt: Attempt) -> Claim {
        match self.begin(&attempt, WITHIN).await.expect("the store answers") {
            Reply::Started(grant) | Reply::Reclaimed(grant) => attempt.claim(grant),
            other => panic!("{other:?}"),
        }
    }

    /// Another server finishes.
    pub async fn completed(&self, claim: &Claim, outcome: &Outcome) {
        let reply = self.complete(claim, outcome, WITHIN).await.expect("the store answers");
        assert_eq!(reply, Reply::Applied);
    }

    /// Takes the claim of a running request away.
    pub async fn freed(&self, ask: &Ask) {
        let record = self.seen(slot_of(ask)).await.record.expect("a record");
        let mut owner = attempt_of(ask, WITHIN);
        owner.nonce = record.nonce;
        let reply = self.release(&owner, Ran::Maybe, WITHIN, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
    }

    /// Takes the claim of a running request away and gives it to another server.
    pub async fn stolen(&self, ask: &Ask) -> Claim {
        self.freed(ask).await;
        self.claimed(attempt_of(ask, Duration::from_secs(30))).await
    }

    /// An operator gives an abandoned claim an outcome.
    pub async fn resolved(&self, ask: &Ask, outcome: &Outcome) {
        let slot = slot_of(ask);
        let fence = self.seen(slot).await.record.expect("a record").fence;
        let retention = Duration::from_secs(3600);
        let reply = self.resolve(slot, fence, outcome, retention, WITHIN).await;
        assert_eq!(reply.expect("the store answers"), Reply::Applied);
    }
}
