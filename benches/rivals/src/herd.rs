//! Many requests for one key at once, in one process, on Redis: what they cost the store, and how long
//! after the first answer the last one comes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use axum::routing::post;
use axum::{Router, body::Body};
use futures_util::future::join_all;
use http::Request;
use tower::ServiceExt as _;
use tower_idempotency::clock::{Clock as _, SystemClock};
use tower_idempotency::store::RedisStore;
use tower_idempotency::{IdempotencyLayer, InFlight, Policy, Tenant};

use crate::machine::publish;
use crate::report::Spread;
use crate::servers::Store;
use crate::subject::StoreKind;

const ROUNDS: u32 = 11;
const HERD: usize = 500;
const WORK: Duration = Duration::from_millis(50);

pub(crate) fn measure(into: &Path) {
    let server = Store::start(StoreKind::Redis).expect("Redis is a server");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (lags, commands) = runtime.expect("a runtime").block_on(async {
        let store = RedisStore::connect(server.url()).expect("a valid address");
        let policy = Policy::new().in_flight(InFlight::wait(Duration::from_secs(20)));
        let layer = IdempotencyLayer::builder(store, Tenant::single())
            .policy(policy)
            .max_waiters(HERD, HERD)
            .build();
        let work = async || {
            tokio::time::sleep(WORK).await;
            "done"
        };
        let router =
            Router::new().route("/slow", post(work)).layer(layer.expect("a valid configuration"));
        // A connection is made, and its server known.
        herd(&router, 0, 1).await;
        let (mut lags, mut commands) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            let monitor = Monitor::start(&server);
            lags.push(herd(&router, round, HERD).await.as_secs_f64() * 1e3);
            commands.push(monitor.commands(&server));
        }
        (lags, commands)
    });
    let lag = Spread::of(lags).expect("there were rounds");
    let text = format!(
        "{HERD} requests for one key at once, in one process, a handler of {} ms, {ROUNDS} rounds.\n\n\
         - after the first answer, the last one comes within {lag} ms (median and quartiles)\n\
         - commands on the wire to Redis, in each round: {commands:?}\n\n\
         `idempotent` refuses all but the first with 409, `axum-idempotent` runs all of them.\n",
        WORK.as_millis(),
    );
    publish(into, "herd", "A herd on one key", &text);
}

/// The time from the first answer to the last.
async fn herd(router: &Router, round: u32, size: usize) -> Duration {
    let asked = (0..size).map(|_| {
        let router = router.clone();
        tokio::spawn(async move {
            let request = Request::post("/slow").header("idempotency-key", format!("herd-{round}"));
            let request = request.body(Body::from("one")).expect("a request of constants");
            let Ok(response) = router.oneshot(request).await;
            assert_eq!(response.status(), 200);
            SystemClock.monotonic()
        })
    });
    let answered: Vec<Duration> =
        join_all(asked).await.into_iter().collect::<Result<_, _>>().expect("every request ends");
    let (first, last) = (answered.iter().min(), answered.iter().max());
    last.copied().unwrap_or_default() - first.copied().unwrap_or_default()
}

/// Listens to what Redis is sent. Its statistics also count what scripts call.
struct Monitor(BufReader<TcpStream>);

impl Monitor {
    fn start(server: &Store) -> Self {
        let address = server.url().replace("redis://", "");
        let mut socket = TcpStream::connect(address).expect("the store listens");
        socket.write_all(b"MONITOR\r\n").expect("the store listens");
        let mut lines = BufReader::new(socket);
        let mut line = String::new();
        lines.read_line(&mut line).expect("the store answers");
        assert_eq!(line, "+OK\r\n");
        Self(lines)
    }

    /// How many commands were sent by others than this, and by no script.
    fn commands(self, server: &Store) -> usize {
        server.ask::<String>("ECHO that-was-all").expect("the store answers");
        let lines = self.0.lines().map(|line| line.expect("a line"));
        let sent = lines.take_while(|line| !line.contains("that-was-all"));
        // The connection of the last command introduces itself.
        sent.filter(|line| !line.contains(" lua] ") && !line.contains("\"CLIENT\" \"SETINFO\""))
            .count()
    }
}
