use bytes::{BufMut, Bytes, BytesMut};

use super::binary::{InvalidRecord, Reader, put_bytes};

/// What the bytes begin with. A change of what follows is a new version.
const VERSION: u8 = 1;

/// The results of the phases of an operation that were saved so far, in their order. What is saved
/// later is put behind what is there.
///
/// For each: its name and its result, each after its length, and the checksum of all that.
#[derive(Clone, Default)]
pub(crate) struct Points {
    phases: Vec<(Bytes, Bytes)>,
    size: usize,
}

impl Points {
    /// Reads what a record holds; nothing at all if nothing was saved.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, InvalidRecord> {
        let mut points = Self { phases: vec![], size: bytes.len() };
        let mut reader = Reader::new(bytes);
        if !reader.is_empty() && reader.u8()? != VERSION {
            return Err(InvalidRecord::Unsupported);
        }
        while !reader.is_empty() {
            let (phase, result) = (reader.bytes()?, reader.bytes()?);
            if u32::from_be_bytes(reader.array()?) != checksum(&phase, &result) {
                return Err(InvalidRecord::Corrupt);
            }
            points.phases.push((phase, result));
        }
        Ok(points)
    }

    /// The result of a phase, if it is saved.
    pub(crate) fn get(&self, phase: &str) -> Option<&Bytes> {
        self.phases.iter().find(|(name, _)| name == phase).map(|(_, result)| result)
    }

    /// How long the bytes are.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// What has to be put behind the bytes to save a result.
    pub(crate) fn addition(&self, phase: &str, result: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(phase.len() + result.len() + 15);
        if self.size == 0 {
            bytes.put_u8(VERSION);
        }
        put_bytes(&mut bytes, phase.as_bytes());
        put_bytes(&mut bytes, result);
        bytes.put_u32(checksum(phase.as_bytes(), result));
        bytes.freeze()
    }

    /// The same with an addition that is saved.
    pub(crate) fn add(&mut self, phase: &str, result: Bytes, addition: &Bytes) {
        self.phases.push((Bytes::copy_from_slice(phase.as_bytes()), result));
        self.size += addition.len();
    }
}

fn checksum(phase: &[u8], result: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(phase);
    hasher.update(result);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// These phases, saved one after the other, as a record holds them.
    fn saved(phases: &[(String, Vec<u8>)]) -> (Points, Vec<u8>) {
        let (mut points, mut bytes) = (Points::default(), vec![]);
        for (phase, result) in phases {
            let addition = points.addition(phase, result);
            points.add(phase, result.clone().into(), &addition);
            bytes.extend_from_slice(&addition);
        }
        (points, bytes)
    }

    proptest! {
        #[test]
        fn what_was_saved_is_read(
            phases in proptest::collection::vec((".{0,20}", any::<Vec<u8>>()), 0..5),
        ) {
            let (points, bytes) = saved(&phases);
            let read = Points::decode(bytes.clone().into()).expect("valid");
            prop_assert_eq!(&read.phases, &points.phases);
            prop_assert_eq!((read.size(), points.size()), (bytes.len(), bytes.len()));
            for (phase, _) in &phases {
                let (_, first) = phases.iter().find(|(name, _)| name == phase).expect("it is there");
                prop_assert_eq!(read.get(phase).expect("saved"), first);
            }
        }

        #[test]
        fn bytes_that_are_cut_off_or_changed_are_refused(at in 0_usize..17, change in 1_u8..) {
            let (_, bytes) = saved(&[("one".to_owned(), b"result!".to_vec())]);
            assert_eq!(bytes.len(), 17);
            let cut = Points::decode(Bytes::copy_from_slice(&bytes[..at]));
            prop_assert_eq!(cut.is_ok(), at <= 1, "nothing is saved yet");
            let mut changed = bytes;
            changed[at] ^= change;
            prop_assert!(Points::decode(changed.into()).is_err());
        }
    }
}
