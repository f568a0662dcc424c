//! What can happen next, in the order of virtual time; what happens at one time, in a random order.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::faults::Fault;
use super::history::Answer;
use super::store_server::Result;

#[derive(Debug)]
pub enum Event {
    /// A client sends, for the first time or again.
    Send {
        client: usize,
    },
    /// A client's patience with a request ends.
    GiveUp {
        request: usize,
    },
    /// A request arrives at its server.
    Request {
        request: usize,
    },
    /// A server learns that the client has gone.
    Hangup {
        request: usize,
    },
    /// A client gets its answer; none, if the connection broke.
    Answer {
        request: usize,
        answer: Option<Answer>,
    },
    /// A call arrives at the store.
    Call {
        call: usize,
    },
    /// The reply to a call arrives at its server.
    Reply {
        call: usize,
        result: Result,
    },
    /// A server is told that a slot has changed.
    Notify {
        watcher: usize,
    },
    Fault(Fault),
    /// The places for handlers are counted.
    Crowd {
        server: usize,
    },
    /// The places of those who wait are counted.
    Waiters {
        server: usize,
    },
    /// Every key is asked for, after the faults.
    Probe {
        key: usize,
    },
    End,
}

struct Entry {
    at: u64,
    tie: u64,
    number: u64,
    event: Event,
}

/// The events to come.
#[derive(Default)]
pub struct Queue {
    heap: BinaryHeap<Entry>,
    number: u64,
}

impl Queue {
    pub fn push(&mut self, at: u64, tie: u64, event: Event) {
        self.number += 1;
        self.heap.push(Entry { at, tie, number: self.number, event });
    }

    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at)
    }

    pub fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}

impl Entry {
    const fn order(&self) -> (u64, u64, u64) {
        (self.at, self.tie, self.number)
    }
}

impl Ord for Entry {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.order().cmp(&self.order())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Entry {}
