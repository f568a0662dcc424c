//! Many requests for one key at once, in one process and in several, on Redis: what they cost the store, and how long
//! after the first answer the last one comes.

use std::fmt::{self, Display, Formatter};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use axum::routing::post;
use axum::{Router, body::Body};
use futures_util::future::{join_all, try_join_all};
use http::Request;
use tower::ServiceExt as _;
use tower_idempotency::clock::{Clock as _, SystemClock};
use tower_idempotency::store::RedisStore;
use tower_idempotency::{IdempotencyLayer, InFlight, Policy, Tenant};

use crate::client::{Client, Question};
use crate::machine::publish;
use crate::report::Spread;
use crate::servers::{Server, Store};
use crate::subject::{Library, Rivalry, StoreKind};

const ROUNDS: u32 = 11;
const HERD: usize = 500;
const PROCESSES: usize = 4;
const WARM_UP: u32 = 8;
pub(crate) const WORK: Duration = Duration::from_millis(50);

pub(crate) fn measure(into: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let [one, four] = [runtime.block_on(in_process()), runtime.block_on(in_processes())];
    let text = format!(
        "{HERD} requests for one key at once, a handler of {} ms, {ROUNDS} rounds: how long after the first \
         answer the last one comes (median and quartiles), and how many commands Redis is sent on the wire \
         (the least and the most of a round).\n\n\
         | | lag ms | commands |\n|---|---|---|\n\
         | in one process, without sockets | {one} |\n\
         | in {PROCESSES} processes, over sockets | {four} |\n\n\
         `idempotent` refuses all but the first with 409, `axum-idempotent` runs all of them.\n",
        WORK.as_millis(),
    );
    publish(into, "herd", "A herd on one key", &text);
}

/// What the rounds came to.
struct Rounds {
    lags: Vec<f64>,
    commands: Vec<usize>,
}

impl Display for Rounds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let lag = Spread::of(self.lags.iter().copied()).expect("there were rounds");
        let (least, most) = (self.commands.iter().min(), self.commands.iter().max());
        write!(f, "{lag} | {} to {}", least.unwrap_or(&0), most.unwrap_or(&0))
    }
}

/// Has so many requests with one key wait for the first.
pub(crate) fn layer(url: &str) -> IdempotencyLayer {
    let store = RedisStore::connect(url).expect("a valid address");
    let policy = Policy::new().in_flight(InFlight::wait(Duration::from_secs(20)));
    let layer = IdempotencyLayer::builder(store, Tenant::single()).policy(policy);
    layer.max_waiters(HERD, HERD).build().expect("a valid configuration")
}

async fn in_process() -> Rounds {
    let server = Store::start(StoreKind::Redis).expect("Redis is a server");
    let work = async || {
        tokio::time::sleep(WORK).await;
        "done"
    };
    let router = Router::new().route("/slow", post(work)).layer(layer(&server.url()));
    // A connection is made, and its server known.
    herd(&router, 0, 1).await;
    let mut rounds = Rounds { lags: Vec::new(), commands: Vec::new() };
    for round in 1..=ROUNDS {
        let monitor = Monitor::start(&server);
        rounds.lags.push(herd(&router, round, HERD).await.as_secs_f64() * 1e3);
        rounds.commands.push(monitor.commands(&server));
    }
    rounds
}

async fn in_processes() -> Rounds {
    let store = Store::start(StoreKind::Redis).expect("Redis is a server");
    let rivalry = Rivalry { library: Library::TowerIdempotency, store: StoreKind::Redis };
    let servers: Vec<Server> = (0..PROCESSES)
        .map(|_| Server::start(rivalry, Some(&store), &["--wait".to_owned()]))
        .collect();
    let clients = (0..HERD).map(|number| Client::connect(servers[number % PROCESSES].address));
    let mut clients = try_join_all(clients).await.expect("the servers listen");
    let question = Question::post("/slow", b"one");
    let mut rounds = Rounds { lags: Vec::new(), commands: Vec::new() };
    // Everybody makes connections: here two, and in the first rounds the one for watching.
    for (number, client) in clients.iter_mut().take(PROCESSES).enumerate() {
        let number = u64::try_from(number).expect("a small number") + 1_000_000;
        client.ask(&mut question.clone(), number).await.expect("an answer");
    }
    for round in 0..ROUNDS + WARM_UP {
        let monitor = Monitor::start(&store);
        let asked = clients.iter_mut().map(|client| {
            let mut question = question.clone();
            async move {
                let answer = client.ask(&mut question, round.into()).await.expect("an answer");
                assert_eq!(answer.status, 200);
                SystemClock.monotonic()
            }
        });
        let answered = join_all(asked).await;
        let commands = monitor.commands(&store);
        if round >= WARM_UP {
            rounds.lags.push(lag(&answered).as_secs_f64() * 1e3);
            rounds.commands.push(commands);
        }
    }
    rounds
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
    lag(&answered)
}

fn lag(answered: &[Duration]) -> Duration {
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

    /// How many commands were sent by others than this, and by no script. The canary is looked for in the
    /// background, now and then, whatever is asked.
    fn commands(self, server: &Store) -> usize {
        server.ask::<String>("ECHO that-was-all").expect("the store answers");
        let lines = self.0.lines().map(|line| line.expect("a line"));
        let sent = lines.take_while(|line| !line.contains("that-was-all"));
        // The connection of the last command introduces itself.
        let others = [" lua] ", "\"CLIENT\" \"SETINFO\"", ":canary"];
        sent.filter(|line| !others.iter().any(|other| line.contains(other))).count()
    }
}
