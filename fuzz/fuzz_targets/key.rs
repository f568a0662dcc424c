//! Key parsing: every value of a header line, under all three forms, against the parser of
//! structured fields and a list of octets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_idempotency::protocol::{IdempotencyKey, InvalidKey, KeySyntax};
use tower_idempotency_fuzz::planted;

const MIN: usize = 3;
const MAX: usize = 40;

fuzz_target!(|value: &[u8]| {
    let quoted = value.first() == Some(&b'"');
    let forms = [
        (KeySyntax::either(), if quoted { string(value) } else { bare(value) }),
        (
            KeySyntax::string_only(),
            if quoted { string(value) } else { Err(InvalidKey::NotAString) },
        ),
        (KeySyntax::bare_only(), bare(value)),
    ];
    for (syntax, key) in forms {
        let key = if value.is_empty() { Err(InvalidKey::Empty) } else { key };
        check(value, &syntax, key.clone(), 1, 255);
        check(value, &syntax.length(MIN..=MAX), key, MIN, MAX);
    }
});

fn check(
    value: &[u8],
    syntax: &KeySyntax,
    key: Result<String, InvalidKey>,
    min: usize,
    max: usize,
) {
    let expected = key.and_then(|key| match key.len() {
        0 => Err(InvalidKey::Empty),
        len if len < min => Err(InvalidKey::TooShort { min }),
        len if len > max => Err(InvalidKey::TooLong { max }),
        _ => Ok(key),
    });
    let parsed = parse(value, syntax);
    assert_eq!(parsed.clone().map(|key| key.as_str().to_owned()), expected);
    let Ok(key) = parsed else { return };
    assert_eq!(format!("{key:?}"), "IdempotencyKey(..)");
    let again = parse(written(key.as_str()).as_bytes(), &KeySyntax::either());
    assert_eq!(again.as_ref(), Ok(&key), "a key that is written as a string is another key");
    if bare(key.as_str().as_bytes()).is_ok() {
        let again = parse(key.as_str().as_bytes(), &KeySyntax::either());
        assert_eq!(again, Ok(key), "a key without quotes is another key");
    }
}

/// What is judged, or what is wrong with it.
fn parse(value: &[u8], syntax: &KeySyntax) -> Result<IdempotencyKey, InvalidKey> {
    if planted::is("parameters-are-ignored") && value.first() == Some(&b'"') {
        let end = value.iter().rposition(|byte| *byte == b'"').expect("there is one");
        return IdempotencyKey::parse(&value[..=end], syntax);
    }
    if planted::is("case-is-folded") {
        return IdempotencyKey::parse(&value.to_ascii_lowercase(), syntax);
    }
    IdempotencyKey::parse(value, syntax)
}

/// What a whole item (RFC 9651, section 4.2.3) has for a value, where that is a string.
fn string(value: &[u8]) -> Result<String, InvalidKey> {
    match sfv::Parser::new(value).parse::<sfv::Item>() {
        Ok(sfv::Item { bare_item: sfv::BareItem::String(string), .. }) => {
            Ok(string.as_str().to_owned())
        }
        _ => Err(InvalidKey::NotAString),
    }
}

fn bare(value: &[u8]) -> Result<String, InvalidKey> {
    let text = value.iter().map(|byte| char::from(*byte)).collect::<String>();
    let is_octet = |c: char| c.is_ascii_graphic() && !r#"",;\"#.contains(c);
    if text.chars().all(is_octet) { Ok(text) } else { Err(InvalidKey::InvalidOctet) }
}

/// A string in its quotes (RFC 9651, section 4.1.6).
fn written(key: &str) -> String {
    format!("\"{}\"", key.replace('\\', r"\\").replace('"', r#"\""#))
}
