//! Arbitrary records.

use arbitrary::{Result, Unstructured};
use tower_idempotency::protocol::{
    FenceToken, Fields, Fingerprint, Nonce, Outcome, Phase, Record, Scheme, Timestamp,
};

pub fn record(u: &mut Unstructured<'_>) -> Result<Record> {
    Ok(Record {
        fingerprint: fingerprint(u)?,
        nonce: nonce(u)?,
        fence: FenceToken::from_number(u.arbitrary()?),
        attempt: u.arbitrary()?,
        phase: match u.int_in_range(0..=2)? {
            0 => Phase::InProgress { lease_until: moment(u)? },
            1 => Phase::Completed { at: moment(u)?, outcome: outcome(u)? },
            _ => Phase::Released,
        },
        expires: moment(u)?,
    })
}

/// One of few fingerprints, so that two of them are often equal.
pub fn fingerprint(u: &mut Unstructured<'_>) -> Result<Fingerprint> {
    let scheme = match u.int_in_range(0..=3)? {
        0 => Scheme::raw(),
        1 => Scheme::json(),
        2 => Scheme::custom(u.arbitrary()?),
        _ => Scheme::raw().with_headers(u.arbitrary::<Vec<&str>>()?),
    };
    Ok(Fingerprint::new(scheme, [u.arbitrary::<u8>()? % 2; 32]))
}

/// One of four nonces.
pub fn nonce(u: &mut Unstructured<'_>) -> Result<Nonce> {
    Ok(Nonce::from_bytes([u.arbitrary::<u8>()? % 4; 16]))
}

/// A moment near another one, or any.
pub fn moment(u: &mut Unstructured<'_>) -> Result<Timestamp> {
    let micros = if u.ratio(3, 4)? { u.arbitrary::<u8>()?.into() } else { u.arbitrary()? };
    Ok(Timestamp::from_micros(micros))
}

pub fn outcome(u: &mut Unstructured<'_>) -> Result<Outcome> {
    let status = u.int_in_range(100..=999)?;
    let headers = fields(u)?;
    Ok(if u.arbitrary()? {
        let (trailers, body) = (fields(u)?, u.arbitrary::<Vec<u8>>()?.into());
        Outcome::Response { status, headers, body, trailers }
    } else {
        Outcome::Tombstone { status, headers }
    })
}

fn fields(u: &mut Unstructured<'_>) -> Result<Fields> {
    Ok(u.arbitrary::<Vec<(&[u8], &[u8], bool)>>()?.into_iter().collect())
}
