//! `[refresh]`: when to renew, and how patiently.

use std::time::Duration;

/// The settings of the rules of renewing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// With less than this left, a token is used and renewed in the background. Default 5 min.
    pub buffer: Duration,
    /// With less than this left, a request waits for the renewal. Default 30 s; shorter than `buffer`.
    pub min_validity: Duration,
    /// How long one token call may take. Default 10 s. May be longer than `lease_ttl`: the lease is
    /// prolonged while the provider thinks.
    pub timeout: Duration,
    /// How long a lease lives unless it is renewed. Default 30 s.
    pub lease_ttl: Duration,
    /// How long to leave the provider alone after the first failure. Default 5 s.
    pub cooldown: Duration,
    /// How long at most. Default 5 min.
    pub cooldown_max: Duration,
    /// Tokens are minted by force at most once in this time. Default 60 s.
    pub force_interval: Duration,
    /// Grants that were not renewed for this long are renewed, lest they die of idleness. Default 7
    /// days.
    pub keep_alive: Duration,
    /// How many connections memory knows at most; what it forgets is read from the store again.
    /// Default 100,000.
    pub remember: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            buffer: Duration::from_mins(5),
            min_validity: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            lease_ttl: Duration::from_secs(30),
            cooldown: Duration::from_secs(5),
            cooldown_max: Duration::from_mins(5),
            force_interval: Duration::from_mins(1),
            keep_alive: Duration::from_hours(7 * 24),
            remember: 100_000,
        }
    }
}
