//! Values of somebody else under a key of ours.

use redis::Value;
use tower_idempotency::store::{Effect, ErrorKind};

use super::{all_verbs, key, recorded_bytes, slot};
use crate::support::redis::shared;

#[tokio::test]
async fn what_is_not_a_record_is_an_error_and_is_never_written_over() {
    let whole = recorded_bytes().await;
    let damaged = [&whole[..whole.len() - 1], b"!"].concat();
    let later = [&[0xE2], &whole[1..]].concat();
    for (value, kind) in [
        (&b""[..], ErrorKind::Corrupt),
        (b"{\"status\":200}", ErrorKind::Corrupt),
        (&whole[..40], ErrorKind::Corrupt),
        (&damaged, ErrorKind::Corrupt),
        (&later, ErrorKind::Unsupported),
        (&later[..8], ErrorKind::Unsupported),
    ] {
        let (server, slot) = (shared(), slot());
        let key = key("idempotency", slot);
        server.command(&[b"SET", &key, value]).expect("the value is set");
        for error in all_verbs(&server.store(), slot).await {
            assert_eq!((error.kind(), error.effect()), (kind, Effect::None), "{error:?}");
        }
        let left = server.command(&[b"GET", &key]);
        assert_eq!(left, Ok(Value::BulkString(value.to_vec())));
        assert_eq!(server.command(&[b"PTTL", &key]), Ok(Value::Int(-1)));
    }
}

#[tokio::test]
async fn a_value_of_another_type_is_an_error() {
    let (server, slot) = (shared(), slot());
    let key = key("idempotency", slot);
    server.command(&[b"RPUSH", &key, b"a"]).expect("the list is made");
    for error in all_verbs(&server.store(), slot).await {
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Corrupt, Effect::None));
    }
    assert_eq!(server.command(&[b"LLEN", &key]), Ok(Value::Int(1)));
}
