//! Servers on ports of their own, and an HTTP/1.1 client that sends and shows every byte.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

pub use super::answer::Answer;

/// No answer takes longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server for HTTP/1 and for HTTP/2 with prior knowledge. It lives as long as its runtime.
#[derive(Clone, Copy, Debug)]
pub struct Server(SocketAddr);

impl Server {
    pub async fn start<S, B>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("a socket");
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self(address)
    }

    /// A server that somebody else has started.
    pub fn at(address: SocketAddr) -> Self {
        Self(address)
    }

    pub fn port(self) -> u16 {
        self.0.port()
    }

    pub async fn stream(self) -> TcpStream {
        let stream = TcpStream::connect(self.0).await.expect("the server accepts");
        stream.set_nodelay(true).expect("a socket");
        stream
    }

    pub async fn connect(self) -> Connection {
        Connection(BufReader::new(self.stream().await))
    }

    /// One request on a connection of its own.
    pub async fn send(self, request: impl Into<Vec<u8>>) -> Answer {
        let mut connection = self.connect().await;
        connection.write(request).await;
        connection.read().await
    }

    /// The same where the server may not be there, or end before it has answered.
    pub async fn try_send(self, request: impl Into<Vec<u8>>) -> Option<Answer> {
        let stream = TcpStream::connect(self.0).await.ok()?;
        let mut connection = Connection(BufReader::new(stream));
        connection.write(request).await;
        connection.read_answer().await
    }
}

/// One connection of the client.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Sends literal bytes.
    pub async fn write(&mut self, bytes: impl Into<Vec<u8>>) {
        // A server that refuses a request early may close before it has read all of it.
        drop(self.0.get_mut().write_all(&bytes.into()).await);
    }

    /// Sends nothing more.
    pub async fn finish(&mut self) {
        self.0.get_mut().shutdown().await.expect("an open socket");
    }

    /// Reads one answer, interim ones included.
    pub async fn read(&mut self) -> Answer {
        self.try_read().await.expect("an answer")
    }

    /// Reads one answer, or `None` where the server closes without one.
    pub async fn try_read(&mut self) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.read_answer()).await.expect("an answer in time")
    }

    /// Reads the status line and the header lines only.
    pub async fn read_head(&mut self) -> Option<Answer> {
        let start = self.line().await?;
        let status = std::str::from_utf8(start.split(|byte| *byte == b' ').nth(1)?).ok()?;
        let status = status.parse().expect("a status");
        let headers = self.fields().await?;
        Some(Answer { status, headers, ..Answer::default() })
    }

    /// Reads what there is of the body, at most `limit` bytes.
    pub async fn read_some(&mut self, limit: usize) -> Vec<u8> {
        let mut buffer = vec![0; limit];
        let read = tokio::time::timeout(PATIENCE, self.0.read(&mut buffer)).await;
        buffer.truncate(read.expect("bytes in time").expect("an open socket"));
        buffer
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        let mut answer = self.read_head().await?;
        if matches!(answer.status, 100..200 | 204 | 304) {
            return Some(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let line = String::from_utf8(self.line().await?).expect("a chunk's size");
                let size = usize::from_str_radix(&line, 16).expect("a chunk's size");
                if size == 0 {
                    break;
                }
                let mut chunk = vec![0; size + 2];
                self.0.read_exact(&mut chunk).await.ok()?;
                answer.body.extend_from_slice(&chunk[..size]);
            }
            answer.trailers = self.fields().await?;
        } else if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().expect("a length")];
            self.0.read_exact(&mut answer.body).await.ok()?;
        } else {
            self.finish().await;
            self.0.read_to_end(&mut answer.body).await.ok()?;
        }
        Some(answer)
    }

    async fn fields(&mut self) -> Option<Vec<(String, Vec<u8>)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(fields);
            }
            let colon = line.iter().position(|byte| *byte == b':').expect("a field");
            let name = String::from_utf8(line[..colon].to_vec()).expect("a field's name");
            fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).await.ok()?;
        line.strip_suffix(b"\r\n").map(<[u8]>::to_vec)
    }
}

/// A request of which every byte is known.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub target: String,
    pub lines: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

pub fn ask(method: &str, target: &str) -> Ask {
    Ask { method: method.into(), target: target.into(), lines: Vec::new(), body: Vec::new() }
}

pub fn post(target: &str) -> Ask {
    ask("POST", target)
}

/// A POST request to `/` with this key.
pub fn keyed(key: &str) -> Ask {
    post("/").key(key)
}

impl Ask {
    pub fn key(self, key: impl AsRef<[u8]>) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.lines.push((name.into(), value.as_ref().into()));
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().into();
        self
    }

    /// The bytes with a body in chunks instead of one with a length, and these trailers.
    pub fn chunked(&self, chunks: &[&str], trailers: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = self.head("transfer-encoding: chunked\r\n");
        let mut rest = String::new();
        for chunk in chunks {
            write!(rest, "{:x}\r\n{chunk}\r\n", chunk.len()).expect("a string");
        }
        rest.push_str("0\r\n");
        for (name, value) in trailers {
            write!(rest, "{name}: {value}\r\n").expect("a string");
        }
        rest.push_str("\r\n");
        bytes.extend_from_slice(rest.as_bytes());
        bytes
    }

    /// The bytes without the body, and with further lines.
    pub fn head(&self, lines: &str) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nhost: test\r\n", self.method, self.target);
        bytes.push_str(lines);
        let mut bytes = bytes.into_bytes();
        for (name, value) in &self.lines {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

impl From<Ask> for Vec<u8> {
    fn from(ask: Ask) -> Self {
        Self::from(&ask)
    }
}

impl From<&Ask> for Vec<u8> {
    fn from(ask: &Ask) -> Self {
        let mut bytes = ask.head(&format!("content-length: {}\r\n", ask.body.len()));
        bytes.extend_from_slice(&ask.body);
        bytes
    }
}
