//! The routes. All are under the layer, except `GET /executions`.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use tower_idempotency::IdempotencyLayer;

use crate::bodies;
use crate::executions::{Executions, Ticket};

/// The largest body of `/bytes/{n}`: it has to fit into memory.
const MOST_BYTES: usize = 1 << 30;

pub(crate) fn router(
    executions: Arc<Executions>,
    charges: Router<Arc<Executions>>,
    layer: IdempotencyLayer,
) -> Router {
    Router::new()
        .route("/echo", any(echo))
        .route("/accounts/{id}/echo", any(echo))
        .route("/status/{code}", post(status))
        .route("/slow/{ms}", post(slow))
        .route("/slow-status/{ms}/{code}", post(slow_status))
        .route("/work/{ms}", post(work))
        .route("/panic", post(panic))
        .route("/bytes/{n}", post(bytes))
        .route("/stream/{n}", post(stream))
        .route("/stream-error", post(stream_error))
        .route("/sse/{n}/{ms}", post(sse))
        .route("/trailers", post(trailers))
        .route("/headers", post(headers))
        .merge(charges)
        .layer(DefaultBodyLimit::disable())
        .layer(layer)
        .route("/executions", get(total))
        .with_state(executions)
}

async fn total(State(executions): State<Arc<Executions>>) -> Json<Value> {
    Json(json!({ "total": executions.total() }))
}

async fn echo(ticket: Ticket, headers: HeaderMap, body: Bytes) -> Response {
    let answer = |execution| {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::CREATED;
        let fields = response.headers_mut();
        fields.extend(headers.get(CONTENT_TYPE).map(|kind| (CONTENT_TYPE, kind.clone())));
        fields.insert(LOCATION, location(execution));
        fields.insert("x-execution", HeaderValue::from(execution));
        ready(response)
    };
    ticket.run(answer).await
}

fn location(execution: u64) -> HeaderValue {
    HeaderValue::try_from(format!("/echo/{execution}")).expect("digits can stand in a header")
}

async fn status(
    ticket: Ticket,
    Path(code): Path<u16>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, StatusCode> {
    let status = allowed(code)?;
    let retry_after = query.get("retry-after").map(HeaderValue::try_from).transpose();
    let retry_after = retry_after.map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut response = ticket.run(|execution| ready(counted(status, execution))).await;
    response.headers_mut().extend(retry_after.map(|after| (RETRY_AFTER, after)));
    Ok(response)
}

async fn slow(ticket: Ticket, Path(ms): Path<u64>) -> Response {
    ticket.run(|execution| late(ms, StatusCode::OK, execution)).await
}

async fn slow_status(
    ticket: Ticket,
    Path((ms, code)): Path<(u64, u16)>,
) -> Result<Response, StatusCode> {
    let status = allowed(code)?;
    Ok(ticket.run(|execution| late(ms, status, execution)).await)
}

async fn late(ms: u64, status: StatusCode, execution: u64) -> Response {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    counted(status, execution)
}

/// Takes its time, and names the run that the answer is of.
async fn work(mut ticket: Ticket, Path(ms): Path<u64>, body: String) -> Json<Value> {
    ticket.body = Some(body.clone());
    let tenant = ticket.tenant().to_owned();
    let pid = std::process::id();
    let answer = |execution| async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Json(json!({ "pid": pid, "execution": execution, "tenant": tenant, "body": body }))
    };
    ticket.run(answer).await
}

async fn panic(ticket: Ticket) -> Response {
    ticket.run(|execution| async move { panic!("execution {execution} panics") }).await
}

async fn bytes(ticket: Ticket, Path(n): Path<usize>) -> Result<Response, StatusCode> {
    if n > MOST_BYTES {
        return Err(StatusCode::BAD_REQUEST);
    }
    let answer =
        |execution| ready(typed("application/octet-stream", bodies::different(n, execution)));
    Ok(ticket.run(answer).await)
}

async fn stream(ticket: Ticket, Path(n): Path<u64>) -> Response {
    ticket.run(|execution| ready(typed("text/plain", bodies::lines(n, execution)))).await
}

async fn stream_error(ticket: Ticket) -> Response {
    ticket.run(|execution| ready(typed("text/plain", bodies::broken(execution)))).await
}

async fn sse(ticket: Ticket, Path((n, ms)): Path<(u64, u64)>) -> Response {
    let distance = Duration::from_millis(ms);
    let answer =
        |execution| ready(typed("text/event-stream", bodies::events(n, distance, execution)));
    ticket.run(answer).await
}

async fn trailers(ticket: Ticket) -> Response {
    let answer = |execution| {
        let mut response = typed("text/plain", bodies::with_trailer(execution));
        response.headers_mut().insert(TRAILER, HeaderValue::from_static("x-sum"));
        ready(response)
    };
    ticket.run(answer).await
}

async fn headers(ticket: Ticket, body: Bytes) -> Result<Response, StatusCode> {
    let listed: Vec<(String, String)> =
        serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut fields = HeaderMap::new();
    for (name, value) in listed {
        let name = HeaderName::try_from(name).map_err(|_| StatusCode::BAD_REQUEST)?;
        let value = HeaderValue::try_from(value).map_err(|_| StatusCode::BAD_REQUEST)?;
        fields.append(name, value);
    }
    let answer = |_| {
        let mut response = Response::new(Body::from("ok"));
        *response.headers_mut() = fields;
        ready(response)
    };
    Ok(ticket.run(answer).await)
}

/// A status that a final response can have.
fn allowed(code: u16) -> Result<StatusCode, StatusCode> {
    match code {
        200..=599 => StatusCode::from_u16(code).map_err(|_| StatusCode::BAD_REQUEST),
        _ => Err(StatusCode::BAD_REQUEST),
    }
}

/// `{"execution":n}`, where the status allows a body.
fn counted(status: StatusCode, execution: u64) -> Response {
    let mut response = match status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
            Response::default()
        }
        _ => Json(json!({ "execution": execution })).into_response(),
    };
    *response.status_mut() = status;
    if status.is_redirection() {
        response.headers_mut().insert(LOCATION, HeaderValue::from_static("/elsewhere"));
    }
    response
}

fn typed(kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
