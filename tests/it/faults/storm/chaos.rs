//! Those who break things: one for each server, one for the backends of PostgreSQL, one for each line.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt as _;
use tokio::task::block_in_place;
use tokio::time::sleep;
use tower_idempotency::store::postgres::tokio_postgres::Client;

use super::clients::Scene;
use super::line::Line;
use crate::support::process::Process;

/// A place for a server: the one that is in it, and its way to PostgreSQL.
pub struct Berth {
    pub place: usize,
    pub store: String,
    pub flags: Vec<&'static str>,
    pub line: Arc<Line>,
    pub process: Process,
}

impl Berth {
    pub fn start(store: &str, flags: &[&str]) -> Process {
        block_in_place(|| Process::start(store, flags))
    }

    /// Kills the server at random moments, until all have done so often enough together, and
    /// freezes it now and then before, often for longer than a lease. Says how often that was.
    pub async fn kill(mut self, scene: Arc<Scene>, left: Arc<Mutex<usize>>) -> (Self, usize) {
        let mut random = scene.random(10 + self.place as u64);
        let mut frozen = 0;
        loop {
            sleep(Duration::from_millis(random.random_range(100..1000))).await;
            if random.random_bool(0.35) {
                frozen += 1;
                self.process.pause();
                sleep(Duration::from_millis(random.random_range(700..1700))).await;
                self.process.resume();
                sleep(Duration::from_millis(random.random_range(0..600))).await;
            }
            if !take_one(&left) {
                return (self, frozen);
            }
            self.process.kill_in_place();
            sleep(Duration::from_millis(random.random_range(0..200))).await;
            self.process = Self::start(&self.store, &self.flags);
            *scene.servers[self.place].lock().unwrap() = self.process.http();
        }
    }
}

fn take_one(left: &Mutex<usize>) -> bool {
    let mut left = left.lock().unwrap();
    let one_less = left.checked_sub(1);
    *left = one_less.unwrap_or(0);
    one_less.is_some()
}

/// Ends one backend of a server after the other, and says how many.
pub async fn terminate(client: Client, scene: Arc<Scene>) -> usize {
    let others = "SELECT pid FROM pg_stat_activity \
                  WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
    let mut random = scene.random(1);
    let mut ended = 0;
    while !scene.is_ending() {
        sleep(Duration::from_millis(random.random_range(50..500))).await;
        let pids = client.query(others, &[]).await.expect("they are listed");
        let Some(last) = pids.len().checked_sub(1) else { continue };
        let pid: i32 = pids[random.random_range(0..=last)].get(0);
        let end = "SELECT pg_terminate_backend($1)";
        let row = client.query_one(end, &[&pid]).await.expect("it is terminated");
        ended += usize::from(row.get::<_, bool>(0));
    }
    ended
}

/// Breaks all connections of a server now and then, and says how often.
pub async fn cut(line: Arc<Line>, place: usize, scene: Arc<Scene>) -> usize {
    let mut random = scene.random(20 + place as u64);
    let mut cuts = 0;
    while !scene.is_ending() {
        sleep(Duration::from_millis(random.random_range(2000..6000))).await;
        line.cut();
        cuts += 1;
    }
    line.calm();
    cuts
}
