//! Times as exports write them.

use crate::base::clock::Timestamp;

/// Seconds from here on would be the year 5138, milliseconds the year 1973: what is greater counts
/// milliseconds.
const FIRST_MILLIS: i64 = 100_000_000_000;

/// Reads RFC 3339 text, with a space for the `T` or without a zone (then UTC) if need be, or seconds
/// or milliseconds since the Unix epoch.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Some(number) = whole_number(text) {
        return Some(if number < FIRST_MILLIS {
            Timestamp::from_secs(number)
        } else {
            Timestamp::from_millis(number)
        });
    }
    Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}Z")))
}

/// Reads a number that is not negative; a fraction is cut off.
pub(super) fn whole_number(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if digits(whole) && digits(fraction) {
        whole.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_the_same_time() {
        let expected = Timestamp::from_secs(1_795_239_363);
        for text in [
            "2026-11-21T05:36:03Z",
            "2026-11-21T05:36:03.000Z",
            "2026-11-21T06:36:03+01:00",
            "2026-11-21 05:36:03",
            "2026-11-21T05:36:03",
            "2026-11-21 05:36:03+00",
            "2026-11-21 05:36:03.000+00:00",
            "1795239363",
            "1795239363.25",
            "1795239363000",
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "soon",
            "-5",
            "2026-13-01T00:00:00Z",
            "21.11.2026",
            "1e9",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
