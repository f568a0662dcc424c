//! The fingerprint of canonical JSON: two layouts of one document are one request, another value is
//! another request, and what is not JSON counts byte for byte.
#![no_main]

use arbitrary::{Result, Unstructured};
use http::{HeaderMap, StatusCode};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tower_idempotency::{FingerprintPolicy, IdempotencyLayer, MemoryStore, Policy, Tenant};
use tower_idempotency_fuzz::document::Document;
use tower_idempotency_fuzz::exchange::{Answer, ask, block_on};
use tower_idempotency_fuzz::planted;

fuzz_target!(|data: &[u8]| {
    bytes(data);
    let _ = documents(&mut Unstructured::new(data));
});

/// Two bodies with nothing in common but that they came from one input.
fn bytes(data: &[u8]) {
    let (first, second) = match data.iter().position(|byte| *byte == 0) {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, data),
    };
    let is_same = is_same_request(first, second);
    if first == second {
        assert!(is_same, "a retry is another request");
    } else if is_same {
        let [first, second] = [first, second].map(serde_json::from_slice::<Value>);
        let first = first.expect("what is not JSON counts byte for byte");
        assert!(is_equal(&first, &second.expect("JSON is equal to JSON only")));
    }
}

fn documents(u: &mut Unstructured<'_>) -> Result<()> {
    let document = Document::any(u)?;
    let (first, second) = (document.layout(u)?, document.layout(u)?);
    assert!(is_same_request(first.as_bytes(), second.as_bytes()), "{first}\n{second}");
    let changed = document.changed(u)?.layout(u)?;
    assert!(!is_same_request(first.as_bytes(), changed.as_bytes()), "{first}\n{changed}");
    // Of two members with one name nobody knows which one counts.
    let twice = [r#"{"a":1,"a":2}"#, r#"{"a":2}"#].map(|member| format!("[{first},{member}]"));
    assert!(!is_same_request(twice[0].as_bytes(), twice[1].as_bytes()), "{}", twice[0]);
    Ok(())
}

/// What is judged, or what is wrong with it: canonical JSON with some of its rules left out.
fn fingerprint() -> FingerprintPolicy {
    if planted::is("numbers-as-written") {
        return FingerprintPolicy::custom(1, |_, body| {
            let value = serde_json::from_slice::<Value>(body);
            value.map_or_else(|_| body.to_vec(), |value| value.to_string().into_bytes())
        });
    }
    if planted::is("white-space-counts") {
        return FingerprintPolicy::raw();
    }
    FingerprintPolicy::json()
}

/// Sends both under one key: the second one is either a retry or refused.
fn is_same_request(first: &[u8], second: &[u8]) -> bool {
    let policy = Policy::new().fingerprint(fingerprint());
    let layer = IdempotencyLayer::builder(MemoryStore::new(), Tenant::single()).policy(policy);
    let layer = layer.build().expect("valid settings");
    let answer = Answer {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: "done".into(),
        trailers: None,
    };
    block_on(async {
        assert!(ask(&layer, first.to_vec(), &answer).await.ran);
        let second = ask(&layer, second.to_vec(), &answer).await;
        assert!(!second.ran);
        match second.status.as_u16() {
            200 => true,
            422 => false,
            other => panic!("a second request gets {other}"),
        }
    })
}

/// Whether two documents have one canonical form, in which all numbers are doubles.
fn is_equal(first: &Value, second: &Value) -> bool {
    match (first, second) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let is_in_both = |(name, a)| b.get(name).is_some_and(|b| is_equal(a, b));
            a.len() == b.len() && a.iter().all(is_in_both)
        }
        _ => first == second,
    }
}
