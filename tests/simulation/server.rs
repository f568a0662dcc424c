//! One simulated process: a runtime of its own with a clock that stands until it is stepped. To drop
//! it is a crash: every task dies at the await where it stands.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use futures_util::future::OptionFuture;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;
use tower::util::BoxCloneService;
use tower::{Layer as _, ServiceExt as _};
use tower_idempotency::layer::ResponseBody;
use tower_idempotency::{Drain, IdempotencyLayer, InFlight, NearCache, Policy, Rejection, Tenant};

use super::defects::Defect;
use super::event::Event;
use super::faults::Path;
use super::handler::{SimBody, Trouble, ask, handle};
use super::history::Answer;
use super::plan::{LEASE, MAX_RUN, RETENTION, ROUTES, Route, STORE_TIMEOUT, ms};
use super::site::{SimClock, Site};
use super::store_client::SimStore;
use super::world::{Shared, lock};

type Service = BoxCloneService<Request<Full<Bytes>>, Response<ResponseBody<SimBody>>, Trouble>;

pub struct Server {
    runtime: Runtime,
    site: Site,
    service: Service,
    drain: Drain,
    wall: Arc<AtomicI64>,
    connections: HashMap<usize, AbortHandle>,
    world: Shared,
    /// The virtual time up to which it has run.
    local: u64,
    /// How many stalls it is in.
    pub stalled: u32,
}

impl Server {
    pub fn start(world: &Shared, server: usize) -> Self {
        let (born, incarnation, per_thousand) = {
            let mut world = lock(world);
            let incarnation = world.servers[server].0 + 1;
            world.servers[server] = (incarnation, true);
            (world.now, incarnation, world.rng.between(980, 1_020))
        };
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
        let sent = Arc::default();
        let site = Site { server, incarnation, born, epoch: epoch(&runtime), sent };
        let wall = Arc::new(AtomicI64::new(1_700_000_000_000));
        let clock = SimClock { site: site.clone(), per_thousand, wall: Arc::clone(&wall) };
        let layer = build(world, &site, clock);
        let (drain, service) = (layer.drain(), service(world, &site, &layer));
        let (world, connections) = (Arc::clone(world), HashMap::new());
        Self { runtime, site, service, drain, wall, connections, world, local: born, stalled: 0 }
    }

    /// Runs until this time, or until something that it sent itself arrives.
    pub fn advance(&mut self, until: u64) {
        if self.stalled > 0 || self.local >= until {
            return;
        }
        let (site, world) = (&self.site, &self.world);
        self.runtime.block_on(async {
            loop {
                let next = lock(world).next_at().map_or(until, |at| at.min(until));
                if site.now() >= next {
                    return;
                }
                let _ = tokio::time::timeout_at(site.at(next), site.sent.notified()).await;
            }
        });
        self.local = self.site_now();
    }

    /// The virtual time on its own clock, which is ahead of nothing that concerns it.
    fn site_now(&self) -> u64 {
        let _inside = self.runtime.enter();
        self.site.now()
    }

    /// Goes on after a stall: the time that has passed is noticed all at once.
    pub fn resume(&mut self, now: u64) {
        let gap = ms(now.saturating_sub(self.local));
        self.runtime.block_on(tokio::time::advance(gap));
        self.local = self.site_now();
    }

    pub fn jump(&self, millis: i64) {
        self.wall.fetch_add(millis, Ordering::Relaxed);
    }

    pub fn receive(&mut self, number: usize) {
        let (request, runs_anyway) = {
            let mut world = lock(&self.world);
            let now = world.now;
            let log = &mut world.history.requests[number];
            log.arrived = Some(now);
            let (key, variant) = (log.key, log.variant);
            let key = &world.plan.keys[key];
            let defect = world.plan.defect == Defect::RunsWhenWaitingEnds;
            let request = Request::post(key.route.path)
                .header("x-tenant", key.tenant)
                .header("idempotency-key", &key.name)
                .header("x-request", number)
                .body(Full::new(Bytes::from(variant.to_string())))
                .expect("a request");
            (request, defect && key.route.wait.is_some())
        };
        let (service, site, world) =
            (self.service.clone(), self.site.clone(), Arc::clone(&self.world));
        let connection = self.runtime.spawn(async move {
            let again = runs_anyway.then(|| request.clone());
            let response = service.oneshot(request).await.ok();
            let mut answer = OptionFuture::from(response.map(read)).await.flatten();
            let in_vain =
                |answer: &Answer| matches!(answer.rejection, Some(Rejection::InProgress { .. }));
            if let Some(again) = again.filter(|_| answer.as_ref().is_some_and(in_vain)) {
                answer = run_anyway(Arc::clone(&world), site.clone(), again).await;
            }
            reply(&world, &site, number, answer);
        });
        self.connections.insert(number, connection.abort_handle());
    }

    /// The client of a request has gone.
    pub fn hang_up(&mut self, request: usize) {
        if let Some(connection) = self.connections.remove(&request) {
            connection.abort();
        }
    }

    /// Waits for what runs, and tells what is left then: work, and tasks.
    pub fn drain(&mut self) -> (usize, usize) {
        let drain = self.drain.clone();
        self.runtime.block_on(async {
            drain.wait(ms(LEASE)).await;
            // The task that renews leases looks once more before it ends.
            tokio::time::sleep(ms(2 * MAX_RUN)).await;
        });
        (self.drain.running(), self.runtime.metrics().num_alive_tasks())
    }

    /// The process dies; who was connected to it notices, or not.
    pub fn crash(self) {
        {
            let mut world = lock(&self.world);
            world.servers[self.site.server].1 = false;
            let open = |request: &usize| {
                let log = &world.history.requests[*request];
                log.answer.is_none() && log.gave_up.is_none()
            };
            let mut open: Vec<usize> = self.connections.keys().copied().filter(open).collect();
            open.sort_unstable();
            for request in open {
                let fate = world.fate((self.site.server, Path::FromServer));
                if let Some(fate) = fate {
                    let at = world.now + fate.delay;
                    world.push(at, Event::Answer { request, answer: None });
                }
            }
        }
        drop(self.runtime);
    }
}

#[expect(clippy::disallowed_methods, reason = "where the paused clock of this process stands")]
fn epoch(runtime: &Runtime) -> tokio::time::Instant {
    runtime.block_on(async { tokio::time::Instant::now() })
}

fn build(world: &Shared, site: &Site, clock: SimClock) -> IdempotencyLayer {
    let (defect, max_in_flight, max_waiters, near_cache) = {
        let plan = &lock(world).plan;
        (plan.defect, plan.max_in_flight, plan.max_waiters, plan.near_cache)
    };
    let tenant =
        if defect == Defect::OneTenant { Tenant::single() } else { Tenant::header("x-tenant") };
    let store = SimStore { world: Arc::clone(world), site: site.clone() };
    let builder = if near_cache {
        lock(world).count("servers with a near cache");
        IdempotencyLayer::builder(NearCache::with_clock(store, clock.clone()), tenant)
    } else {
        IdempotencyLayer::builder(store, tenant)
    };
    let mut builder =
        builder.store_timeout(ms(STORE_TIMEOUT)).max_waiters(max_waiters, max_waiters).clock(clock);
    if let Some(limit) = max_in_flight {
        builder = builder.max_in_flight(limit);
    }
    for route in ROUTES {
        builder = builder.route_policy(route.path, policy(route, world, site));
    }
    builder.build().expect("valid settings")
}

fn policy(route: Route, world: &Shared, site: &Site) -> Policy {
    let mut policy = Policy::new()
        .guarantee(route.guarantee)
        .lease(ms(LEASE))
        .retention(ms(RETENTION))
        .max_run(ms(MAX_RUN))
        .response_limit(1_000);
    if let Some(wait) = route.wait {
        policy = policy.in_flight(InFlight::wait(ms(wait)));
    }
    if route.hook {
        let (world, site) = (Arc::clone(world), site.clone());
        policy =
            policy.on_abandoned(move |abandoned| ask(Arc::clone(&world), site.clone(), abandoned));
    }
    policy
}

fn service(world: &Shared, site: &Site, layer: &IdempotencyLayer) -> Service {
    let handler = {
        let (world, site) = (Arc::clone(world), site.clone());
        tower::service_fn(move |request| handle(Arc::clone(&world), site.clone(), request))
    };
    BoxCloneService::new(layer.layer(handler))
}

/// What a layer does that runs the handler when waiting was in vain.
async fn run_anyway(world: Shared, site: Site, request: Request<Full<Bytes>>) -> Option<Answer> {
    read(handle(world, site, request).await.ok()?).await
}

async fn read<B: Body<Data = Bytes>>(response: Response<B>) -> Option<Answer> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    Some(Answer {
        status: parts.status.as_u16(),
        body,
        replayed: parts.headers.contains_key("idempotent-replayed"),
        unstored: parts.headers.contains_key("idempotency-status"),
        rejection: parts.extensions.get::<Rejection>().cloned(),
        sent: 0,
    })
}

fn reply(world: &Shared, site: &Site, request: usize, answer: Option<Answer>) {
    let mut world = lock(world);
    let now = site.now();
    match world.fate_at(now, (site.server, Path::FromServer)) {
        None => world.count("lost answers to clients"),
        Some(fate) => {
            let answer = answer.map(|answer| Answer { sent: now, ..answer });
            world.push(now + fate.delay, Event::Answer { request, answer });
        }
    }
    site.sent.notify_one();
}
