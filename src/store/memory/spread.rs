use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Spreads slots over a map. Of a slot only 8 bytes are hashed, and they are of a digest, so there is
/// little left to do. But who sends keys can choose some of these bits by trying keys, so they are
/// mixed with numbers that nobody outside knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    added: u64,
    factor: u64,
}

impl Default for Spread {
    fn default() -> Self {
        let random = RandomState::new();
        Self { added: random.hash_one(1), factor: random.hash_one(2) | 1 }
    }
}

impl BuildHasher for Spread {
    type Hasher = Spreading;

    fn build_hasher(&self) -> Spreading {
        Spreading { spread: *self, mixed: 0 }
    }
}

pub(super) struct Spreading {
    spread: Spread,
    mixed: u64,
}

impl Hasher for Spreading {
    fn write_u64(&mut self, number: u64) {
        let Spread { added, factor } = self.spread;
        let (low, high) = (number ^ self.mixed ^ added).carrying_mul(factor, 0);
        // Both halves: the lower bits of a product depend on lower bits only.
        self.mixed = low ^ high;
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut number = [0; 8];
            number[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(number));
        }
    }

    fn finish(&self) -> u64 {
        self.mixed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn slots_that_differ_in_a_few_bits_spread_over_the_whole_map() {
        let spread = Spread { added: 0x9e37_79b9_7f4a_7c15, factor: 0xd6e8_feb8_6659_fd93 };
        for shift in [0, 13, 29, 45, 51] {
            let hashes = (0..4096_u64).map(|number| spread.hash_one(number << shift));
            let (low, high): (HashSet<_>, HashSet<_>) =
                hashes.map(|hash| (hash & 0xfff, hash >> 57)).unzip();
            // At random, 4096 numbers have 2589 of 4096 values.
            assert!(
                low.len() > 2000 && high.len() == 128,
                "{} {} {spread:?}",
                low.len(),
                high.len()
            );
        }
    }
}
