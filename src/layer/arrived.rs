use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body::Body;
use rand::RngExt as _;

use super::body::Whole;
use super::options::Scope;
use super::policy::Policy;
use super::receive::{Received, receive};
use super::route;
use super::shared::Shared;
use crate::engine::{Admission, Admitted, Asking, Supervising, Supervision, Ticket, Turn};
use crate::protocol::{Attempt, Fingerprint, Guarantee, IdempotencyKey, Nonce, Slot};

/// A keyed request on its way through the layer.
#[derive(Clone)]
pub(super) struct Arrived {
    pub(super) shared: Arc<Shared>,
    pub(super) policy: Arc<Policy>,
    pub(super) parts: Parts,
    pub(super) key: IdempotencyKey,
    pub(super) tenant: Arc<str>,
    /// The body, once it has been read.
    pub(super) content: Whole,
}

/// A keyed request, and who would handle it.
#[derive(Clone)]
pub(super) struct Ready<S> {
    pub(super) arrived: Arrived,
    pub(super) inner: S,
}

impl Arrived {
    /// Reads the body and asks the store, under supervision if that lets the handler run. Where
    /// somebody else runs it, and the policy says so, it waits for that. The error is the answer to
    /// a request that does not run.
    pub(super) async fn admit<'a, B>(
        &mut self,
        body: B,
        supervision: &'a Supervision,
    ) -> Result<(Admitted, Supervising<'a>), Response<Whole>>
    where
        B: Body<Data = Bytes>,
    {
        let secret = self.shared.secret.as_ref();
        let mut attempt = match receive(body, &self.parts, &self.policy, secret).await {
            Err(rejection) => return Err(self.shared.refuse(&rejection)),
            Ok(Received { content, fingerprint }) => {
                self.content = content;
                self.attempt(fingerprint)
            }
        };
        let mut place = self.policy.in_flight.max_wait().map(|max| {
            let Attempt { slot, fingerprint, lease, .. } = &attempt;
            Box::new(self.shared.engine.queue(*slot, fingerprint, *lease, max))
        });
        loop {
            let mut ticket = match &mut place {
                None => Ticket::none(),
                Some(place) => match Box::pin(place.turn()).await {
                    Turn::Ask(ticket) => ticket,
                    Turn::Answer(answer) => return Err(self.shared.answer(attempt.slot, answer)),
                },
            };
            let supervising = supervision.begin(self.shared.engine.work());
            match self.ask(&mut attempt, &mut ticket).await {
                Admission::Proceed(admitted) => return Ok((admitted, supervising)),
                Admission::Answer(answer) => return Err(self.shared.answer(attempt.slot, answer)),
                // The next time it is another attempt: a copy of this one may still be under way.
                Admission::Wait => attempt.nonce = random_nonce(),
            }
        }
    }

    fn attempt(&self, fingerprint: Fingerprint) -> Attempt {
        let policy = &self.policy;
        let named = policy.route.as_ref().map(|name| name(&self.parts));
        let route = named.as_deref().unwrap_or_else(|| {
            route::template(&self.parts.extensions).unwrap_or_else(|| {
                route::original_uri(&self.parts.extensions, &self.parts.uri).path()
            })
        });
        let slot = Slot::derive(
            self.shared.secret.as_ref(),
            &self.tenant,
            self.parts.method.as_str(),
            (policy.scope == Scope::Endpoint).then_some(route),
            &self.key,
        );
        Attempt {
            slot,
            fingerprint,
            nonce: random_nonce(),
            lease: policy.lease,
            retention: policy.retention,
            take_over: policy.take_over(),
            transactional: policy.guarantee == Guarantee::Transactional,
        }
    }

    /// Asks the store.
    async fn ask(&self, attempt: &mut Attempt, ticket: &mut Ticket) -> Admission {
        let Self { shared, policy, parts, key, tenant, content } = self;
        let compare = |scheme: &_| {
            policy.fingerprint.under(scheme, parts, content.data(), shared.secret.as_ref())
        };
        let recover =
            policy.recover.as_ref().map(|hook| hook.bound(&policy.stored_headers, &shared.marker));
        let mut asking = Asking {
            attempt,
            terms: policy.terms(),
            key,
            tenant,
            ticket,
            compare: &compare,
            recover: recover.as_deref(),
        };
        shared.engine.begin(&mut asking).await
    }
}

fn random_nonce() -> Nonce {
    // An array is drawn octet by octet, from four times as much of the generator's output.
    Nonce::from_bytes(rand::rng().random::<u128>().to_ne_bytes())
}
