//! What servers say, as far as a proxy in front of them has to know it.

use std::collections::BTreeMap;

use super::resp::Message;

/// For the port of each server, the port of the proxy in front of it.
pub type Ports = BTreeMap<u16, u16>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Redis,
    Postgres,
}

impl Dialect {
    /// Takes one reply off the front, if all of it is there. Where servers tell the ports of each
    /// other, it tells those of the proxies.
    pub fn take(self, buffer: &mut Vec<u8>, ports: &Ports) -> Option<Vec<u8>> {
        match self {
            Self::Redis => Some(redirected(Message::take(buffer)?.bytes, ports)),
            Self::Postgres => up_to_ready(buffer),
        }
    }
}

/// Sentinels tell a port as a text, a Cluster as a number, and at the end of a line where it sends
/// elsewhere.
fn redirected(mut bytes: Vec<u8>, ports: &Ports) -> Vec<u8> {
    if ports.len() < 2 {
        return bytes;
    }
    for (server, proxy) in ports {
        for before in [":", "\n"] {
            let [told, instead] = [server, proxy].map(|port| format!("{before}{port}\r\n"));
            assert_eq!(told.len(), instead.len(), "a text says how long it is");
            let found =
                |bytes: &[u8]| bytes.windows(told.len()).position(|part| part == told.as_bytes());
            while let Some(place) = found(&bytes) {
                bytes[place..place + told.len()].copy_from_slice(instead.as_bytes());
            }
        }
    }
    bytes
}

/// All whole messages that are there, at most until the server says that it is ready again: others,
/// such as notifications, come without that.
fn up_to_ready(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut end = 0;
    while let Some(len) = buffer.get(end + 1..end + 5) {
        let len = u32::from_be_bytes(len.try_into().expect("four bytes"));
        let next = end + 1 + len as usize;
        if buffer.len() < next {
            break;
        }
        let ready = buffer[end] == b'Z';
        end = next;
        if ready {
            break;
        }
    }
    (end > 0).then(|| buffer.drain(..end).collect())
}

#[test]
fn the_ports_of_servers_are_told_as_those_of_their_proxies() {
    let ports = Ports::from([(10_001, 40_001), (10_002, 40_002)]);
    let take = |text: &str| {
        let taken = Dialect::Redis.take(&mut text.as_bytes().to_vec(), &ports);
        String::from_utf8(taken.expect("a whole reply")).expect("a text")
    };
    assert_eq!(take("*1\r\n:10001\r\n"), "*1\r\n:40001\r\n");
    assert_eq!(take("*2\r\n$4\r\nport\r\n$5\r\n10002\r\n"), "*2\r\n$4\r\nport\r\n$5\r\n40002\r\n");
    assert_eq!(take("-MOVED 7 127.0.0.1:10002\r\n"), "-MOVED 7 127.0.0.1:40002\r\n");
    assert_eq!(take("$7\r\n1000110\r\n"), "$7\r\n1000110\r\n");
}

#[test]
fn a_reply_of_postgres_ends_where_it_is_ready_or_nothing_more_is_there() {
    let message = |kind: u8| [kind, 0, 0, 0, 5, b'x'];
    let mut buffer = [message(b'C'), message(b'Z'), message(b'A')].concat();
    buffer.push(b'C');
    let mut take = || Dialect::Postgres.take(&mut buffer, &Ports::new());
    assert_eq!(take(), Some([message(b'C'), message(b'Z')].concat()));
    assert_eq!(take(), Some(message(b'A').to_vec()));
    assert_eq!(take(), None);
}
