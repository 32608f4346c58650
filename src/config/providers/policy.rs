//! `[providers.<name>.policy]` and `[providers.<name>.limits]`: what the app may call, and how often.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    config::{duration, section::Section},
    proxy::{Limits, Mode, Policy, Rate, Rule},
};

const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("observe", Mode::Observe)];

/// What a rate looks like, for messages.
const EXAMPLE: &str = "a rate such as \"60/m\" or \"1000/15m\": so many calls in so much time";

/// Longer than any quota of a provider, and short enough to count in nanoseconds.
const LONGEST: Duration = Duration::from_hours(24 * 31);

/// `section` is the provider's.
pub(super) fn read(section: &Section<'_>) -> Option<Policy> {
    let (allow, mode) = section.inner("policy", |section| {
        let rule = |text: &str| text.parse::<Rule>().map_err(|error| error.to_string());
        let allow = section.list("allow", rule);
        (allow, section.choice("mode", "enforce", &MODES))
    });
    let limits = section.inner("limits", |section| {
        let per_user = section.optional("per_user", "rate", rate);
        let per_provider = section.optional("per_provider", "rate", rate);
        let mode = section.choice("mode", "enforce", &MODES)?;
        if let (Some(user), Some(provider)) = (per_user, per_provider)
            && per_second(user) >= per_second(provider)
        {
            section.warning(
                "per_user",
                "is no less than per_provider: one user can use up what is there for all",
            );
        }
        Some(Limits {
            per_user,
            per_provider,
            mode,
        })
    });
    Some(Policy {
        allow: allow?,
        mode: mode?,
        limits: limits?,
    })
}

fn per_second(rate: Rate) -> f64 {
    f64::from(rate.calls.get()) / rate.per.as_secs_f64()
}

fn rate(text: &str) -> Result<Rate, String> {
    let expected = || format!("expected {EXAMPLE}");
    let (calls, per) = text.split_once('/').ok_or_else(expected)?;
    let Ok(calls) = calls.trim().parse::<NonZeroU32>() else {
        return Err(expected());
    };
    let per = per.trim();
    // "60/m" is a minute, of which there is one.
    let per = if per.starts_with(|first: char| first.is_ascii_digit()) {
        duration::parse(per)
    } else {
        duration::parse(&format!("1{per}"))
    };
    match per {
        Some(per) if !per.is_zero() && per <= LONGEST => Ok(Rate { calls, per }),
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_calls_in_a_time() {
        let read = |text| rate(text).map(|rate| (rate.calls.get(), rate.per.as_secs()));
        assert_eq!(read("60/m"), Ok((60, 60)));
        assert_eq!(read("1000/15m"), Ok((1000, 900)));
        assert_eq!(read("5 / 1m30s"), Ok((5, 90)));
        for text in [
            "", "60", "60/", "/m", "0/m", "60/0s", "60/60", "-1/m", "1/40d", "1.5/m",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
