//! The handlers under protection. What one does is drawn when it starts, and goes into the ledger.

use std::convert::Infallible;
use std::fmt;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tower_idempotency::{Abandoned, Recovery, RunningClaim, Verdict};

use super::history::{Asked, Ending, Lie, Run};
use super::meaning::Source;
use super::plan::{FAULTS_END, LEASE, MAX_RUN, ms};
use super::site::Site;
use super::world::{Shared, World, lock};

pub type SimBody = UnsyncBoxBody<Bytes, Trouble>;

/// What handlers and bodies fail with.
#[derive(Debug)]
pub struct Trouble;

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated trouble")
    }
}

impl std::error::Error for Trouble {}

/// What a handler is going to do: pauses, an effect after one of them, and an end.
struct Script {
    run: usize,
    pauses: Vec<u64>,
    effect: usize,
    ending: Ending,
}

/// Ends a run in the ledger that is dropped before its end: stopped, or dead with its server.
struct Guard {
    world: Shared,
    site: Site,
    run: Option<usize>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(run) = self.run else { return };
        let mut world = lock(&self.world);
        if world.servers[self.site.server] != (self.site.incarnation, true) {
            world.count("crashes with a handler running");
            return;
        }
        world.count("handlers stopped at max_run");
        world.end_run(run, self.site.now(), Ending::Stopped);
    }
}

pub async fn handle<B: Body<Data = Bytes>>(
    world: Shared,
    site: Site,
    request: Request<B>,
) -> Result<Response<SimBody>, Trouble> {
    let claim = request.extensions().get::<RunningClaim>().cloned();
    let number: usize = request.headers()["x-request"].to_str().unwrap().parse().unwrap();
    let body = request.into_body().collect().await.map_err(|_| Trouble)?.to_bytes();
    let script = lock(&world).start_run(&site, number, &body, claim.as_ref());
    let mut guard = Guard { world: world.clone(), site: site.clone(), run: Some(script.run) };
    for (step, pause) in script.pauses.iter().enumerate() {
        lock(&world).sample(&site, script.run, claim.as_ref());
        if step == script.effect {
            lock(&world).effect(script.run, site.now());
        }
        tokio::time::sleep(ms(*pause)).await;
    }
    guard.run = None;
    {
        let mut world = lock(&world);
        world.sample(&site, script.run, claim.as_ref());
        world.end_run(script.run, site.now(), script.ending);
    }
    answer(script.run, script.ending)
}

fn answer(run: usize, ending: Ending) -> Result<Response<SimBody>, Trouble> {
    let text = format!("run {run} ");
    let whole = |text: String| Full::new(Bytes::from(text)).map_err(|_: Infallible| Trouble);
    let respond = |status: u16| Response::builder().status(status);
    let response = match ending {
        Ending::Done(status) => respond(status).body(whole(text).boxed_unsync()),
        Ending::NotExecuted(status) => {
            let response = respond(status).header("retry-after", "1");
            let marked = if status == 503 || status == 429 {
                response
            } else {
                response.extension(Verdict::NotExecuted)
            };
            marked.body(whole(text).boxed_unsync())
        }
        Ending::Ambiguous(status) => {
            respond(status).extension(Verdict::Ambiguous).body(whole(text).boxed_unsync())
        }
        Ending::Unkeepable(200) => {
            let frames = [Ok(Frame::data(Bytes::from(text))), Ok(Frame::data(Bytes::from("more")))];
            let body = StreamBody::new(stream::iter(frames));
            respond(200).header("content-type", "text/event-stream").body(body.boxed_unsync())
        }
        Ending::Unkeepable(status) => {
            respond(status).body(whole(text + &"x".repeat(2_000)).boxed_unsync())
        }
        Ending::Broken => {
            let frames = [Ok(Frame::data(Bytes::from(text))), Err(Trouble)];
            respond(200).body(StreamBody::new(stream::iter(frames)).boxed_unsync())
        }
        Ending::Panicked => panic!("simulated"),
        Ending::Failed | Ending::Stopped => return Err(Trouble),
    };
    Ok(response.expect("a response"))
}

impl World {
    fn start_run(
        &mut self,
        site: &Site,
        request: usize,
        body: &[u8],
        claim: Option<&RunningClaim>,
    ) -> Script {
        let log = &self.history.requests[request];
        let variant = body.first().copied().unwrap_or_default() - b'0';
        let (key, start) = (log.key, site.now());
        let run = self.history.runs.len();
        let fence = claim.map(|claim| claim.fence().number()).unwrap_or_default();
        let attempt = claim.map(RunningClaim::attempt).unwrap_or_default();
        if let Some(claim) = claim {
            self.slots.insert(*claim.slot().as_bytes(), key);
            self.started.insert((*claim.slot().as_bytes(), fence));
        }
        self.history.runs.push(Run {
            key,
            variant,
            request,
            attempt,
            fence,
            start,
            effects: Vec::new(),
            live_at: None,
            end: None,
        });
        let text =
            format!("run {run} of request {request} starts on {}, fence {fence}", site.server);
        self.note_at(start, Some(key), text);
        let script = self.draw(run, start);
        if script.pauses.iter().sum::<u64>() > LEASE {
            self.count("handlers past their lease");
        }
        script
    }

    fn draw(&mut self, run: usize, start: u64) -> Script {
        // What starts after the faults is quick and ends well.
        if start >= FAULTS_END {
            return Script { run, pauses: vec![5], effect: 0, ending: Ending::Done(200) };
        }
        let long = self.plan.long_runs;
        let rng = &mut self.rng;
        let total = if rng.chance(15) {
            rng.between(MAX_RUN, MAX_RUN + 300)
        } else if rng.chance(long) {
            rng.between(LEASE, 4 * LEASE)
        } else if rng.chance(200) {
            0
        } else {
            rng.between(1, LEASE)
        };
        let steps = if total == 0 { 0 } else { rng.between(1, 4) };
        let pauses: Vec<u64> = (0..steps).map(|_| total / steps).collect();
        let effect = rng.index(4);
        let ending = match rng.below(100) {
            0..62 => Ending::Done(rng.pick(&[200, 201, 202, 404, 422])),
            62..72 => Ending::NotExecuted(rng.pick(&[503, 429, 409])),
            72..80 => Ending::Ambiguous(rng.pick(&[500, 502, 418])),
            80..88 => Ending::Unkeepable(rng.pick(&[200, 201])),
            88..92 => Ending::Panicked,
            92..96 => Ending::Failed,
            _ => Ending::Broken,
        };
        Script { run, pauses, effect, ending }
    }

    fn effect(&mut self, run: usize, at: u64) {
        let key = self.history.runs[run].key;
        self.history.runs[run].effects.push(at);
        self.note_at(at, Some(key), format!("run {run} has its effect"));
    }

    /// Asks the claim whether it is live, and the store whether that is true.
    fn sample(&mut self, site: &Site, run: usize, claim: Option<&RunningClaim>) {
        let Some(claim) = claim.filter(|claim| claim.is_live()) else { return };
        let at = site.now();
        self.history.runs[run].live_at = Some(at);
        let now = self.store.clock.at(at);
        let slot = claim.slot();
        let live = self.store.records.get(slot.as_bytes()).is_some_and(|record| {
            let seen = tower_idempotency::store::Seen { record: Some(record.clone()), now };
            seen.running(claim.fence()).is_some()
        });
        if !live {
            let key = self.history.runs[run].key;
            self.history.lies.push(Lie { key, run, at });
        }
    }

    fn end_run(&mut self, run: usize, at: u64, ending: Ending) {
        let log = &mut self.history.runs[run];
        log.end = Some((at, ending));
        let key = log.key;
        self.note_at(at, Some(key), format!("run {run} ends: {ending:?}"));
        match ending {
            Ending::Panicked => self.count("panics of handlers"),
            Ending::Failed => self.count("errors of handlers"),
            Ending::Broken => self.count("broken bodies"),
            Ending::NotExecuted(_) => self.count("not executed"),
            _ => {}
        }
    }
}

/// Looks into the ledger what became of an abandoned claim.
pub async fn ask(world: Shared, site: Site, abandoned: Abandoned) -> Recovery {
    let pause = {
        let mut world = lock(&world);
        world.count("hooks asked");
        world.rng.between(1, LEASE + 50)
    };
    tokio::time::sleep(ms(pause)).await;
    let mut world = lock(&world);
    let (fence, at) = (abandoned.fence().number(), site.now());
    let Some(key) = world.key_of(abandoned.slot()) else {
        return Recovery::StillUnknown;
    };
    let run = world.history.runs.iter().find(|run| run.key == key && run.fence == fence);
    let effect = run.is_some_and(|run| !run.effects.is_empty());
    let doubt = world.rng.chance(150);
    let rerun = !doubt && !effect;
    world.history.asked.push(Asked { key, fence, at, rerun });
    world.note_at(at, Some(key), format!("the hook about {fence}: effect {effect}, {doubt}"));
    if doubt {
        world.count("hooks: unknown");
        if world.rng.chance(300) {
            drop(world);
            panic!("simulated");
        }
        Recovery::StillUnknown
    } else if effect {
        world.count("hooks: response");
        let number = world.history.asked.len();
        Recovery::Response(Response::new(Bytes::from(format!("hook {key} {number}"))))
    } else {
        world.count("hooks: rerun");
        Recovery::Rerun
    }
}

/// Whether a body belongs to this key.
pub fn belongs(source: Source, key: usize, runs: &[Run]) -> bool {
    match source {
        Source::Run(run) => runs.get(run).is_some_and(|run| run.key == key),
        Source::Hook(of) => of == key,
    }
}
