//! Durations as people write them: `250ms`, `30s`, `5m`, `72h`, `7d`, or several in a row: `1h30m`.
//!
//! A bare number is refused: nobody can tell whether it means seconds or milliseconds.

use std::time::Duration;

/// What a duration looks like, for messages.
pub(super) const EXAMPLE: &str = "a duration such as \"250ms\", \"30s\", \"5m\", \"72h\" or \"7d\"";

/// The units, longest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a duration; `None` for anything else, and for what exceeds some 500 million years.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut millis = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, tail) = tail.split_at_checked(letters)?;
        let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        let part = number.parse::<u64>().ok()?.checked_mul(factor)?;
        millis = millis.checked_add(part)?;
        rest = tail;
    }
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_with_a_unit_is_read(number in 0_u64..1_000_000, unit in 0_usize..5) {
            let (name, factor) = UNITS[unit];
            let read = parse(&format!("{number}{name}"));
            prop_assert_eq!(read, Some(Duration::from_millis(number * factor)));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,24}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_bare_number_is_refused(number: u64) {
            prop_assert_eq!(parse(&number.to_string()), None);
        }
    }

    #[test]
    fn parts_add_up() {
        assert_eq!(parse("1h30m"), Some(Duration::from_mins(90)));
        assert_eq!(parse(" 250ms "), Some(Duration::from_millis(250)));
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "s",
            "5 m",
            "5M",
            "-5s",
            "1.5h",
            "5min",
            "5m3",
            "99999999999999999999s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
