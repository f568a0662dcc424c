//! Clients: they send, lose patience, and send again until they have an answer for good.

use super::event::Event;
use super::faults::Path;
use super::history::Answer;
use super::plan::{ANSWERED, FAULTS_END};
use super::world::World;
use crate::meaning::{Meaning, meaning};

#[derive(Clone, Debug)]
pub struct Client {
    pub key: usize,
    pub variant: u8,
    /// How often it still asks although it has been answered.
    pub visits: u32,
    pub done: bool,
    pub probe: bool,
}

impl Client {
    pub const fn new(key: usize, variant: u8) -> Self {
        Self { key, variant, visits: 2, done: false, probe: false }
    }

    pub const fn probe(key: usize) -> Self {
        Self { key, variant: 0, visits: 0, done: false, probe: true }
    }
}

impl World {
    /// A client sends its request to one of the servers.
    pub fn client_sends(&mut self, client: usize) {
        // What is asked for so late would still be under way at the end.
        if self.now >= ANSWERED {
            return;
        }
        let server = self.rng.index(self.plan.servers);
        let request = self.request(client, server);
        self.count("requests");
        let patience = if self.clients[client].probe || self.is_calm() {
            3_000
        } else if self.rng.chance(150) {
            self.rng.between(2, 90)
        } else {
            self.rng.between(100, 1_200)
        };
        self.push(self.now + patience, Event::GiveUp { request });
        self.deliver(request, server);
    }

    fn deliver(&mut self, request: usize, server: usize) {
        let key = self.history.requests[request].key;
        let variant = self.history.requests[request].variant;
        self.note(Some(key), format!("request {request} (body {variant}) to server {server}"));
        match self.fate((server, Path::ToServer)) {
            None => self.count("lost requests of clients"),
            // A connection delivers a request once or not at all.
            Some(fate) => self.push(self.now + fate.delay, Event::Request { request }),
        }
    }

    pub fn client_gives_up(&mut self, request: usize) {
        let log = &mut self.history.requests[request];
        if log.answer.is_some() || log.gave_up.is_some() {
            return;
        }
        log.gave_up = Some(self.now);
        let (client, server, key) = (log.client, log.server, log.key);
        self.count("clients that went away");
        self.note(Some(key), format!("the client of request {request} has gone"));
        if let Some(fate) = self.fate((server, Path::ToServer)) {
            self.push(self.now + fate.delay, Event::Hangup { request });
        }
        self.again(client);
    }

    /// An answer, or the end of the connection, arrives.
    pub fn client_hears(&mut self, request: usize, answer: Option<Answer>) {
        let log = &mut self.history.requests[request];
        if log.answer.is_some() || log.gave_up.is_some() {
            return;
        }
        let (client, key) = (log.client, log.key);
        let Some(answer) = answer else {
            log.gave_up = Some(self.now);
            self.count("connections refused");
            self.note(Some(key), format!("the connection of request {request} broke"));
            return self.again(client);
        };
        log.answer = Some((self.now, answer.clone()));
        let meaning = meaning(&self.history, &self.plan, request, &answer);
        self.note(Some(key), format!("request {request} is answered: {meaning:?}"));
        self.notice_answer(request, &answer, &meaning);
        match meaning {
            Meaning::Final(_) | Meaning::Unstored(_) | Meaning::Unknown | Meaning::Reused => {
                self.clients[client].done = true;
                let visits = &mut self.clients[client].visits;
                if *visits > 0 && self.now < FAULTS_END {
                    *visits -= 1;
                    let pause = self.rng.between(5, 700);
                    self.push(self.now + pause, Event::Send { client });
                }
            }
            Meaning::Freed | Meaning::Temporary(_) | Meaning::Wrong(_) => self.again(client),
        }
    }

    fn again(&mut self, client: usize) {
        // One that only looks in again does not insist.
        if self.clients[client].done && self.rng.chance(500) {
            return;
        }
        let pause = self.rng.between(5, 150);
        self.push(self.now + pause, Event::Send { client });
    }

    fn notice_answer(&mut self, request: usize, answer: &Answer, meaning: &Meaning) {
        if answer.unstored {
            self.count("answers unstored");
        }
        if answer.replayed {
            self.count("replays");
        }
        if let Some(rejection) = &answer.rejection {
            self.count(match rejection.code() {
                "in-progress" => "in-progress answers",
                "outcome-unknown" => "outcome-unknown answers",
                "key-reused" => "key-reused answers",
                "result-unavailable" => "result-unavailable answers",
                "store-unavailable" => "store-unavailable answers",
                "too-many-waiters" => "too-many-waiters answers",
                "too-many-in-flight" => "too-many-in-flight answers",
                "handler-failed" => "handler-failed answers",
                _ => "other rejections",
            });
        }
        if !matches!(meaning, Meaning::Final(_)) {
            return;
        }
        let log = &self.history.requests[request];
        let own = self.history.runs.iter().find(|run| run.request == request);
        let parked = own.is_some() && (answer.replayed || meaning.is_refused(answer));
        // The run that it was answered from ended after the request had arrived at the server.
        let ended = |run: &&super::history::Run| {
            run.key == log.key
                && run.request != request
                && run.end.is_some_and(|(at, _)| log.arrived.is_some_and(|arrived| at > arrived))
        };
        let waits = self.plan.keys[log.key].route.wait.is_some();
        let waited = waits && answer.replayed && self.history.runs.iter().any(|run| ended(&run));
        if parked {
            self.count("parked workers");
        } else if waited {
            self.count("answers given by waiting");
        }
    }
}
