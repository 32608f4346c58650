//! The decisions of renewing, as pure functions: no clock, no store, no provider.
//!
//! 1. A token has three ages: *fresh*; *due* (under `buffer` left: used, and renewed in the
//!    background); *short* (under `min_validity` left: requests wait for the renewal).
//! 2. A token that lives shorter than the thresholds assume is due after half its life and short in
//!    its last quarter; otherwise every request would renew it.
//! 3. Failures grow a cooldown. What a provider asks for (`Retry-After`) is honoured within bounds:
//!    a value of years must not disconnect anybody, and a value of a second that is said again and
//!    again does not keep the cooldown from growing. Nobody comes back before that, and not all at
//!    the moment when the window opens.

use std::time::Duration;

use super::Config;
use crate::{
    base::{backoff::Backoff, clock::Timestamp, random::Random},
    provider::CallError,
    store::{Connection, Cooldown, Redemption, Spent},
};

/// How much of a token's life must be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thresholds {
    /// Under this: renew in the background.
    pub(super) buffer: Duration,
    /// Under this: wait for the renewal.
    pub(super) min_validity: Duration,
}

/// How to get new tokens, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// This way.
    Redeem(Redemption),
    /// By force only, and that was done too recently: not before this long from now.
    ForcedTooRecently(Duration),
    /// There is none: no refresh token, and force does not exist here.
    None,
}

/// What a failed call means for the connection, beside the cooldown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The provider refused this grant.
    GrantRefused,
    /// The provider refuses the client: no user's fault.
    ClientRefused,
    /// It may work later.
    Transient(Spent),
}

// === impl Thresholds ===

impl Thresholds {
    /// For a token that was issued with `lifetime`.
    pub(super) fn of(config: &Config, lifetime: Duration) -> Self {
        Self {
            buffer: config.buffer.min(lifetime / 2),
            min_validity: config.min_validity.min(lifetime / 4),
        }
    }
}

// === impl Failure ===

impl Failure {
    /// What `error` means.
    pub(super) const fn of(error: &CallError) -> Self {
        match error {
            CallError::GrantRefused { .. } => Self::GrantRefused,
            CallError::ClientRefused { .. } | CallError::NotConfigured { .. } => {
                Self::ClientRefused
            }
            CallError::Ambiguous { .. } => Self::Transient(Spent::Maybe),
            // One user's grant says nothing of the others', and may be good under another configuration.
            CallError::OtherClient { .. }
            | CallError::NotSent { .. }
            | CallError::RateLimited { .. }
            | CallError::Unexpected { .. } => Self::Transient(Spent::No),
        }
    }
}

/// How to renew `connection`: the standard way first; by force where it exists, if that is `wanted`
/// or there is no refresh token, and not more often than the interval allows.
pub(super) fn means(
    config: &Config,
    connection: &Connection,
    can_force: bool,
    wanted: Redemption,
    now: Timestamp,
) -> Means {
    let has_refresh_token = connection
        .tokens
        .as_ref()
        .is_some_and(|tokens| tokens.refresh.is_some());
    match (wanted, has_refresh_token, can_force) {
        (Redemption::Standard, true, _) | (Redemption::Force, true, false) => {
            Means::Redeem(Redemption::Standard)
        }
        (_, false, false) => Means::None,
        (Redemption::Force, _, true) | (_, false, true) => {
            match force_wait(config, connection, now) {
                Duration::ZERO => Means::Redeem(Redemption::Force),
                wait => Means::ForcedTooRecently(wait),
            }
        }
    }
}

/// How long until `connection` may be renewed by force again; zero for now.
pub(super) fn force_wait(config: &Config, connection: &Connection, now: Timestamp) -> Duration {
    match connection.forced_at {
        // A time ahead of the clock is a clock that was set back: do not wait for it to catch up.
        Some(forced_at) if forced_at <= now => forced_at
            .saturating_add(config.force_interval)
            .saturating_since(now),
        _ => Duration::ZERO,
    }
}

/// How long to leave the provider alone after one more failure of `connection`. If that is the
/// provider's trouble, no longer than `longest`, and it is not held against the connection.
pub(super) fn cooldown(
    config: &Config,
    connection: &Connection,
    error: &CallError,
    longest: Option<Duration>,
    random: &dyn Random,
    now: Timestamp,
) -> Cooldown {
    let before = connection.cooldown.map_or(0, |cooldown| cooldown.failures);
    let once_more = before.saturating_add(1);
    let own = backoff(config).after(once_more, random);
    let (failures, wait) = match (error, longest) {
        (_, Some(longest)) if before > 0 => {
            let growth = Backoff {
                first: longest,
                max: longest,
            };
            (before, growth.after(1, random))
        }
        (
            CallError::RateLimited {
                retry_after: Some(asked),
                ..
            },
            _,
        ) => {
            let asked = (*asked)
                .clamp(config.cooldown, config.cooldown_max)
                .saturating_add(random.up_to(config.cooldown));
            (once_more, asked.max(own).min(config.cooldown_max))
        }
        _ => (once_more, own),
    };
    Cooldown {
        until: now.saturating_add(wait),
        failures,
    }
}

/// What is left of a cooldown; zero if it is over. A cooldown never lasts longer than the longest
/// that is configured, whatever clock wrote it.
pub(super) fn cooling(config: &Config, connection: &Connection, now: Timestamp) -> Duration {
    connection.cooldown.map_or(Duration::ZERO, |cooldown| {
        cooldown
            .until
            .saturating_since(now)
            .min(config.cooldown_max)
    })
}

/// What should stand in the place of a cooldown that ends later than any that begins now: the clock was set
/// back since, or is behind the one that it was written by. As it is, it would begin anew with each look.
pub(super) fn shortened(
    config: &Config,
    connection: &Connection,
    now: Timestamp,
) -> Option<Cooldown> {
    let until = now.saturating_add(config.cooldown_max);
    let cooldown = connection.cooldown?;
    (cooldown.until > until).then_some(Cooldown { until, ..cooldown })
}

/// The growth of cooldowns.
pub(super) const fn backoff(config: &Config) -> Backoff {
    Backoff {
        first: config.cooldown,
        max: config.cooldown_max,
    }
}
