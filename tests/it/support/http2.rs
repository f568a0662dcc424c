//! An HTTP/2 client with prior knowledge.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::http::{Answer, Ask, Server};

impl Server {
    /// One request over HTTP/2, on a connection of its own.
    pub async fn send_http2(self, ask: &Ask) -> Answer {
        let io = TokioIo::new(self.stream().await);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(ask.method.as_str())
            .uri(format!("http://test{}", ask.target));
        for (name, value) in &ask.lines {
            request = request.header(name, value.as_slice());
        }
        let body = Full::new(Bytes::from(ask.body.clone()));
        let response = sender.send_request(request.body(body).expect("a request")).await;
        let (parts, body) = response.expect("a response").into_parts();
        let body = body.collect().await.expect("a body");
        let trailers = body.trailers().map(fields).unwrap_or_default();
        Answer {
            status: parts.status.as_u16(),
            headers: fields(&parts.headers),
            body: body.to_bytes().into(),
            trailers,
        }
    }
}

fn fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().into())).collect()
}
