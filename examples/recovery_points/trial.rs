//! A tour: a shop is killed while the carrier is at work, and another one goes on where it was.

use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Router, serve};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::time::sleep;

/// Whom a shop has asked, and with which key.
type Question = (String, String);

type Answer = Result<(StatusCode, String), Box<dyn Error + Send + Sync>>;

pub(crate) async fn run(database: &str) -> Result<(), Box<dyn Error>> {
    let (sender, mut questions) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let partners = format!("http://{}", listener.local_addr()?);
    let router = Router::new().route("/{service}", post(partner)).with_state(sender);
    tokio::spawn(async { serve(listener, router).await });

    println!("A shop takes an order, and is killed while the carrier is at work:");
    let shop = Shop::start(database, &partners)?;
    let lost = tokio::spawn(order(shop.url.clone()));
    let mut asked: Vec<Question> = Vec::new();
    while asked.last().is_none_or(|(service, _)| service != "ship") {
        asked.push(questions.recv().await.ok_or("the partners are gone")?);
    }
    drop(shop);
    assert!(lost.await?.is_err(), "the client hears nothing");
    show(&asked);

    println!("\nAnother one is started, and the client asks again:");
    let shop = Shop::start(database, &partners)?;
    let (status, text) = loop {
        match order(shop.url.clone()).await {
            // The claim of the killed one has not lapsed yet.
            Ok((StatusCode::CONFLICT, _)) => sleep(Duration::from_millis(50)).await,
            Ok(answer) => break answer,
            Err(error) => return Err(error),
        }
    };
    let before = asked.len();
    asked.extend(std::iter::from_fn(|| questions.try_recv().ok()));
    show(&asked[before..]);
    println!("  it answers {status}: {}", text.trim_end());
    assert_eq!(status, StatusCode::CREATED);
    let services: Vec<&str> = asked.iter().map(|(service, _)| service.as_str()).collect();
    assert_eq!(services, ["authorise", "ship", "ship"], "what is saved is not asked for again");
    assert_eq!(asked[1], asked[2], "the carrier knows it by its key");

    let count = "SELECT count(*) FROM shop_orders";
    let orders: i64 = super::open(database)?.get().await?.query_one(count, &[]).await?.get(0);
    println!("\nOrders in the table: {orders}");
    Ok(())
}

fn show(asked: &[Question]) {
    for (service, key) in asked {
        println!("  the partner for {service} is asked, with the key {key}");
    }
}

/// The bank and the carrier, who never answers the first time.
async fn partner(
    State(questions): State<UnboundedSender<Question>>,
    Path(service): Path<String>,
    headers: HeaderMap,
) -> String {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let key = headers["idempotency-key"].to_str().unwrap_or_default();
    let _ = questions.send((service.clone(), key.to_owned()));
    if service == "ship" && !ASKED.swap(true, Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    format!("{service} done")
}

/// Orders apples, always with the same key.
async fn order(url: String) -> Answer {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let order = Request::post(format!("{url}/orders")).header("idempotency-key", "order-1");
    let response = client.request(order.body("apples".into())?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec())?))
}

/// A shop in a process of its own, which is killed when this is dropped.
struct Shop {
    process: Child,
    url: String,
}

impl Shop {
    fn start(database: &str, partners: &str) -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([database, "--partners", partners, "--listen", "127.0.0.1:0"])
            .args(["--lease-ms", "1000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("a pipe")?).read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening on ").unwrap_or_default().to_owned();
        Ok(Self { process, url })
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
