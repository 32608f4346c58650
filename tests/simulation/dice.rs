//! Every decision of a schedule, drawn from its seed.

use std::time::Duration;

use daypass::base::random::{Random, SeededRandom};

/// Draws the same for the same seed.
#[derive(Debug)]
pub(crate) struct Dice(SeededRandom);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// From `low` up to `high`, `high` excluded.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        usize::try_from(self.between(0, end as u64)).unwrap()
    }

    /// True `n` times in a thousand.
    pub(crate) fn in_thousand(&self, n: u64) -> bool {
        self.between(0, 1000) < n
    }

    pub(crate) fn millis(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    pub(crate) fn secs(&self, low: u64, high: u64) -> Duration {
        self.millis(low * 1000, high * 1000)
    }

    pub(crate) fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
