//! Which destinations are called: none takes all places, and one that fails is left alone.
//!
//! States of a destination (scheme, host and port):
//!
//! | state | lets through | becomes |
//! |---|---|---|
//! | closed | up to [`PLACES`] at once | open, after [`FAILURES`] failures in a row |
//! | open | nothing, for two seconds at first and then for a time that doubles up to a minute | half-open, when that time is over |
//! | half-open | one | closed, if it is answered; else open |
//!
//! An answer of any kind but 429 and 5xx shows that the app is there: what it refuses is its own
//! affair. Kept in memory: each process learns for itself, and a destination that is back is found
//! within a minute.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::base::{backoff::Backoff, random::SharedRandom};

/// How many deliveries one destination gets at once.
pub(super) const PLACES: usize = 32;

/// After so many failures in a row a destination is left alone.
pub(super) const FAILURES: u32 = 5;

/// How long a destination without a free place is not asked for by the same line.
const BUSY: Duration = Duration::from_millis(500);

const LEFT_ALONE: Backoff = Backoff {
    first: Duration::from_secs(2),
    max: Duration::from_mins(1),
};

/// What is known of each destination.
#[derive(Debug)]
pub(super) struct Destinations {
    random: SharedRandom,
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    under_way: usize,
    failures: u32,
    /// Left alone until then; from then on, tried by one.
    opened_until: Option<Instant>,
    is_probed: bool,
}

/// Whether a destination may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Yes; its outcome must be told.
    Go,
    /// Not for this long.
    Wait(Duration),
}

/// What a call showed of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It answers.
    Answers,
    /// It does not, or is overwhelmed.
    Fails,
}

// === impl Destinations ===

impl Destinations {
    pub(super) fn new(random: SharedRandom) -> Self {
        Self {
            random,
            known: Mutex::default(),
        }
    }

    /// Takes a place at `destination`, if it may be called now.
    pub(super) fn admit(&self, destination: &str, now: Instant) -> Admission {
        let mut known = self.known.lock();
        let known = known.entry(destination.to_owned()).or_default();
        if let Some(until) = known.opened_until {
            let left = until.saturating_duration_since(now);
            if !left.is_zero() {
                return Admission::Wait(left);
            }
            if known.is_probed {
                return Admission::Wait(BUSY);
            }
            known.is_probed = true;
        } else if known.under_way >= PLACES {
            return Admission::Wait(BUSY);
        }
        known.under_way += 1;
        Admission::Go
    }

    /// Gives the place back, and learns from what happened. Whether the destination is left alone from
    /// now on, having been called before.
    pub(super) fn learn(&self, destination: &str, shown: Shown, now: Instant) -> bool {
        let mut all = self.known.lock();
        let Some(known) = all.get_mut(destination) else {
            return false;
        };
        known.under_way = known.under_way.saturating_sub(1);
        known.is_probed = false;
        if shown == Shown::Answers {
            known.failures = 0;
            known.opened_until = None;
            if known.under_way == 0 {
                all.remove(destination);
            }
            return false;
        }
        if known.opened_until.is_some_and(|until| now < until) {
            // Called before it was left alone, with all the others: the same outage, not a longer one.
            return false;
        }
        known.failures = known.failures.saturating_add(1);
        let Some(beyond) = known.failures.checked_sub(FAILURES) else {
            return false;
        };
        let was_closed = known.opened_until.is_none();
        let wait = LEFT_ALONE.after(beyond.saturating_add(1), &*self.random);
        known.opened_until = Some(now + wait);
        was_closed
    }

    /// How many calls an app of one destination would take at once, or how long none.
    pub(super) fn appetite(&self, now: Instant) -> Result<usize, Duration> {
        let known = self.known.lock();
        let Some(known) = known.values().next() else {
            return Ok(PLACES);
        };
        match known
            .opened_until
            .map(|until| until.saturating_duration_since(now))
        {
            None => Ok(PLACES),
            Some(left) if !left.is_zero() => Err(left),
            Some(_) if known.is_probed => Err(BUSY),
            Some(_) => Ok(1),
        }
    }

    /// Destinations that are left alone.
    pub(super) fn open(&self) -> usize {
        let known = self.known.lock();
        known
            .values()
            .filter(|known| known.opened_until.is_some())
            .count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::random::SeededRandom;

    const APP: &str = "http://app.internal";

    fn destinations() -> Destinations {
        Destinations::new(Arc::new(SeededRandom::new(1)))
    }

    fn fail(destinations: &Destinations, times: u32) {
        for _ in 0..times {
            assert_eq!(destinations.admit(APP, Instant::now()), Admission::Go);
            destinations.learn(APP, Shown::Fails, Instant::now());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_fails_over_and_over_is_left_alone() {
        let destinations = destinations();
        fail(&destinations, FAILURES);
        let Admission::Wait(wait) = destinations.admit(APP, Instant::now()) else {
            panic!("it is called on");
        };
        assert!(wait >= Duration::from_secs(1), "{wait:?}");
        assert_eq!(
            destinations.admit("http://b", Instant::now()),
            Admission::Go
        );
        assert_eq!(destinations.open(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_delivery_tries_whether_it_is_back() {
        let destinations = destinations();
        fail(&destinations, FAILURES);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(destinations.admit(APP, Instant::now()), Admission::Go);
        let second = destinations.admit(APP, Instant::now());
        assert!(matches!(second, Admission::Wait(_)), "two at once");
        destinations.learn(APP, Shown::Answers, Instant::now());
        for _ in 0..PLACES {
            assert_eq!(destinations.admit(APP, Instant::now()), Admission::Go);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_fails_leaves_it_alone_for_longer() {
        let destinations = destinations();
        fail(&destinations, FAILURES);
        for _ in 0..10 {
            tokio::time::advance(Duration::from_mins(1)).await;
            fail(&destinations, 1);
        }
        let wait = destinations.appetite(Instant::now()).unwrap_err();
        assert!(
            wait >= Duration::from_secs(30) && wait <= Duration::from_mins(1),
            "{wait:?}"
        );
    }

    /// An app that restarts fails all that is under way, and is back in a second.
    #[tokio::test(start_paused = true)]
    async fn what_fails_at_once_is_one_failure_and_no_long_outage() {
        let destinations = destinations();
        for _ in 0..PLACES {
            assert_eq!(destinations.admit(APP, Instant::now()), Admission::Go);
        }
        for _ in 0..PLACES {
            destinations.learn(APP, Shown::Fails, Instant::now());
        }
        let wait = destinations.appetite(Instant::now()).unwrap_err();
        assert!(wait <= Duration::from_secs(2), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_destination_takes_all_places() {
        let destinations = destinations();
        for _ in 0..PLACES {
            assert_eq!(destinations.admit(APP, Instant::now()), Admission::Go);
        }
        let more = destinations.admit(APP, Instant::now());
        assert!(matches!(more, Admission::Wait(_)));
        assert_eq!(
            destinations.admit("http://b", Instant::now()),
            Admission::Go
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_between_failures_starts_the_count_anew() {
        let destinations = destinations();
        for _ in 0..3 {
            fail(&destinations, FAILURES - 1);
            destinations.admit(APP, Instant::now());
            destinations.learn(APP, Shown::Answers, Instant::now());
        }
        assert_eq!(destinations.admit(APP, Instant::now()), Admission::Go);
    }
}
