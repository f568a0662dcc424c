//! Header stripping: an arbitrary answer of a handler goes through the layer, and what the first
//! client gets is compared with what a retry gets.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Result, Unstructured};
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tower_idempotency::{IdempotencyLayer, MemoryStore, Policy, Tenant, Verdict};
use tower_idempotency_fuzz::exchange::{Answer, Asked, ask, block_on};
use tower_idempotency_fuzz::planted;

/// Names with a meaning of their own, and some without.
#[rustfmt::skip]
const NAMES: [&str; 36] = [
    "age", "alt-svc", "authentication-info", "cache-control", "connection", "content-length",
    "content-type", "date", "etag", "expires", "idempotency-status", "idempotent-replayed",
    "keep-alive", "link", "location", "proxy-authenticate", "proxy-authentication-info",
    "proxy-connection", "ratelimit-policy", "request-id", "retry-after", "server-timing",
    "set-cookie", "set-cookie2", "te", "traceparent", "trailer", "transfer-encoding", "upgrade",
    "www-authenticate", "x-b3-traceid", "x-datadog-trace-id", "x-dropped", "x-kept",
    "x-ratelimit-limit", "x-request-id",
];

/// Never stored, whatever the settings.
#[rustfmt::skip]
const HOP_BY_HOP: [&str; 7] = [
    "connection", "content-length", "keep-alive", "proxy-connection", "te", "transfer-encoding",
    "upgrade",
];

/// Not stored unless they are kept, and neither are names that start with those below.
#[rustfmt::skip]
const OF_ONE_MESSAGE: [&str; 15] = [
    "alt-svc", "authentication-info", "date", "idempotency-status", "idempotent-replayed",
    "proxy-authenticate", "proxy-authentication-info", "request-id", "server-timing", "set-cookie",
    "set-cookie2", "traceparent", "www-authenticate", "x-dropped", "x-request-id",
];

const FAMILIES: [&str; 4] = ["ratelimit", "x-b3-", "x-datadog-", "x-ratelimit"];

/// What is kept where that is asked for. Half of it is out of reach of that setting.
const KEPT: [&str; 4] = ["connection", "date", "set-cookie", "te"];

/// What only the layer may say.
const OF_THE_LAYER: [&str; 2] = ["idempotency-status", "idempotent-replayed"];

/// What a replay says of itself.
const COMPUTED: [&str; 3] = ["age", "content-length", "idempotent-replayed"];

fuzz_target!(|data: &[u8]| {
    let _ = check(&mut Unstructured::new(data));
});

fn check(u: &mut Unstructured<'_>) -> Result<()> {
    let status = StatusCode::from_u16(u.int_in_range(200..=599)?).expect("a status");
    let keeps: bool = u.arbitrary()?;
    let headers = fields(u)?;
    let trailers = if u.arbitrary()? { Some(fields(u)?) } else { None };
    let answer = Answer { status, headers, body: Vec::arbitrary(u)?.into(), trailers };

    let mut policy = Policy::new().drop_headers([HeaderName::from_static("x-dropped")]);
    if keeps {
        policy = policy.keep_headers(KEPT.map(HeaderName::from_static));
    }
    if planted::is("set-cookie2-is-stored") {
        policy = policy.keep_headers([HeaderName::from_static("set-cookie2")]);
    }
    let layer = IdempotencyLayer::builder(MemoryStore::new(), Tenant::single()).policy(policy);
    let layer = layer.build().expect("valid settings");
    block_on(async {
        let first = ask(&layer, "", &answer).await;
        let mut second = ask(&layer, "", &answer).await;
        if planted::is("repeats-are-lost") {
            second.headers = last_of_each(&second.headers);
        }
        compare_first(&answer, &first);
        compare_second(&answer, keeps, &second);
    });
    Ok(())
}

/// What is left where a later value takes the place of an earlier one.
fn last_of_each(fields: &HeaderMap) -> HeaderMap {
    let mut last = HeaderMap::new();
    for (name, value) in fields {
        last.insert(name, value.clone());
    }
    last
}

fn fields(u: &mut Unstructured<'_>) -> Result<HeaderMap> {
    let mut fields = HeaderMap::new();
    for _ in 0..u.int_in_range(0..=8)? {
        let name = *u.choose(&NAMES)?;
        let value = match u.int_in_range(0..=3)? {
            0 => (*u.choose(&NAMES)?).as_bytes().to_vec(),
            1 => format!(" {} ,close, {}", u.choose(&NAMES)?, u.choose(&NAMES)?.to_uppercase())
                .into_bytes(),
            _ => u.arbitrary::<&[u8]>()?.to_vec(),
        };
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            fields.append(HeaderName::from_static(name), value);
        }
    }
    Ok(fields)
}

/// The first client gets what the handler said, but for what only the layer may say.
fn compare_first(answer: &Answer, first: &Asked) {
    assert!(first.ran);
    assert_eq!(first.status, answer.status);
    assert_eq!(lists(&first.headers, &OF_THE_LAYER), lists(&answer.headers, &OF_THE_LAYER));
    for name in OF_THE_LAYER {
        assert!(!first.headers.contains_key(name), "{name} of a handler is passed on");
    }
    if !is_empty(answer.status) {
        assert_eq!(first.body, answer.body);
    }
}

/// A retry gets the same without what belongs to one message, or runs because nothing was executed.
fn compare_second(answer: &Answer, keeps: bool, second: &Asked) {
    let verdict = Policy::default_verdict(answer.status, &answer.headers);
    assert_eq!(second.ran, verdict == Verdict::NotExecuted);
    if second.ran {
        return;
    }
    let headers = stored(&answer.headers, &answer.headers, keeps);
    if second.is_problem() {
        // A stream: the record has only what helps to find the result.
        assert_eq!(second.status, StatusCode::CONFLICT);
        for name in ["location", "etag"] {
            assert!(second.headers.get_all(name).iter().eq(headers.get_all(name)), "{name}");
        }
        return;
    }
    assert_eq!(second.status, answer.status);
    assert_eq!(second.headers["idempotent-replayed"], "true");
    assert_eq!(lists(&second.headers, &COMPUTED), lists(&headers, &COMPUTED), "the replay");
    if is_empty(answer.status) {
        assert!(second.body.is_empty() && second.trailers.is_none());
        return;
    }
    assert_eq!(second.body, answer.body);
    let trailers = answer.trailers.clone().unwrap_or_default();
    let trailers = stored(&trailers, &answer.headers, keeps);
    let replayed = second.trailers.clone().unwrap_or_default();
    assert_eq!(lists(&replayed, &[]), lists(&trailers, &[]), "the trailers of the replay");
}

/// The fields, or trailers, that outlive a message with these headers: not those of its connection
/// (RFC 9110, section 7.6.1), and not those that are made for one message or client.
fn stored(fields: &HeaderMap, headers: &HeaderMap, keeps: bool) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all("connection")
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase())
        .collect();
    let is_stored = |name: &str| {
        let is_kept = keeps && KEPT.contains(&name) && !OF_THE_LAYER.contains(&name);
        let is_of_one_message = OF_ONE_MESSAGE.contains(&name)
            || FAMILIES.iter().any(|family| name.starts_with(family));
        !HOP_BY_HOP.contains(&name)
            && !named.iter().any(|named| named == name)
            && (is_kept || !is_of_one_message)
    };
    let fields = fields.iter().filter(|(name, _)| is_stored(name.as_str()));
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Each name with all its values in order, but for some names.
fn lists<'a>(fields: &'a HeaderMap, but: &[&str]) -> BTreeMap<&'a str, Vec<&'a HeaderValue>> {
    let names = fields.keys().map(HeaderName::as_str).filter(|name| !but.contains(name));
    names.map(|name| (name, fields.get_all(name).iter().collect())).collect()
}

/// Responses of these have no content.
fn is_empty(status: StatusCode) -> bool {
    [204, 205, 304].contains(&status.as_u16())
}
