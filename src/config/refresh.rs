//! `[refresh]`: when to renew, and how patiently.

use std::{collections::BTreeMap, time::Duration};

use super::section::Section;
use crate::token::Config;

pub(super) fn read(section: &Section<'_>) -> Option<Config> {
    // A twelfth of Cal.com's shortest token: the renewal is over long before anyone waits for it.
    let buffer = section.duration("buffer", "5m");
    // A token must outlive the request that carries it.
    let min_validity = section.duration("min_validity", "30s");
    let timeout = section.duration("timeout", "10s");
    // Three token calls: short enough to take over from the dead, and seldom to be prolonged.
    let lease_ttl = section.duration("lease_ttl", "30s");
    let cooldown = section.duration("cooldown", "5s");
    let cooldown_max = section.duration("cooldown_max", "5m");
    // Each force refresh kills every other holder's token; more often than this is a fight.
    let force_interval = section.duration("force_interval", "60s");
    // Cal.com's refresh tokens die after 30 days without use.
    let keep_alive = section.duration("keep_alive", "7d");
    // Half a kilobyte each. Who asks for more users than this all the time needs more of it.
    let remember = section.count("remember", "100000");
    // As long as a token call: most clients wait for that.
    let queue_wait = section.duration("queue_wait", "10s");
    let shorter = |(key, value): Setting, (bound_key, bound): Setting| {
        if let (Some(value), Some(bound)) = (value, bound)
            && value >= bound
        {
            section.problem(key, format!("must be shorter than refresh.{bound_key}"));
        }
    };
    shorter(("min_validity", min_validity), ("buffer", buffer));
    if let (Some(first), Some(max)) = (cooldown, cooldown_max)
        && first > max
    {
        section.problem("cooldown", "must not be longer than refresh.cooldown_max");
    }
    Some(Config {
        buffer: buffer?,
        min_validity: min_validity?,
        timeout: timeout?,
        lease_ttl: lease_ttl?,
        cooldown: cooldown?,
        cooldown_max: cooldown_max?,
        force_interval: force_interval?,
        keep_alive: keep_alive?,
        remember: remember?,
        queue_wait: queue_wait?,
        // Follows from outbound.max_in_flight.
        queue_places: Config::default().queue_places,
        // Stands with the providers.
        token_calls: BTreeMap::new(),
    })
}

/// A key and its value, if it has a usable one.
type Setting = (&'static str, Option<Duration>);
