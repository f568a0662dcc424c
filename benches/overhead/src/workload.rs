//! The requests, the same for everyone who is measured.

use std::fmt::Debug;
use std::ops::Range;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderName, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use tower::{Service, ServiceExt as _};

/// 119 bytes.
pub const QUESTION: &str = r#"{"amount":1999,"currency":"EUR","card":"tok_visa_4242424242","description":"order 12345: two books and three pencils!"}"#;
/// 194 bytes.
pub const ANSWER: &str = r#"{"id":"ch_3OaKqX2eZvKYlo2C1bq8Wz7T","amount":1999,"currency":"EUR","status":"succeeded","created":170000000000,"receipt":"https://pay.example.com/r/ch_3OaKqX2eZvKYlo2C1bq8Wz7T","captured":false}"#;
const _: () = assert!(QUESTION.len() == 119 && ANSWER.len() == 194);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A `GET`, which no idempotency layer has to do with.
    NotApplied,
    /// A `POST` without a key.
    NoKey,
    /// A new key each time.
    Fresh,
    /// The same key and request each time.
    Replay,
    /// One request, then the same key with another body each time.
    Mismatch,
    /// A new key each time, and so many bytes of body there and back.
    Large(usize),
}

impl Workload {
    pub const ALL: [Self; 7] = [
        Self::NotApplied,
        Self::NoKey,
        Self::Fresh,
        Self::Replay,
        Self::Mismatch,
        Self::Large(64 * 1024),
        Self::Large(1024 * 1024),
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotApplied => "not-applied",
            Self::NoKey => "no-key",
            Self::Fresh => "fresh",
            Self::Replay => "replay",
            Self::Mismatch => "mismatch",
            Self::Large(65_536) => "fresh-64-KiB",
            Self::Large(_) => "fresh-1-MiB",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    /// The two counts of requests between which the slope is taken. Hashing in software under
    /// valgrind makes large bodies slow.
    pub(crate) const fn counts(self) -> (u32, u32) {
        match self {
            Self::Large(65_536) => (10, 30),
            Self::Large(_) => (2, 5),
            _ => (500, 1500),
        }
    }

    /// The request number `number`.
    #[inline(never)]
    fn request(self, number: u32) -> Request<Full<Bytes>> {
        let key = match self {
            Self::NotApplied | Self::NoKey => None,
            Self::Fresh | Self::Large(_) => Some(number),
            Self::Replay | Self::Mismatch => Some(0),
        };
        let body = match self {
            Self::Large(length) => Bytes::from(vec![b'x'; length]),
            Self::Mismatch if number > 0 => Bytes::from_static(&QUESTION.as_bytes()[1..]),
            _ => Bytes::from_static(QUESTION.as_bytes()),
        };
        let request = match self {
            Self::NotApplied => Request::get("/payments"),
            Self::Large(_) => Request::post("/mirror"),
            _ => Request::post("/payments"),
        };
        let request = request.header(HOST, "localhost").header(CONTENT_TYPE, "application/json");
        let request = match key {
            Some(key) => {
                request.header("idempotency-key", format!("0b7e4d5a-9c1f-4e9d-8a54-{key:012}"))
            }
            None => request,
        };
        request.body(Full::new(body)).expect("a request of constants")
    }

    /// Sends the requests of these numbers, one after the other. `mismatch` is how a reused
    /// key is answered.
    ///
    /// # Panics
    ///
    /// If an answer is not the expected one.
    pub async fn drive<S, B>(self, service: S, numbers: Range<u32>, mismatch: StatusCode)
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug> + Clone,
        B: Body<Data = Bytes, Error: Debug>,
    {
        for number in numbers {
            let response = service.clone().oneshot(self.request(number)).await.expect("no error");
            let expected = match self {
                Self::Mismatch if number > 0 => mismatch,
                _ => StatusCode::OK,
            };
            assert_eq!(response.status(), expected);
            let body = response.into_body().collect().await.expect("a whole body").to_bytes();
            let length = match self {
                Self::Large(length) => length,
                _ => ANSWER.len(),
            };
            assert!(expected != StatusCode::OK || body.len() == length, "{body:?}");
        }
    }
}

/// What is behind the layer: the same answer to every question, and a mirror.
pub fn router() -> Router {
    Router::new()
        .route("/payments", post(pay).get(pay))
        .route("/mirror", post(async |body: Bytes| body))
}

async fn pay(_: Bytes) -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(CONTENT_TYPE, "application/json")], ANSWER)
}
