//! What the judge reads: an append-only ledger of what ran, what hooks said, and what clients saw.

use bytes::Bytes;
use tower_idempotency::{Guarantee, Rejection};

/// How a handler ended, by its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A response that is kept.
    Done(u16),
    /// A response that says that nothing was executed.
    NotExecuted(u16),
    /// A response that says nothing.
    Ambiguous(u16),
    /// A response that cannot be kept.
    Unkeepable(u16),
    Panicked,
    Failed,
    /// A response whose body breaks off.
    Broken,
    /// Ended by the layer, at `max_run`.
    Stopped,
}

impl Ending {
    /// Whether the key is free afterwards.
    pub fn frees(self, guarantee: Guarantee) -> bool {
        match self {
            Self::NotExecuted(_) => true,
            Self::Done(_) | Self::Unkeepable(_) => false,
            _ => guarantee == Guarantee::AtLeastOnce,
        }
    }
}

/// One run of a handler.
#[derive(Clone, Debug)]
pub struct Run {
    pub key: usize,
    pub variant: u8,
    pub request: usize,
    /// The number of the attempt, as the handler was told.
    pub attempt: u32,
    pub fence: u64,
    pub start: u64,
    pub effects: Vec<u64>,
    /// The last time at which it was told that its claim was live.
    pub live_at: Option<u64>,
    /// `None` while it runs, and for good if its server crashed.
    pub end: Option<(u64, Ending)>,
}

/// What a hook answered about an abandoned claim.
#[derive(Clone, Debug)]
pub struct Asked {
    pub key: usize,
    pub fence: u64,
    pub at: u64,
    /// Whether it said that the operation may run again.
    pub rerun: bool,
}

/// What came back to a client.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    pub replayed: bool,
    pub unstored: bool,
    pub rejection: Option<Rejection>,
    /// When the server sent it.
    pub sent: u64,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub client: usize,
    pub key: usize,
    pub variant: u8,
    pub server: usize,
    pub sent: u64,
    pub arrived: Option<u64>,
    pub answer: Option<(u64, Answer)>,
    pub gave_up: Option<u64>,
}

/// A claim was told to be live, and the store says otherwise.
#[derive(Clone, Debug)]
pub struct Lie {
    pub key: usize,
    pub run: usize,
    pub at: u64,
}

#[derive(Debug, Default)]
pub struct History {
    pub runs: Vec<Run>,
    pub asked: Vec<Asked>,
    pub requests: Vec<Request>,
    pub lies: Vec<Lie>,
    /// When a claim was taken back under which nothing had run, and of which key.
    pub taken_back: Vec<(usize, u64)>,
}
