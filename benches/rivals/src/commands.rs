//! A handler that sends Redis the two commands that no protection does without, by the client library
//! alone: what is left for all the rest of a layer on it.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::{MethodRouter, post};
use bytes::Bytes;
use overhead::workload::ANSWER;
use redis::aio::MultiplexedConnection;

use crate::runs::Runs;

const DAY_MS: u32 = 24 * 60 * 60 * 1000;
/// As long as the record of a claim.
const CLAIM: [u8; 72] = [b'c'; 72];
/// As long as the record of an answer.
const RECORD: [u8; 306] = [b'r'; 306];

/// Claims the key before it answers, and keeps a record afterwards if that was new. Nobody is refused, and
/// nothing is replayed.
pub(crate) async fn alone(url: &str, runs: Runs) -> MethodRouter {
    let client = redis::Client::open(url).expect("an address");
    let connection = client.get_multiplexed_async_connection().await.expect("a server");
    let pay = async move |headers: HeaderMap, _: Bytes| {
        runs.count();
        let key = headers.get("idempotency-key").ok_or(StatusCode::BAD_REQUEST)?;
        two_commands(connection.clone(), key.as_bytes()).await.map_err(|_| StatusCode::BAD_GATEWAY)
    };
    post(pay)
}

async fn two_commands(
    mut connection: MultiplexedConnection,
    key: &[u8],
) -> redis::RedisResult<([(HeaderName, &'static str); 1], &'static str)> {
    let mut claim = redis::cmd("SET");
    claim.arg(key).arg(&CLAIM).arg("NX").arg("PX").arg(DAY_MS);
    let claimed: Option<String> = claim.query_async(&mut connection).await?;
    if claimed.is_some() {
        let mut keep = redis::cmd("SET");
        keep.arg(key).arg(&RECORD).arg("PX").arg(DAY_MS);
        keep.query_async::<()>(&mut connection).await?;
    }
    Ok(([(CONTENT_TYPE, "application/json")], ANSWER))
}
