//! Providers whose token endpoint does not work: which call may be made meanwhile, and who finds out
//! that it is over.
//!
//! 1. A provider that cannot be reached is in trouble, and so is one that fails two connections with
//!    no answer to anybody in between: that is no longer about one grant. The first clear answer, be it
//!    a refusal, ends it.
//! 2. Meanwhile a connection's first call is made as ever. Whoever has failed before waits for its
//!    turn, and there is one at a time, however many users there are: calls depend on the number of
//!    sidecars, not on that of users.
//! 3. Turns come seldom enough to be no storm, and often enough that all is well again soon after the
//!    provider is: what lies between two is a thirtieth of the trouble so far, seconds after minutes.
//!    A connection's own cooldown is no longer than that, as it says nothing of the connection.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Config;
use crate::{
    base::{
        backoff::Backoff,
        ids::{ConnectionKey, ProviderName},
        random::Random,
    },
    provider::CallError,
};

/// What lies between two turns is this part of the trouble so far, at most.
const PART: u32 = 30;

/// The troubles of all providers.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<HashMap<ProviderName, Trouble>>);

#[derive(Debug)]
struct Trouble {
    /// Whose call failed first.
    first: ConnectionKey,
    since: Instant,
    /// Whether it is more than one connection's.
    is_shared: bool,
    turns: u32,
    /// When the next turn is.
    next: Instant,
}

/// What one more failure means for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The longest cooldown that it justifies; `None` if the provider is not in trouble.
    pub(super) longest: Option<Duration>,
    /// The trouble has just begun.
    pub(super) is_new: bool,
}

// === impl Troubles ===

impl Troubles {
    /// A call for `key` failed without saying anything of its grant.
    pub(super) fn failed(
        &self,
        config: &Config,
        key: &ConnectionKey,
        error: &CallError,
        random: &dyn Random,
    ) -> Verdict {
        let nothing = Verdict {
            longest: None,
            is_new: false,
        };
        // That is an answer, and about this connection.
        if matches!(error, CallError::RateLimited { .. }) {
            return nothing;
        }
        let now = Instant::now();
        let mut all = self.0.lock();
        let trouble = all.entry(key.provider.clone()).or_insert_with(|| Trouble {
            first: key.clone(),
            since: now,
            is_shared: false,
            turns: 0,
            next: now,
        });
        let is_shared = matches!(error, CallError::NotSent { .. }) || trouble.first != *key;
        let is_new = is_shared && !trouble.is_shared;
        trouble.is_shared |= is_shared;
        if is_new {
            trouble.take_turn(config, now, random);
        }
        let longest = trouble.is_shared.then(|| trouble.between(config, now));
        Verdict { longest, is_new }
    }

    /// Takes the turn to call `provider`, or says how long it is until the next.
    pub(super) fn take_turn(
        &self,
        config: &Config,
        provider: &ProviderName,
        random: &dyn Random,
    ) -> Result<(), Duration> {
        let now = Instant::now();
        let mut all = self.0.lock();
        let Some(trouble) = all.get_mut(provider).filter(|trouble| trouble.is_shared) else {
            return Ok(());
        };
        match trouble.next.saturating_duration_since(now) {
            Duration::ZERO => {
                trouble.take_turn(config, now, random);
                Ok(())
            }
            left => Err(left),
        }
    }

    /// `provider` gave a clear answer: whether that ends a trouble.
    pub(super) fn end(&self, provider: &ProviderName) -> bool {
        let mut all = self.0.lock();
        // The usual case costs no more than a look.
        !all.is_empty()
            && all
                .remove(provider)
                .is_some_and(|trouble| trouble.is_shared)
    }

    /// Which providers are in trouble.
    pub(super) fn names(&self) -> Vec<ProviderName> {
        let all = self.0.lock();
        let shared = all.iter().filter(|(_, trouble)| trouble.is_shared);
        shared.map(|(name, _)| name.clone()).collect()
    }
}

// === impl Trouble ===

impl Trouble {
    fn take_turn(&mut self, config: &Config, now: Instant, random: &dyn Random) {
        self.turns = self.turns.saturating_add(1);
        let between = Backoff {
            first: config.cooldown,
            max: self.between(config, now),
        };
        self.next = now + between.after(self.turns, random);
    }

    /// The longest time between two turns.
    fn between(&self, config: &Config, now: Instant) -> Duration {
        let lasted = now.saturating_duration_since(self.since);
        (lasted / PART)
            .max(config.cooldown.saturating_mul(2))
            .min(config.cooldown_max)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::{
        base::{ids::UserId, random::SeededRandom},
        provider::Unclear,
    };

    fn provider() -> ProviderName {
        ProviderName::parse("calendly").unwrap()
    }

    fn key(user: &str) -> ConnectionKey {
        ConnectionKey {
            provider: provider(),
            user: UserId::parse(user).unwrap(),
        }
    }

    /// What a call for `user` comes to that got no answer.
    fn silence(troubles: &Troubles, user: &str) -> Verdict {
        let error = CallError::Ambiguous {
            provider: provider(),
            what: Unclear::TimedOut,
            source: None,
        };
        troubles.failed(
            &Config::default(),
            &key(user),
            &error,
            &SeededRandom::new(1),
        )
    }

    fn turn(troubles: &Troubles) -> Result<(), Duration> {
        let random = SeededRandom::new(2);
        troubles.take_turn(&Config::default(), &provider(), &random)
    }

    #[tokio::test(start_paused = true)]
    async fn one_connection_that_fails_is_its_own_trouble() {
        let troubles = Troubles::default();
        for _ in 0..20 {
            assert_eq!(silence(&troubles, "anna").longest, None);
            assert_eq!(turn(&troubles), Ok(()));
        }
        assert!(troubles.names().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn two_that_fail_are_the_providers_until_it_answers_anybody() {
        let troubles = Troubles::default();
        silence(&troubles, "anna");
        assert!(!troubles.end(&provider()), "it was nobody else's");
        silence(&troubles, "anna");
        let second = silence(&troubles, "ben");
        assert!(second.is_new);
        assert_eq!(second.longest, Some(Duration::from_secs(10)));
        assert!(!silence(&troubles, "carl").is_new);
        assert_eq!(troubles.names(), [provider()]);
        assert!(troubles.end(&provider()));
        assert!(troubles.names().is_empty());
        assert_eq!(turn(&troubles), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_seconds_apart_after_minutes_and_minutes_after_hours() {
        let troubles = Troubles::default();
        silence(&troubles, "anna");
        silence(&troubles, "ben");
        for (after, most) in [(0, 10), (600, 20), (3_600, 120), (100_000, 300)] {
            advance(Duration::from_secs(after)).await;
            while turn(&troubles).is_err() {
                sleep(Duration::from_millis(100)).await;
            }
            let left = turn(&troubles).unwrap_err();
            assert!(
                left <= Duration::from_secs(most + 1),
                "{left:?} after {after} s"
            );
            assert!(
                left >= Duration::from_millis(2_500),
                "{left:?} after {after} s"
            );
        }
    }
}
