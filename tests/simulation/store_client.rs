//! The store as a server sees it: calls over a network that loses, delays and repeats them.

use std::fmt;
use std::time::Duration;

use tokio::sync::oneshot;
use tower_idempotency::protocol::{
    Attempt, Claim, FenceToken, Found, Outcome, Ran, Reply, Slot, Timestamp,
};
use tower_idempotency::store::{Effect, Error, ErrorKind, Operation, Seen, Store};

use super::event::Event;
use super::faults::Path;
use super::plan::{LEASE, ms};
use super::site::Site;
use super::store_server::{Call, Message, Result as Sent, Told, Watcher};
use super::world::{Shared, lock};

#[derive(Clone)]
pub struct SimStore {
    pub world: Shared,
    pub site: Site,
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

impl SimStore {
    async fn call(
        &self,
        verb: Operation,
        message: Message,
        within: Duration,
    ) -> Result<Told, Error> {
        let error = |kind, effect| Error::new(kind, verb, effect);
        let claims = matches!(message, Message::Begin(_));
        let Some((reply, twice)) = self.send(message, within) else {
            return Err(error(ErrorKind::Unreachable, Effect::None));
        };
        match tokio::time::timeout(within, reply).await {
            // A second copy can still claim the slot, once it is free.
            Ok(Ok(Ok(Told::Reply(Reply::Found(found)))))
                if claims && twice && !matches!(found, Found::Completed { .. }) =>
            {
                Err(error(ErrorKind::Unreachable, Effect::Unknown))
            }
            Ok(Ok(Ok(told))) => Ok(told),
            Ok(Ok(Err((kind, _)))) if twice => Err(error(kind, Effect::Unknown)),
            Ok(Ok(Err((kind, effect)))) => Err(error(kind, effect)),
            Ok(Err(_)) | Err(_) => Err(error(ErrorKind::TimedOut, Effect::Unknown)),
        }
    }

    /// Sends a call on its way, and tells whether twice; `None` if it is known that it was not sent.
    fn send(&self, message: Message, within: Duration) -> Option<(oneshot::Receiver<Sent>, bool)> {
        let mut world = lock(&self.world);
        let now = self.site.now();
        let Site { server, incarnation, .. } = self.site;
        if let Message::Begin(attempt) = &message {
            world.made(attempt, server, incarnation);
        }
        if world.network.is_cut(server, Path::ToStore) && world.rng.chance(300) {
            return None;
        }
        let fate = world.fate_at(now, (server, Path::ToStore));
        // The outcome of a claim is true however late it is stored.
        let timeless = matches!(message, Message::Complete(..)) && !world.plan.complete_deadline;
        let deadline =
            if timeless { Timestamp::NEVER } else { world.store.clock.at(now).after(within) };
        let (sender, reply) = oneshot::channel();
        let call = Call { server, message, deadline, reply: Some(sender) };
        world.store.calls.push(call);
        let call = world.store.calls.len() - 1;
        match fate {
            None => world.count("lost requests to the store"),
            Some(fate) => {
                world.push(now + fate.delay, Event::Call { call });
                if let Some(again) = fate.again {
                    world.push(now + again, Event::Call { call });
                }
            }
        }
        self.site.sent.notify_one();
        Some((reply, fate.is_some_and(|fate| fate.again.is_some())))
    }

    async fn verb(&self, verb: Operation, call: Message, within: Duration) -> Result<Reply, Error> {
        match self.call(verb, call, within).await? {
            Told::Reply(reply) => Ok(reply),
            Told::Seen(_) => unreachable!("a verb is answered with a reply"),
        }
    }
}

impl Store for SimStore {
    async fn begin(&self, attempt: &Attempt, within: Duration) -> Result<Reply, Error> {
        self.verb(Operation::Begin, Message::Begin(attempt.clone()), within).await
    }

    async fn renew(&self, claim: &Claim, within: Duration) -> Result<Reply, Error> {
        let message = Message::Renew(claim.attempt().clone(), claim.grant());
        self.verb(Operation::Renew, message, within).await
    }

    async fn complete(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        within: Duration,
    ) -> Result<Reply, Error> {
        let message = Message::Complete(claim.attempt().clone(), claim.grant(), outcome.clone());
        self.verb(Operation::Complete, message, within).await
    }

    async fn release(
        &self,
        attempt: &Attempt,
        ran: Ran,
        tombstone: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        let message = Message::Release { attempt: attempt.clone(), ran, tombstone };
        self.verb(Operation::Release, message, within).await
    }

    async fn look(&self, slot: Slot, within: Duration) -> Result<Seen, Error> {
        match self.call(Operation::Look, Message::Look(slot), within).await? {
            Told::Seen(seen) => Ok(seen),
            Told::Reply(_) => unreachable!("a look is answered with what was seen"),
        }
    }

    /// Told of changes, as far as the network lets it; and looks now and then.
    async fn watch(&self, slot: Slot, fence: FenceToken, within: Duration) -> Result<Seen, Error> {
        let mut left = within;
        loop {
            let (sender, changed) = oneshot::channel();
            let nap = {
                let mut world = lock(&self.world);
                let server = self.site.server;
                world.store.watch(Watcher { server, slot, changed: Some(sender) });
                ms(world.rng.between(20, LEASE))
            };
            let seen = self.look(slot, ms(super::plan::STORE_TIMEOUT).min(within)).await;
            let lease = match &seen {
                Ok(seen) => seen.running(fence),
                Err(error) => error.is_transient().then_some(Duration::MAX),
            };
            let Some(lease) = lease.filter(|_| !left.is_zero()) else { return seen };
            let nap = nap.min(lease).min(left);
            let _ = tokio::time::timeout(nap, changed).await;
            left -= nap;
        }
    }

    async fn resolve(
        &self,
        slot: Slot,
        fence: FenceToken,
        outcome: &Outcome,
        retention: Duration,
        within: Duration,
    ) -> Result<Reply, Error> {
        let outcome = outcome.clone();
        let message = Message::Resolve { slot, fence, outcome, retention };
        self.verb(Operation::Resolve, message, within).await
    }
}
