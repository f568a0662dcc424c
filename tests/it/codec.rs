//! The binary form of records.

use bytes::Bytes;
use proptest::prelude::*;
use tower_idempotency::protocol::{
    FenceToken, Fields, Fingerprint, HEADER_LEN, InvalidRecord, Nonce, Outcome, Phase,
    RECORD_VERSION, Record, Scheme, Timestamp,
};

/// A completed record as release 0.1.0 wrote it: what every later release must read.
const GOLDEN: &str = "\
    e1020101\
    000663a3c5e32401\
    00000002\
    000663a3c5e54321\
    000102030405060708090a0b0c0d0e0f\
    202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\
    0108782d726567696f6e\
    252e7ec6\
    0100c9\
    1a106c6f636174696f6e0a2f636861726765732f37096c696e6b00\
    100e7472616365696407000102fffefd0a\
    7b226964223a377d";

#[test]
fn a_record_of_version_1_is_still_read() {
    let decoded = Record::decode(unhex(GOLDEN), Timestamp::NEVER);
    assert_eq!(decoded, Ok(golden()), "{}", hex(&golden().encode()));
}

#[test]
fn a_record_of_version_1_is_still_written() {
    assert_eq!(hex(&golden().encode()), GOLDEN);
}

#[test]
fn a_later_version_is_not_taken_for_damage() {
    for version in RECORD_VERSION + 1..=0xEF {
        let decoded = decode_with(0, version);
        assert_eq!(decoded, Err(InvalidRecord::Unsupported), "{version:#x}");
    }
}

#[test]
fn bytes_of_something_else_are_not_a_record() {
    for first in [0x00, b'{', 0x80, 0xDF, 0xF1, 0xFF] {
        assert_eq!(decode_with(0, first), Err(InvalidRecord::Corrupt), "{first:#x}");
    }
}

#[test]
fn an_unknown_phase_or_scheme_is_from_a_later_release() {
    for phase in (0..=255).filter(|phase| !(1..=3).contains(phase)) {
        assert_eq!(decode_with(1, phase), Err(InvalidRecord::Unsupported), "phase {phase}");
    }
    for kind in (0..=255).filter(|kind| !(1..=3).contains(kind)) {
        assert_eq!(decode_with(2, kind), Err(InvalidRecord::Unsupported), "scheme {kind}");
    }
}

#[test]
fn a_damaged_outcome_is_never_replayed() {
    let whole = golden().encode();
    // The scheme's headers precede the checksum; they are read, but never replayed.
    let checked = HEADER_LEN + 10..whole.len();
    for position in checked {
        let mut bytes = whole.to_vec();
        bytes[position] ^= 0x10;
        let decoded = Record::decode(bytes.into(), Timestamp::NEVER);
        assert_eq!(decoded, Err(InvalidRecord::Corrupt), "byte {position}");
    }
}

#[test]
fn a_truncated_record_is_corrupt() {
    for record in [golden(), Record { phase: Phase::Released, ..golden() }] {
        let whole = record.encode();
        for len in 0..whole.len() {
            let decoded = Record::decode(whole.slice(..len), Timestamp::NEVER);
            assert_eq!(decoded, Err(InvalidRecord::Corrupt), "{len} bytes");
        }
    }
}

#[test]
fn a_record_has_one_form() {
    let head = golden().encode().slice(..HEADER_LEN);
    let decode = |phase: u8, moment: u8, rest: &[u8]| {
        let mut bytes = [&head[..], rest].concat();
        bytes[1] = phase;
        bytes[16..24].fill(moment);
        Record::decode(bytes.into(), Timestamp::NEVER).map(|record| record.phase)
    };
    let lease_until = Timestamp::from_micros(u64::from_be_bytes([1; 8]));
    assert_eq!(decode(1, 1, &[0]), Ok(Phase::InProgress { lease_until }));
    assert_eq!(decode(1, 1, &[0x80, 0]), Err(InvalidRecord::Corrupt), "no names, in two bytes");
    assert_eq!(decode(3, 0, &[0]), Ok(Phase::Released));
    assert_eq!(decode(3, 1, &[0]), Err(InvalidRecord::Corrupt), "a tombstone with a moment");
}

#[test]
fn nothing_may_follow_a_record_nor_break_off_in_it() {
    let released = Record { phase: Phase::Released, ..golden() };
    let mut bytes = released.encode().to_vec();
    bytes.push(0);
    assert_eq!(Record::decode(bytes.into(), Timestamp::NEVER), Err(InvalidRecord::Corrupt));

    let completed = |outcome: &[u8]| {
        let mut bytes = released.encode().to_vec();
        bytes[1] = 2;
        bytes.extend(crc32fast::hash(outcome).to_be_bytes());
        bytes.extend(outcome);
        Record::decode(bytes.into(), Timestamp::NEVER).map(|_| ())
    };
    assert_eq!(completed(b"\x02\0\xc8\x08etag\x011"), Ok(()));
    assert_eq!(completed(b"\x02\0\xc8\x08etag\x02\x31"), Err(InvalidRecord::Corrupt));
    assert_eq!(completed(b"\x02\0\xc8\x0aetag"), Err(InvalidRecord::Corrupt));
    assert_eq!(completed(b"\x01\0\xc8\0\x04etag"), Err(InvalidRecord::Corrupt));
    assert_eq!(completed(b"\x03\0\xc8"), Err(InvalidRecord::Unsupported));
    for (status, reads) in [(99, false), (100, true), (999, true), (1000, false)] {
        let [high, low] = u16::to_be_bytes(status);
        assert_eq!(completed(&[2, high, low]).is_ok(), reads, "{status}");
    }
}

proptest! {
    #[test]
    fn every_record_survives_the_round_trip(record in records()) {
        let bytes = record.encode();
        prop_assert_eq!(Record::decode(bytes, record.expires), Ok(record));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Record::decode(bytes.into(), Timestamp::NEVER);
    }

    #[test]
    fn no_damage_makes_the_decoder_panic(
        record in records(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = record.encode().to_vec();
        for (position, byte) in damage {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        let _ = Record::decode(bytes.clone().into(), Timestamp::NEVER);
        bytes.truncate(end.index(bytes.len()));
        let _ = Record::decode(bytes.into(), Timestamp::NEVER);
    }
}

fn golden() -> Record {
    Record {
        fingerprint: Fingerprint::new(Scheme::raw().with_headers(["X-Region"]), counting(0x20)),
        nonce: Nonce::from_bytes(counting(0)),
        fence: FenceToken::from_number(0x0006_63a3_c5e3_2401),
        attempt: 2,
        phase: Phase::Completed {
            at: Timestamp::from_micros(0x0006_63a3_c5e5_4321),
            outcome: Outcome::Response {
                status: 201,
                headers: [("location", "/charges/7", false), ("link", "", true)]
                    .into_iter()
                    .collect(),
                body: Bytes::from_static(b"{\"id\":7}"),
                trailers: [(&b"traceid"[..], &b"\0\x01\x02\xff\xfe\xfd\n"[..])]
                    .into_iter()
                    .collect(),
            },
        },
        expires: Timestamp::NEVER,
    }
}

fn decode_with(position: usize, byte: u8) -> Result<Record, InvalidRecord> {
    let mut bytes = golden().encode().to_vec();
    bytes[position] = byte;
    Record::decode(bytes.into(), Timestamp::NEVER)
}

prop_compose! {
    fn records()(
        scheme in schemes(),
        digest in any::<[u8; 32]>(),
        nonce in any::<[u8; 16]>(),
        fence in any::<u64>(),
        attempt in any::<u32>(),
        phase in phases(),
        expires in any::<u64>(),
    ) -> Record {
        Record {
            fingerprint: Fingerprint::new(scheme, digest),
            nonce: Nonce::from_bytes(nonce),
            fence: FenceToken::from_number(fence),
            attempt,
            phase,
            expires: Timestamp::from_micros(expires),
        }
    }
}

fn schemes() -> impl Strategy<Value = Scheme> {
    let kinds = prop_oneof![
        Just(Scheme::raw()),
        Just(Scheme::json()),
        any::<u8>().prop_map(Scheme::custom),
    ];
    (kinds, prop::collection::vec("[a-z][a-z0-9-]{0,200}", 0..4))
        .prop_map(|(scheme, names)| scheme.with_headers(names.iter().map(String::as_str)))
}

fn phases() -> impl Strategy<Value = Phase> {
    let moment = any::<u64>().prop_map(Timestamp::from_micros);
    prop_oneof![
        moment.clone().prop_map(|lease_until| Phase::InProgress { lease_until }),
        (moment, outcomes()).prop_map(|(at, outcome)| Phase::Completed { at, outcome }),
        Just(Phase::Released),
    ]
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let body = prop::collection::vec(any::<u8>(), 0..2000).prop_map(Bytes::from);
    prop_oneof![
        (100_u16..1000, fields(), body, fields()).prop_map(|(status, headers, body, trailers)| {
            Outcome::Response { status, headers, body, trailers }
        }),
        (100_u16..1000, fields())
            .prop_map(|(status, headers)| Outcome::Tombstone { status, headers }),
    ]
}

fn fields() -> impl Strategy<Value = Fields> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    prop::collection::vec((bytes(), bytes()), 0..4).prop_map(|fields| fields.into_iter().collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    let pairs = (0..text.len()).step_by(2).map(|start| &text[start..start + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

fn counting<const N: usize>(from: u8) -> [u8; N] {
    let mut next = from..;
    std::array::from_fn(|_| next.next().expect("fewer than 256"))
}
