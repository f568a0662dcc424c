//! What a store with a fault makes of an outcome.

use bytes::Bytes;
use tower_idempotency::protocol::{Field, Fields, Outcome};

use crate::faults::Fault;

/// What is kept instead of this outcome.
pub fn kept(fault: Fault, outcome: &Outcome) -> Outcome {
    match outcome.clone() {
        Outcome::Response { status, headers, body, trailers } => Outcome::Response {
            status: kept_status(fault, status),
            headers: kept_fields(fault, &headers),
            body: kept_body(fault, body),
            trailers: match fault {
                Fault::LosesTrailers => Fields::none(),
                _ => trailers,
            },
        },
        Outcome::Tombstone { status, headers } if fault == Fault::ReplaysATombstone => {
            Outcome::Response { status, headers, body: Bytes::new(), trailers: Fields::none() }
        }
        outcome => outcome,
    }
}

/// An outcome without its body.
pub fn half(outcome: &Outcome) -> Outcome {
    match outcome.clone() {
        Outcome::Response { status, headers, trailers, .. } => {
            Outcome::Response { status, headers, body: Bytes::new(), trailers }
        }
        outcome => outcome,
    }
}

fn kept_status(fault: Fault, status: u16) -> u16 {
    match fault {
        Fault::KnowsStatusesFrom200 => status.max(200),
        Fault::KnowsStatusesTo599 => status.min(599),
        _ => status,
    }
}

fn kept_body(fault: Fault, mut body: Bytes) -> Bytes {
    match fault {
        Fault::CutsABodyByAByte if body.len() == 4015 => body.truncate(4014),
        Fault::CutsALargeBody => body.truncate(64 << 10),
        Fault::CutsAVeryLargeBody => body.truncate(1 << 20),
        Fault::KeepsBodiesAsText => return text(&body).into(),
        _ => {}
    }
    body
}

fn kept_fields(fault: Fault, fields: &Fields) -> Fields {
    let mut kept: Vec<Field> = fields.iter().collect();
    match fault {
        Fault::SortsFields => kept.sort_by(|one, other| one.name.cmp(&other.name)),
        Fault::KeepsOneFieldOfAName => {
            let mut names = Vec::new();
            kept.retain(|field| {
                let new = !names.contains(&field.name);
                names.push(field.name.clone());
                new
            });
        }
        Fault::KeepsValuesAsText => {
            kept.iter_mut().for_each(|field| field.value = text(&field.value).into());
        }
        Fault::KeepsAHundredFields => kept.truncate(100),
        Fault::LosesTheMarkOfAField => kept.iter_mut().for_each(|field| field.sensitive = false),
        _ => return fields.clone(),
    }
    kept.iter().map(|field| (&field.name, &field.value, field.sensitive)).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
