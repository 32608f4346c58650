//! How long to wait after the n-th failure in a row.

use std::time::Duration;

use super::random::Random;

/// Doubles from `first` up to `max`; the answer is drawn from the upper half of each step, so that
/// many waiters spread out and none comes back at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub first: Duration,
    /// No wait is longer than this.
    pub max: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// The wait after `failures` failures in a row; zero for none.
    pub fn after(&self, failures: u32, random: &dyn Random) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let step = self.first.saturating_mul(factor).min(self.max);
        let half = step / 2;
        half + random.up_to(step.saturating_sub(half))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::random::SeededRandom;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(5),
        max: Duration::from_mins(5),
    };

    proptest! {
        #[test]
        fn every_wait_lies_in_the_upper_half_of_its_step(failures in 1_u32..200, seed: u64) {
            let wait = BACKOFF.after(failures, &SeededRandom::new(seed));
            let step = Duration::from_secs(5_u64.saturating_mul(1 << (failures - 1).min(20)))
                .min(BACKOFF.max);
            prop_assert!(wait >= step / 2 && wait <= step, "{wait:?} after {failures}");
        }
    }

    #[test]
    fn no_failure_means_no_wait() {
        assert_eq!(BACKOFF.after(0, &SeededRandom::new(1)), Duration::ZERO);
    }
}
