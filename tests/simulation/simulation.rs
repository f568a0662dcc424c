//! The scheduler: one seed, one order of events, one virtual time.

use std::sync::{Arc, Mutex};

use super::client::Client;
use super::event::Event;
use super::faults::Fault;
use super::history::Answer;
use super::plan::{END, HEALED, LEASE, Plan};
use super::server::Server;
use super::world::{Shared, World, lock};

/// How far the processes run at once, in milliseconds.
const STRIDE: u64 = 20;

pub struct Simulation {
    world: Shared,
    servers: Vec<Option<Server>>,
}

/// What is left when all has ended.
#[derive(Clone, Debug)]
pub struct Leftover {
    pub work: usize,
    pub tasks: usize,
}

impl Simulation {
    /// Runs a plan to its end.
    pub fn run(plan: Plan) -> (World, Vec<Leftover>) {
        let count = plan.servers;
        let world = Arc::new(Mutex::new(World::new(plan)));
        let mut simulation = Self { world, servers: (0..count).map(|_| None).collect() };
        for server in 0..count {
            simulation.start(server);
        }
        while simulation.step() {}
        let leftovers = simulation.drain();
        let Self { world, servers } = simulation;
        drop(servers);
        let world = Arc::into_inner(world).expect("all processes have ended");
        (world.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner), leftovers)
    }

    fn start(&mut self, server: usize) {
        self.servers[server] = Some(Server::start(&self.world, server));
    }

    /// Lets every process run to the time of the next event, then makes that happen. What they send
    /// meanwhile can be due before; then that is the next event. A process that had nothing to do is
    /// ahead of it by then: by no more than the stride, since what is for that process waits so long.
    fn step(&mut self) -> bool {
        let (until, first) = {
            let mut world = lock(&self.world);
            let Some(next) = world.next_at() else { return false };
            (next.min(world.now + STRIDE), world.rng.index(self.servers.len()))
        };
        let count = self.servers.len();
        for server in (0..count).map(|offset| (first + offset) % count) {
            if let Some(server) = &mut self.servers[server] {
                server.advance(until);
            }
        }
        let event = lock(&self.world).pop_until(until);
        event.is_none_or(|event| self.happen(event))
    }

    fn happen(&mut self, event: Event) -> bool {
        match event {
            Event::Send { client } => lock(&self.world).client_sends(client),
            Event::GiveUp { request } => lock(&self.world).client_gives_up(request),
            Event::Request { request } => self.receive(request),
            Event::Hangup { request } => {
                let server = lock(&self.world).history.requests[request].server;
                if let Some(server) = &mut self.servers[server] {
                    server.hang_up(request);
                }
            }
            Event::Answer { request, answer } => self.hear(request, answer),
            Event::Call { call } => lock(&self.world).arrived_at_store(call),
            Event::Reply { call, result } => {
                let call = lock(&self.world).store.calls[call].reply.take();
                if let Some(reply) = call {
                    let _ = reply.send(result);
                }
            }
            Event::Notify { watcher } => {
                let watcher = lock(&self.world).store.watchers[watcher].changed.take();
                if let Some(changed) = watcher {
                    let _ = changed.send(());
                }
            }
            Event::Fault(fault) => self.fault(fault),
            Event::Probe { key } => {
                let mut world = lock(&self.world);
                world.clients.push(Client::probe(key));
                let client = world.clients.len() - 1;
                world.client_sends(client);
            }
            Event::Crowd { server } => lock(&self.world).crowd(server),
            Event::Waiters { server } => lock(&self.world).copies(server),
            Event::End => return false,
        }
        true
    }

    fn receive(&mut self, request: usize) {
        let server = lock(&self.world).history.requests[request].server;
        match &mut self.servers[server] {
            Some(server) => server.receive(request),
            None => {
                let mut world = lock(&self.world);
                let at = world.now + 1;
                world.push(at, Event::Answer { request, answer: None });
            }
        }
    }

    fn hear(&self, request: usize, answer: Option<Answer>) {
        lock(&self.world).client_hears(request, answer);
    }

    fn fault(&mut self, fault: Fault) {
        let now = {
            let mut world = lock(&self.world);
            world.note(None, format!("{fault:?}"));
            world.fault(fault);
            world.now
        };
        match fault {
            Fault::Crash { server } => {
                if let Some(server) = self.servers[server].take() {
                    lock(&self.world).count("crashes");
                    server.crash();
                }
            }
            Fault::Restart { server } if self.servers[server].is_none() => self.start(server),
            Fault::Stall { server } => {
                if let Some(server) = &mut self.servers[server] {
                    lock(&self.world).count("stalls");
                    server.stalled += 1;
                }
            }
            Fault::Resume { server, stalled } => {
                if let Some(server) = self.servers[server].as_mut().filter(|it| it.stalled > 0) {
                    if stalled > LEASE {
                        lock(&self.world).count("stalls past a lease");
                    }
                    server.stalled -= 1;
                    if server.stalled == 0 {
                        server.resume(now);
                    }
                }
            }
            Fault::Jump { server, by } => {
                if let Some(server) = &self.servers[server] {
                    server.jump(by);
                }
            }
            _ => {}
        }
    }

    fn drain(&mut self) -> Vec<Leftover> {
        debug_assert!(lock(&self.world).now >= HEALED.min(END));
        let mut leftovers = Vec::new();
        for server in self.servers.iter_mut().flatten() {
            let (work, tasks) = server.drain();
            leftovers.push(Leftover { work, tasks });
        }
        leftovers
    }
}
