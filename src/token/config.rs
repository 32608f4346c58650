//! `[refresh]`: when to renew, and how patiently.

use std::{collections::BTreeMap, time::Duration};

use crate::base::ids::ProviderName;

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
    /// How long a request waits for its turn to be renewed, where a provider takes only so many token
    /// calls. Whose turn comes later is told so at once. Default 10 s.
    pub queue_wait: Duration,
    /// How many requests may wait for turns at once that are more than seconds away: places that requests with a valid token need must not
    /// be taken by those that wait. Default 256.
    pub queue_places: usize,
    /// How many token calls a minute a provider takes, if it is not as it documents; zero for no limit.
    pub token_calls: BTreeMap<ProviderName, u32>,
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
            queue_wait: Duration::from_secs(10),
            queue_places: 256,
            token_calls: BTreeMap::new(),
        }
    }
}
