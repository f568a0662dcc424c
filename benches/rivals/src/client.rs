//! One connection of a client that costs little beside the server: requests are written from a template,
//! and answers are read until their length is reached.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A `POST` of this body, with a key of a number.
#[derive(Clone)]
pub(crate) struct Question {
    text: Vec<u8>,
    key: usize,
    session: usize,
}

/// How many digits a number has in a key, and in the name of a session.
const DIGITS: usize = 11;

impl Question {
    pub(crate) fn post(path: &str, body: &[u8]) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nidempotency-key: 0b7e4d5a-9c1f-4e9d-8a54-0"
        );
        let key = head.len();
        // Everybody is sent a session, which one of the rivals demands: 16 bytes in base64.
        let session = format!("{:0>DIGITS$}\r\ncookie: session=AAAAAAAAAA", 0);
        let rest = format!(
            "{:0>DIGITS$}A\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            0,
            body.len()
        );
        let text = [head.as_bytes(), session.as_bytes(), rest.as_bytes(), body].concat();
        Self { session: key + session.len(), text, key }
    }

    fn number(&mut self, number: u64) -> &[u8] {
        let digits = format!("{number:0>DIGITS$}");
        for place in [self.key, self.session] {
            self.text[place..place + DIGITS].copy_from_slice(digits.as_bytes());
        }
        &self.text
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) replayed: bool,
    length: usize,
}

pub(crate) struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Vec::new() })
    }

    pub(crate) async fn ask(&mut self, question: &mut Question, number: u64) -> io::Result<Answer> {
        self.socket.write_all(question.number(number)).await?;
        self.answer().await
    }

    /// The body of a `GET`.
    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let text = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.socket.write_all(text.as_bytes()).await?;
        self.answer().await?;
        Ok(self.body().to_vec())
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        let head = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
        &self.buffer[head.map_or(0, |head| head + 4)..]
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        self.buffer.clear();
        loop {
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((head, answer)) = parse(&self.buffer)? {
                let whole = head + answer.length;
                self.buffer.reserve(whole.saturating_sub(self.buffer.len()));
                while self.buffer.len() < whole {
                    if self.socket.read_buf(&mut self.buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                return Ok(answer);
            }
        }
    }
}

/// The length of a head, once it is whole, and what it says.
fn parse(text: &[u8]) -> io::Result<Option<(usize, Answer)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
    let httparse::Status::Complete(head) = response.parse(text).map_err(invalid)? else {
        return Ok(None);
    };
    let mut answer =
        Answer { status: response.code.unwrap_or_default(), replayed: false, length: 0 };
    for header in response.headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = str::from_utf8(header.value).ok().and_then(|text| text.parse().ok());
            answer.length = length.ok_or(io::ErrorKind::InvalidData)?;
        } else if is("idempotent-replayed") || is("idempotency-replayed") {
            answer.replayed = header.value == b"true";
        }
    }
    Ok(Some((head, answer)))
}
