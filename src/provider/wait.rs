//! The times in the head of an answer: when it was given, and how long to stay away after a 429.
//!
//! 1. `Retry-After` goes first, as seconds or as a date (RFC 9110 §10.2.3); a date is measured
//!    against the answer's own `Date`, so that our clock does not matter.
//! 2. Without one, the reset headers: seconds left at both providers (Calendly, rate limits;
//!    Cal.com, throttler guard). One page about Cal.com says Unix time, so a number too large for a
//!    wait is taken for one.
//! 3. Nothing is clamped here: how long to obey is for the caller to decide.

use std::time::Duration;

use http::{
    HeaderMap,
    header::{DATE, RETRY_AFTER},
};

use super::Headroom;
use crate::base::clock::Timestamp;

/// Where the number of calls that are left is found.
const REMAINING_HEADERS: [&str; 2] = ["x-ratelimit-remaining", "x-ratelimit-remaining-default"];

/// Where the time until the window opens again is found. Cal.com adds the limit's name to its own
/// (Cal.com, limits).
const RESET_HEADERS: [&str; 2] = ["x-ratelimit-reset", "x-ratelimit-reset-default"];

/// No wait is 30 years: a larger number is a Unix time in seconds.
const UNIX_TIME_ABOVE: u64 = 1_000_000_000;

/// The answer's own `Date`.
pub(super) fn answered_at(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(text(headers, DATE.as_str())?)
}

/// How long the provider wants to be left alone, for an answer given at `at`.
pub(super) fn retry_after(headers: &HeaderMap, at: Timestamp) -> Option<Duration> {
    asked_for(headers, at).or_else(|| {
        RESET_HEADERS
            .iter()
            .find_map(|name| until_reset(text(headers, name)?, at))
    })
}

/// How many calls are left, for an answer given at `at`.
pub(super) fn headroom(headers: &HeaderMap, at: Timestamp) -> Headroom {
    Headroom {
        remaining: REMAINING_HEADERS
            .iter()
            .find_map(|name| text(headers, name)?.parse().ok()),
        resets_in: RESET_HEADERS
            .iter()
            .find_map(|name| until_reset(text(headers, name)?, at)),
    }
}

fn asked_for(headers: &HeaderMap, at: Timestamp) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER.as_str())?;
    match value.parse() {
        Ok(secs) => Some(Duration::from_secs(secs)),
        Err(_) => Some(http_date(value)?.saturating_since(at)),
    }
}

fn until_reset(value: &str, at: Timestamp) -> Option<Duration> {
    let number: u64 = value.parse().ok()?;
    if number > UNIX_TIME_ABOVE {
        let reset = Timestamp::from_secs(i64::try_from(number).ok()?);
        return Some(reset.saturating_since(at));
    }
    Some(Duration::from_secs(number))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// RFC 9110 §5.6.7; the two obsolete forms are not read.
fn http_date(text: &str) -> Option<Timestamp> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let parsed = parser.parse_timestamp(text).ok()?;
    Some(Timestamp::from_millis(parsed.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const AT: Timestamp = Timestamp::from_secs(784_111_777);

    fn wait(headers: &[(&'static str, &str)]) -> Option<Duration> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        retry_after(&headers, AT)
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(answered_at(&headers), None);
        headers.insert(
            DATE,
            HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"),
        );
        assert_eq!(answered_at(&headers), Some(AT));
    }

    #[test]
    fn waits_are_read_from_every_known_header() {
        let secs = |secs| Some(Duration::from_secs(secs));
        let table: [(&[(&'static str, &str)], Option<Duration>); 12] = [
            (&[], None),
            (&[("retry-after", "7")], secs(7)),
            (&[("retry-after", "0")], secs(0)),
            (
                &[("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")],
                secs(60),
            ),
            (&[("retry-after", "Sun, 06 Nov 1994 08:48:37 GMT")], secs(0)),
            (
                &[("retry-after", "soon"), ("x-ratelimit-reset", "9")],
                secs(9),
            ),
            (
                &[("retry-after", "-5"), ("x-ratelimit-reset", "9")],
                secs(9),
            ),
            (&[("retry-after", "3"), ("x-ratelimit-reset", "9")], secs(3)),
            (&[("x-ratelimit-reset-default", "42")], secs(42)),
            (
                &[
                    ("x-ratelimit-reset", "x"),
                    ("x-ratelimit-reset-default", "42"),
                ],
                secs(42),
            ),
            (
                &[("x-ratelimit-reset", "1000000060")],
                secs(1_000_000_060 - 784_111_777),
            ),
            (&[("retry-after", "978307200")], secs(978_307_200)),
        ];
        for (headers, expected) in table {
            assert_eq!(wait(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn headroom_is_read_from_both_providers_headers() {
        let room = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            headroom(&headers.collect(), AT)
        };
        let told = Headroom {
            remaining: Some(7),
            resets_in: Some(Duration::from_mins(1)),
        };
        let calendly = [("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "60")];
        assert_eq!(room(&calendly), told);
        let calcom = [
            ("x-ratelimit-remaining-default", "7"),
            ("x-ratelimit-reset-default", "60"),
        ];
        assert_eq!(room(&calcom), told);
        assert_eq!(room(&[]), Headroom::default());
        assert_eq!(
            room(&[("x-ratelimit-remaining", "many")]),
            Headroom::default()
        );
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(value in "[ -~]{0,40}") {
            let _ = wait(&[("retry-after", &value)]);
            let _ = wait(&[("x-ratelimit-reset", &value)]);
        }
    }
}
