//! Sizes in bytes as people write them: `512`, `64KiB`, `1MiB`, `2GiB`.
//!
//! Powers of two only: `1MB` means two things to two people, so it is refused.

/// What a size looks like, for messages.
pub(super) const EXAMPLE: &str = "a size in bytes such as \"512\", \"64KiB\" or \"1MiB\"";

/// The units and what they multiply by.
const UNITS: [(&str, usize); 5] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Reads a size; `None` for anything else, and for what no memory could hold.
pub(super) fn parse(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim_start();
    let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    number.parse::<usize>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_with_a_unit_is_read(number in 0_usize..1_000_000, unit in 0_usize..5) {
            let (name, factor) = UNITS[unit];
            prop_assert_eq!(parse(&format!("{number}{name}")), Some(number * factor));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,24}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "MiB",
            "1MB",
            "1mib",
            "-1",
            "1.5MiB",
            "99999999999999999999GiB",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
