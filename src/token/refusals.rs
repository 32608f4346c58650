//! How often refused tokens of one connection may be renewed.
//!
//! Some answers that look like a refused token are not (Cal.com answers 401 for some business rules).
//! An app that repeats such a call must not spend the provider's token calls (Calendly allows 8 a
//! minute and user), so renewals on refusal have an allowance: four at once, then one every 15 s.

use std::time::Duration;

use tokio::time::Instant;

const BURST: u32 = 4;
const REFILL: Duration = Duration::from_secs(15);

/// The allowance of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusals {
    used: u32,
    since: Option<Instant>,
}

// === impl Refusals ===

impl Refusals {
    /// Whether the allowance was never touched.
    pub(super) const fn are_none(&self) -> bool {
        self.since.is_none()
    }

    /// Takes one from the allowance; `false` if there is none left.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        let refilled = u32::try_from(passed.as_secs() / REFILL.as_secs()).unwrap_or(u32::MAX);
        if refilled >= self.used {
            *self = Self {
                used: 0,
                since: Some(now),
            };
        } else {
            self.used -= refilled;
            self.since = Some(since + REFILL.saturating_mul(refilled));
        }
        if self.used >= BURST {
            return false;
        }
        self.used += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn four_at_once_then_one_every_fifteen_seconds() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        assert_eq!((0..10).filter(|_| refusals.admit(start)).count(), 4);
        assert!(!refusals.admit(start + Duration::from_secs(14)));
        assert!(refusals.admit(start + Duration::from_secs(15)));
        assert!(!refusals.admit(start + Duration::from_secs(29)));
        assert!(refusals.admit(start + Duration::from_secs(30)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_while_restores_the_whole_allowance() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        while refusals.admit(start) {}
        let later = start + Duration::from_hours(1);
        assert_eq!((0..10).filter(|_| refusals.admit(later)).count(), 4);
    }
}
