//! Randomness: the only place that asks the machine for unpredictable bytes.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;

/// A source of bytes.
pub trait Random: Send + Sync + fmt::Debug + 'static {
    /// Fills `buffer`.
    fn fill(&self, buffer: &mut [u8]);
}

/// The operating system's generator: for keys, nonces, identifiers.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

/// Repeats the same bytes for the same seed; for tests and simulations only.
#[derive(Debug)]
pub struct SeededRandom(Mutex<u64>);

/// Shared handle to whichever source the process runs on.
pub type SharedRandom = Arc<dyn Random>;

impl dyn Random {
    /// Uniform over all of `u64`.
    pub fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Uniform between zero and `max`, `max` excluded; zero for zero.
    pub fn up_to(&self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.next_u64().checked_rem(nanos).unwrap_or(0))
    }

    /// `N` fresh bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

// === impl OsRandom ===

impl Random for OsRandom {
    fn fill(&self, buffer: &mut [u8]) {
        #[expect(clippy::disallowed_methods, reason = "the one owner of randomness")]
        let filled = getrandom::fill(buffer);
        #[expect(
            clippy::expect_used,
            reason = "without the system's generator no key or nonce is safe, and no caller could go on"
        )]
        filled.expect("the operating system's random generator answers");
    }
}

// === impl SeededRandom ===

impl SeededRandom {
    /// Starts the sequence of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Random for SeededRandom {
    /// `SplitMix64` (Steele, Lea, Flood 2014).
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.0.lock();
        for chunk in buffer.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let bytes = (z ^ (z >> 31)).to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(bytes) {
                *to = from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_sequence() {
        let (a, b): (SharedRandom, SharedRandom) = (
            Arc::new(SeededRandom::new(7)),
            Arc::new(SeededRandom::new(7)),
        );
        assert_eq!(a.bytes::<20>(), b.bytes::<20>());
        assert_ne!(a.bytes::<20>(), a.bytes::<20>());
    }

    #[test]
    fn durations_stay_below_their_bound() {
        let random: SharedRandom = Arc::new(SeededRandom::new(1));
        for _ in 0..1000 {
            assert!(random.up_to(Duration::from_millis(3)) < Duration::from_millis(3));
        }
        assert_eq!(random.up_to(Duration::ZERO), Duration::ZERO);
    }
}
