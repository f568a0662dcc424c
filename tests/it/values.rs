//! What the values of the protocol say of themselves: texts, and nothing that is secret.

use std::collections::HashSet;
use std::hash::BuildHasher as _;

use bytes::Bytes;
use tower_idempotency::protocol::{
    FenceToken, Field, Fields, Fingerprint, Fingerprinter, IdempotencyKey, InvalidKey,
    InvalidRecord, KeySyntax, Nonce, Outcome, RequestParts, Scheme, Secret, Slot, Timestamp,
};

#[test]
fn errors_say_what_is_wrong() {
    let texts = [
        (InvalidKey::Empty, "the key is empty"),
        (InvalidKey::TooShort { min: 3 }, "the key has fewer than 3 octets"),
        (InvalidKey::TooLong { max: 9 }, "the key has more than 9 octets"),
        (InvalidKey::NotAString, "the value is not a structured-field string"),
        (InvalidKey::Repeated, "exactly one header line may carry a key"),
        (InvalidKey::Refused, "this service does not accept keys of this form"),
    ];
    for (error, text) in texts {
        assert_eq!(error.to_string(), text);
    }
    assert!(InvalidKey::InvalidOctet.to_string().contains("visible ASCII"));
    assert!(InvalidRecord::Unsupported.to_string().contains("newer release"));
    assert!(InvalidRecord::Corrupt.to_string().contains("not an idempotency record"));
}

#[test]
fn a_key_without_octets_is_empty_whatever_its_length_may_be() {
    for syntax in [KeySyntax::either(), KeySyntax::string_only().length(0..=9)] {
        assert_eq!(IdempotencyKey::parse(b"", &syntax), Err(InvalidKey::Empty));
        assert_eq!(IdempotencyKey::parse(b"\"\"", &syntax), Err(InvalidKey::Empty));
    }
}

#[test]
fn debug_names_a_value_and_shows_nothing_of_it() {
    let key = IdempotencyKey::parse(b"s3cr3t", &KeySyntax::either()).expect("a key");
    let raw = Scheme::raw();
    let scheme = "Scheme { kind: 1, version: 1, headers: None }";
    let parts = RequestParts { method: "POST", path: "/s3cr3t", ..RequestParts::default() };
    let value = Bytes::from_static(b"s3cr3t");
    let field = Field { name: value.clone(), value, sensitive: false };
    let texts = [
        (format!("{key:?}"), "IdempotencyKey(..)".to_owned()),
        (format!("{:?}", Secret::new(b"s3cr3t")), "Secret(..)".to_owned()),
        (format!("{:?}", Nonce::from_bytes([0xab; 16])), "Nonce(abab..)".to_owned()),
        (format!("{:?}", Slot::from_bytes([0xab; 32])), "Slot(abababababababab)".to_owned()),
        (format!("{parts:?}"), "RequestParts { method: \"POST\", .. }".to_owned()),
        (
            format!("{:?}", Fingerprint::new(raw.clone(), [7; 32])),
            format!("Fingerprint {{ scheme: {scheme}, .. }}"),
        ),
        (
            format!("{:?}", Fingerprinter::new(raw, None, &parts, [])),
            format!("Fingerprinter {{ scheme: {scheme}, .. }}"),
        ),
        (format!("{field:?}"), "Field(..)".to_owned()),
        (format!("{:?}", fields()), "Fields(13 bytes)".to_owned()),
        (format!("{:?}", response()), "Response { status: 201, size: 30, .. }".to_owned()),
        (format!("{:?}", tombstone()), "Tombstone { status: 303, size: 13, .. }".to_owned()),
        (format!("{:?}", Timestamp::from_micros(7)), "7us".to_owned()),
    ];
    for (shown, text) in texts {
        assert_eq!(shown, text);
    }
    assert_eq!(FenceToken::from_number(17).to_string(), "17");
}

#[test]
fn an_outcome_tells_its_status_and_its_size() {
    assert_eq!((response().status(), response().size()), (201, 30));
    assert_eq!((tombstone().status(), tombstone().size()), (303, 13));
}

/// Two lengths of a byte each, and 11 bytes.
fn fields() -> Fields {
    [("token", "s3cr3t")].into_iter().collect()
}

fn response() -> Outcome {
    let body = Bytes::from_static(b"body");
    Outcome::Response { status: 201, headers: fields(), body, trailers: fields() }
}

fn tombstone() -> Outcome {
    Outcome::Tombstone { status: 303, headers: fields() }
}

#[test]
fn a_field_stays_as_sensitive_as_it_was() {
    let fields: Fields = [("a", "1", true), ("bc", "2", false), ("", "3", true)]
        .into_iter()
        .chain([("", "", false)])
        .collect();
    let told: Vec<_> = fields.iter().map(|field| (field.name, field.sensitive)).collect();
    let name = |text: &'static str| Bytes::from_static(text.as_bytes());
    let same = [(name("a"), true), (name("bc"), false), (name(""), true), (name(""), false)];
    assert_eq!(told, same);
}

#[test]
fn addresses_spread_over_a_table() {
    let table = std::hash::RandomState::new();
    let hashes: HashSet<_> = (0..100).map(|n| table.hash_one(Slot::from_bytes([n; 32]))).collect();
    assert_eq!(hashes.len(), 100);
}
