//! Times as people read them: how long ago, or in how long, with the exact time beside it.

use std::fmt;

use askama::filters::HtmlSafe;

use crate::base::clock::Timestamp;

/// A time, seen from now. Prints as a `<time>` element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) now: Timestamp,
}

/// Holds digits, letters and punctuation of its own only.
impl HtmlSafe for Moment {}

// === impl Moment ===

impl Moment {
    /// Such as `in 12 min`, `3 h ago`, `just now`.
    pub(super) fn told(self) -> String {
        let secs = (self.at.as_millis().saturating_sub(self.now.as_millis())) / 1000;
        let amount = amount(secs.unsigned_abs());
        match secs {
            0 => "just now".to_owned(),
            1.. => format!("in {amount}"),
            _ => format!("{amount} ago"),
        }
    }

    /// Whether it is over.
    pub(super) fn is_past(self) -> bool {
        self.at <= self.now
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = Timestamp::from_secs(self.at.as_secs());
        let told = self.told();
        write!(
            f,
            "<time datetime=\"{exact}\" title=\"{exact}\">{told}</time>"
        )
    }
}

/// A length of time in its largest fitting unit. No unit is used for less than one and a half of it.
pub(super) fn amount(secs: u64) -> String {
    const MIN: u64 = 60;
    const HOUR: u64 = 60 * MIN;
    const DAY: u64 = 24 * HOUR;
    match secs {
        0..90 => format!("{secs} s"),
        90..5400 => format!("{} min", (secs + MIN / 2) / MIN),
        5400..129_600 => format!("{} h", (secs + HOUR / 2) / HOUR),
        _ => format!("{} days", (secs + DAY / 2) / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_from_now_and_exactly() {
        let now = Timestamp::from_secs(1_700_000_000);
        for (secs, told) in [
            (0, "just now"),
            (1, "in 1 s"),
            (-1, "1 s ago"),
            (89, "in 89 s"),
            (90, "in 2 min"),
            (-3600, "60 min ago"),
            (5400, "in 2 h"),
            (-86_400, "24 h ago"),
            (172_800, "in 2 days"),
            (-8_640_000, "100 days ago"),
        ] {
            let at = Timestamp::from_secs(now.as_secs() + secs);
            assert_eq!(Moment { at, now }.told(), told);
        }
        let written = Moment { at: now, now }.to_string();
        assert_eq!(
            written,
            "<time datetime=\"2023-11-14T22:13:20Z\" title=\"2023-11-14T22:13:20Z\">just now</time>"
        );
    }

    #[test]
    fn no_time_is_too_far_away() {
        let (at, now) = (Timestamp::from_millis(i64::MAX), Timestamp::from_millis(-5));
        assert!(Moment { at, now }.told().ends_with("days"));
        assert!(Moment { at: now, now: at }.is_past());
    }
}
