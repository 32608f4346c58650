//! What an app may call at a provider, and how often, as the operator configured it.
//!
//! * [`Policy`] is what the configuration says of one provider; [`Gate`] is it at work.
//! * `rule`, `readings`: whether an allow-list has a call. `allow`: the layer that asks.
//! * `limit`: how many calls are left; asked by inject, right above the wire.
//!
//! 1. Nothing configured is nothing asked: such a provider has no [`Gate`] at all.
//! 2. What is only observed passes, and is counted and logged as what is refused; so the numbers tell
//!    what enforcing would do.
//! 3. Only calls of the app are judged. What Daypass asks for itself (tokens, subscriptions, syncs) is
//!    bounded by the rooms that ask.

use std::{fmt, num::NonZeroU32, time::Duration};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::time::Instant;

use self::limit::Limiter;
use crate::{
    base::ids::ProviderName,
    http::access_log::{Objection, Record},
};

mod allow;
mod limit;
mod readings;
mod rule;

pub(super) use allow::{AllowLayer, NotAllowed, Why};
pub use rule::{InvalidRule, Rule};

/// How long the log is silent about one sort of objection at one provider after it spoke.
const SILENCE: Duration = Duration::from_mins(1);

/// `[providers.<name>.policy]` and `[providers.<name>.limits]`.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// What may be called; empty allows everything.
    pub allow: Vec<Rule>,
    /// What becomes of other calls.
    pub mode: Mode,
    /// How often.
    pub limits: Limits,
}

/// How often a provider may be called.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// For each user; `None` sets no limit.
    pub per_user: Option<Rate>,
    /// For all users together; `None` sets no limit.
    pub per_provider: Option<Rate>,
    /// What becomes of calls beyond.
    pub mode: Mode,
}

/// Whether a policy is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What it objects to is refused.
    #[default]
    Enforce,
    /// What it objects to is counted, logged, and passed on.
    Observe,
}

/// So many calls in so much time: a bucket of that size, which fills up again evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many at once, and in `per`.
    pub calls: NonZeroU32,
    /// In which time an empty bucket is full again; longer than zero.
    pub per: Duration,
}

/// A [`Policy`] at work.
#[derive(Debug)]
pub(super) struct Gate {
    provider: ProviderName,
    allow: Vec<Rule>,
    mode: Mode,
    limiter: Option<Limiter>,
    limits_mode: Mode,
    not_allowed: Tally,
    too_many: Tally,
}

/// A call beyond a limit. Not sent; waiting helps.
#[derive(Debug, Error)]
#[error("{whose} at {provider} are used up: {rate}")]
pub(super) struct RateLimited {
    pub(super) provider: ProviderName,
    pub(super) whose: Whose,
    pub(super) rate: Rate,
    pub(super) retry_after: Duration,
}

/// Whose calls are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// This user's.
    User,
    /// Everybody's.
    Provider,
}

/// Counts, and says when to speak of it.
#[derive(Debug, Default)]
struct Tally(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    untold: u64,
}

// === impl Policy ===

impl Policy {
    /// Whether it restricts anything.
    pub const fn is_empty(&self) -> bool {
        self.allow.is_empty()
            && self.limits.per_user.is_none()
            && self.limits.per_provider.is_none()
    }
}

// === impl Gate ===

impl Gate {
    /// `None` if `policy` restricts nothing.
    pub(super) fn new(provider: &ProviderName, policy: &Policy) -> Option<Self> {
        (!policy.is_empty()).then(|| Self {
            provider: provider.clone(),
            allow: policy.allow.clone(),
            mode: policy.mode,
            limiter: Limiter::new(&policy.limits),
            limits_mode: policy.limits.mode,
            not_allowed: Tally::default(),
            too_many: Tally::default(),
        })
    }

    /// Whether calls are counted at all.
    pub(super) const fn has_limits(&self) -> bool {
        self.limiter.is_some()
    }

    /// Charges one call to `user`, unless that is beyond a limit.
    pub(super) fn charge(&self, user: &str, record: &Record) -> Result<(), RateLimited> {
        let Some(over) = self.limiter.as_ref().and_then(|limiter| limiter.take(user)) else {
            return Ok(());
        };
        let objection = Objection::of(self.limits_mode == Mode::Enforce);
        record.note(|facts| match over.whose {
            Whose::User => facts.policy.user_limit = Some(objection),
            Whose::Provider => facts.policy.provider_limit = Some(objection),
        });
        if let Some(more) = self.too_many.count() {
            tracing::warn!(
                provider = %self.provider, user, outcome = objection.as_str(),
                limit = over.whose.key(), rate = %over.rate, more, "beyond a rate limit",
            );
        }
        match self.limits_mode {
            Mode::Observe => Ok(()),
            Mode::Enforce => Err(RateLimited {
                provider: self.provider.clone(),
                whose: over.whose,
                rate: over.rate,
                retry_after: over.wait,
            }),
        }
    }
}

// === impl Rate ===

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.per.as_secs_f64();
        write!(f, "{} calls in {seconds} s", self.calls)
    }
}

// === impl Whose ===

impl Whose {
    /// The key that sets the limit.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::User => "per_user",
            Self::Provider => "per_provider",
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "the calls of this user",
            Self::Provider => "the calls of all users together",
        })
    }
}

// === impl Tally ===

impl Tally {
    /// Counts one. If it is to be told now: how many were counted and not told before it.
    fn count(&self) -> Option<u64> {
        let now = Instant::now();
        let mut told = self.0.lock();
        let due = told
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= SILENCE);
        if due {
            told.last = Some(now);
            return Some(std::mem::take(&mut told.untold));
        }
        told.untold = told.untold.saturating_add(1);
        None
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_log_speaks_once_a_minute_and_says_how_much_it_left_out() {
        let tally = Tally::default();
        assert_eq!(tally.count(), Some(0));
        for _ in 0..5 {
            assert_eq!(tally.count(), None);
        }
        advance(SILENCE).await;
        assert_eq!(tally.count(), Some(5));
        assert_eq!(tally.count(), None);
        advance(SILENCE).await;
        assert_eq!(tally.count(), Some(1));
    }

    #[test]
    fn a_policy_that_restricts_nothing_has_no_gate() {
        let name = ProviderName::parse("calcom").unwrap();
        assert!(Gate::new(&name, &Policy::default()).is_none());
    }
}
