//! Record decoding: no bytes make it panic, what it reads is written again as the same bytes, and
//! what a later release wrote is not taken for damage.
#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use tower_idempotency::protocol::{
    Fields, HEADER_LEN, InvalidRecord, Outcome, Phase, RECORD_VERSION, Record, Timestamp,
};
use tower_idempotency_fuzz::{planted, records};

fuzz_target!(|data: &[u8]| {
    read(data);
    // No fuzzer guesses a checksum, so what lies behind it would never be reached.
    if let Some(data) = with_checksum(data) {
        read(&data);
    }
    let Ok(record) = records::record(&mut Unstructured::new(data)) else { return };
    let bytes = record.encode();
    assert_eq!(Record::decode(bytes, record.expires).as_ref(), Ok(&record));
});

fn read(data: &[u8]) {
    let decoded = decode(data);
    match data.first() {
        Some(&RECORD_VERSION) => {}
        Some(later) if (0xE2..=0xEF).contains(later) => {
            assert_eq!(decoded, Err(InvalidRecord::Unsupported));
        }
        Some(0xE0) => assert!(decoded.is_err()),
        _ => assert_eq!(decoded, Err(InvalidRecord::Corrupt)),
    }
    let Ok(record) = decoded else { return };
    assert!(record.encode() == data, "read, and written as other bytes: {record:?}");
    if let Phase::Completed { outcome, .. } = &record.phase {
        let (headers, trailers) = match outcome {
            Outcome::Response { headers, trailers, .. } => (headers.clone(), trailers.clone()),
            Outcome::Tombstone { headers, .. } => (headers.clone(), Fields::none()),
            _ => unreachable!("there is no other outcome"),
        };
        for fields in [headers, trailers] {
            let again: Fields = fields.iter().map(|f| (f.name, f.value, f.sensitive)).collect();
            assert!(again == fields, "fields are lost");
        }
    }
}

/// What is judged, or what is wrong with it.
fn decode(data: &[u8]) -> Result<Record, InvalidRecord> {
    let put_right = if planted::is("checksum-is-ignored") { with_checksum(data) } else { None };
    let data = put_right.unwrap_or_else(|| data.to_vec());
    Record::decode(data.into(), Timestamp::NEVER).map_err(|error| {
        if planted::is("later-is-corrupt") { InvalidRecord::Corrupt } else { error }
    })
}

/// The same bytes with the checksum that they should have.
fn with_checksum(data: &[u8]) -> Option<Vec<u8>> {
    let mut at = HEADER_LEN;
    let names = *data.get(at)?;
    at += 1;
    for _ in 0..names {
        at += 1 + usize::from(*data.get(at)?);
    }
    let checksum = crc32fast::hash(data.get(at + 4..)?);
    let mut data = data.to_vec();
    data[at..at + 4].copy_from_slice(&checksum.to_be_bytes());
    Some(data)
}
