//! Sets of field names that are asked of every field of every message.
//!
//! Nearly every answer is no, and nearly every no takes one look at a number: a set knows the lengths
//! and the ends of its names.

/// Names, in lower case as [`http::HeaderName`] has them.
#[derive(Debug)]
pub struct Names {
    names: &'static [&'static str],
    marks: u128,
}

// === impl Names ===

impl Names {
    /// The set of `names`.
    pub const fn new(names: &'static [&'static str]) -> Self {
        let mut marks = 0;
        let mut rest = names;
        while let [first, others @ ..] = rest {
            marks |= mark(first);
            rest = others;
        }
        Self { names, marks }
    }

    /// Whether `name` is one of them.
    #[inline]
    pub fn has(&self, name: &str) -> bool {
        self.marks & mark(name) != 0 && self.names.contains(&name)
    }

    /// All of them.
    pub const fn all(&self) -> &'static [&'static str] {
        self.names
    }
}

/// One of 128 bits, by the length of a name and its first and last byte.
#[inline]
const fn mark(name: &str) -> u128 {
    let (first, last) = match name.as_bytes() {
        [first, .., last] => (*first, *last),
        [only] => (*only, *only),
        [] => (0, 0),
    };
    1 << ((name.len() * 9 + first as usize * 5 + last as usize * 3) % 128)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Names = Names::new(&["te", "cookie", "cookie2", "x-forwarded-for", "x"]);

    #[test]
    fn a_set_has_its_names_and_no_others() {
        for name in SOME.all() {
            assert!(SOME.has(name), "{name}");
        }
        for other in [
            "",
            "t",
            "et",
            "cookies",
            "cookie3",
            "x-forwarded-fox",
            "accept",
            "y",
        ] {
            assert!(!SOME.has(other), "{other}");
        }
    }

    #[test]
    fn names_of_the_same_mark_are_told_apart() {
        let twins = ["axb", "ayb"];
        assert_eq!(mark(twins[0]), mark(twins[1]));
        const ONE: Names = Names::new(&["axb"]);
        assert!(ONE.has(twins[0]) && !ONE.has(twins[1]));
    }
}
