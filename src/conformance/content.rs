//! What is stored.

use bytes::Bytes;

use crate::protocol::{Fields, Outcome};

#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Empty,
    Text(&'static str),
    /// This many bytes, of every value.
    Bytes(usize),
    /// Repeated fields in order, trailers, and values that are not text.
    AllFields,
    /// Fields with the mark that keeps them out of logs.
    Sensitive,
    /// Hundreds of fields, and a large one.
    ManyFields,
    /// This status, and nothing else.
    Status(u16),
    /// A body that looks like what a store might write itself.
    Record,
    Tombstone,
    BareTombstone,
}

impl Content {
    pub(super) fn outcome(self) -> Outcome {
        let none = Fields::none;
        match self {
            Self::Empty => response(none(), "", none()),
            Self::Text(text) => response(none(), text, none()),
            Self::Bytes(len) => {
                let every: Vec<u8> = (0..=255).collect();
                let mut body = every.repeat(len / every.len() + 1);
                body.truncate(len);
                response(none(), body, none())
            }
            Self::AllFields => response(
                [("b", &b"1"[..]), ("a", b"\xff\0\r\n"), ("b", b""), ("b", b"1")]
                    .into_iter()
                    .collect(),
                &b"\0\xfe$-1\r\n"[..],
                [("grpc-status", "0"), ("a", "é")].into_iter().collect(),
            ),
            Self::Sensitive => response(
                [("set-cookie", "id=1", true), ("etag", "1", false)].into_iter().collect(),
                "",
                [("x-secret", "2", true)].into_iter().collect(),
            ),
            Self::ManyFields => {
                let large = "v".repeat(16 << 10);
                let small = (0..300).map(|number| (format!("x-{number}"), number.to_string()));
                let all = small.chain([("x-large".to_owned(), large)]);
                response(all.collect(), "many", none())
            }
            Self::Status(status) => {
                Outcome::Response { status, headers: none(), body: Bytes::new(), trailers: none() }
            }
            Self::Record => response(none(), &b"\xe1\x02{\"a\":'1'}\\;--\0NULL"[..], none()),
            Self::Tombstone => Outcome::Tombstone {
                status: 303,
                headers: [("location", "/charges/7")].into_iter().collect(),
            },
            Self::BareTombstone => Outcome::Tombstone { status: 200, headers: none() },
        }
    }
}

fn response(headers: Fields, body: impl Into<Bytes>, trailers: Fields) -> Outcome {
    Outcome::Response { status: 201, headers, body: body.into(), trailers }
}
