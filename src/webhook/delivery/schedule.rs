//! When a delivery that failed is tried again, and when it is given up.
//!
//! 1. The time between tries doubles from five seconds to an hour, with jitter.
//! 2. `Retry-After` counts if it is longer, up to six hours.
//! 3. A try that would begin more than `retry_for` after the event was accepted, or last replayed, is
//!    not made.

use std::time::Duration;

use crate::{
    base::{backoff::Backoff, clock::Timestamp, random::Random},
    store::{Delivery, Settled},
};

const BETWEEN_TRIES: Backoff = Backoff {
    first: Duration::from_secs(5),
    max: Duration::from_hours(1),
};

/// An app that says more than this is mistaken about itself.
const LONGEST_WISH: Duration = Duration::from_hours(6);

/// What follows from a failed try of `delivery`.
pub(super) fn after_failure(
    delivery: &Delivery,
    what: String,
    retry_after: Option<Duration>,
    retry_for: Duration,
    now: Timestamp,
    random: &dyn Random,
) -> Settled {
    let own = BETWEEN_TRIES.after(delivery.attempts.saturating_add(1), random);
    let wish = retry_after.unwrap_or_default().min(LONGEST_WISH);
    let next_in = own.max(wish);
    let since = delivery.first_tried_at.unwrap_or(now);
    if now.saturating_since(since).saturating_add(next_in) > retry_for {
        return Settled::Dead { what };
    }
    Settled::Failed { what, next_in }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        base::{
            ids::{EventId, ProviderName, UserId},
            random::SeededRandom,
        },
        store::{DeliveryId, DeliveryStatus},
    };

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const RETRY_FOR: Duration = Duration::from_hours(72);

    fn delivery(attempts: u32, tried_for: Duration) -> Delivery {
        Delivery {
            id: DeliveryId(1),
            event: EventId::random(&SeededRandom::new(1)),
            name: "invitee.created".to_owned(),
            provider: ProviderName::parse("calendly").unwrap(),
            user: UserId::parse("u_1").ok(),
            status: DeliveryStatus::Pending,
            attempts,
            accepted_at: NOW.saturating_sub(tried_for),
            first_tried_at: (attempts > 0).then(|| NOW.saturating_sub(tried_for)),
            at: NOW,
            last_error: None,
        }
    }

    fn next(attempts: u32, tried_for: Duration, wish: Option<Duration>) -> Option<Duration> {
        let delivery = delivery(attempts, tried_for);
        let random = SeededRandom::new(7);
        match after_failure(&delivery, "503".into(), wish, RETRY_FOR, NOW, &random) {
            Settled::Failed { next_in, .. } => Some(next_in),
            _ => None,
        }
    }

    #[test]
    fn the_time_between_tries_grows_to_an_hour() {
        let waits: Vec<_> = (0..14)
            .map(|attempts| next(attempts, Duration::ZERO, None).unwrap())
            .collect();
        assert!(waits[0] <= Duration::from_secs(5), "{waits:?}");
        assert!(waits[13] >= Duration::from_mins(30), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= Duration::from_hours(1)));
    }

    #[test]
    fn the_apps_wish_counts_if_it_is_longer_and_not_absurd() {
        let minute = Duration::from_mins(1);
        assert_eq!(next(0, Duration::ZERO, Some(minute)), Some(minute));
        let years = Duration::from_hours(24 * 365 * 31);
        assert_eq!(next(0, Duration::ZERO, Some(years)), Some(LONGEST_WISH));
        let short = next(12, Duration::ZERO, Some(Duration::from_secs(1))).unwrap();
        assert!(short >= Duration::from_mins(30));
    }

    #[test]
    fn it_is_given_up_when_the_next_try_would_come_too_late() {
        assert!(next(80, Duration::from_hours(70), None).is_some());
        assert_eq!(next(80, Duration::from_hours(72), None), None);
    }

    proptest! {
        #[test]
        fn no_try_is_planned_beyond_the_limit(attempts in 0_u32..200, hours in 0_u64..100, wish: Option<u32>) {
            let tried_for = Duration::from_hours(hours);
            let wish = wish.map(|secs| Duration::from_secs(secs.into()));
            if let Some(next_in) = next(attempts, tried_for, wish) {
                let since = if attempts > 0 { tried_for } else { Duration::ZERO };
                prop_assert!(since + next_in <= RETRY_FOR);
                prop_assert!(!next_in.is_zero());
            }
        }
    }
}
