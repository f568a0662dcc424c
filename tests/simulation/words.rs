//! Calls and replies of the store, in the words of a trace.

use tower_idempotency::protocol::{Attempt, Found, Reply};

use super::store_server::Message;
use super::world::World;

impl World {
    /// A call in words. Nonces are random, so they are named by the order of their appearance.
    pub fn describe(&self, message: &Message) -> String {
        let name =
            |attempt: &Attempt| self.attempts.get(attempt.nonce.as_bytes()).map(|it| it.name);
        match message {
            Message::Begin(attempt) => format!("begin by {:?}", name(attempt)),
            Message::Renew(attempt, _) => format!("renew by {:?}", name(attempt)),
            Message::Complete(attempt, ..) => format!("complete by {:?}", name(attempt)),
            Message::Release { attempt, ran, .. } => {
                format!("release by {:?}, ran: {ran:?}", name(attempt))
            }
            Message::Look(_) => "look".into(),
            Message::Resolve { fence, .. } => format!("resolve {fence}"),
        }
    }
}

pub fn words(reply: &Reply) -> String {
    match reply {
        Reply::Found(Found::Completed { .. }) => "Found(Completed)".into(),
        Reply::Fenced(Found::Completed { .. }) => "Fenced(Completed)".into(),
        reply => format!("{reply:?}"),
    }
}
