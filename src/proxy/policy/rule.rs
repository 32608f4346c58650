//! One line of an allow-list: `GET /v2/bookings*`.
//!
//! 1. Methods: one, several with `|` between them, or `*` for every method. They are compared as they
//!    are written; `GET` allows `HEAD`, which is the same without the body.
//! 2. The path is what follows the provider's `api_base`, as it is sent. `*` stands for any characters
//!    of one segment; as the very last character for anything, further segments included.
//! 3. Upper and lower case differ. Queries are not looked at.
//! 4. A rule can say nothing that could be read in two ways: no escapes, parameters, dot segments or
//!    doubled slashes.

use std::{fmt, str::FromStr};

use http::Method;
use thiserror::Error;

/// One line of an allow-list; see the [module docs](self).
#[derive(Clone, PartialEq, Eq)]
pub struct Rule {
    text: String,
    /// Empty allows every method.
    methods: Vec<Method>,
    /// Patterns, one a segment.
    segments: Vec<String>,
    /// Whether further segments may follow.
    open: bool,
}

/// Text that is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidRule {
    /// Not two words.
    #[error("expected a method and a path, such as \"GET /v2/bookings*\"")]
    Form,
    /// No method.
    #[error(
        "expected a method in capitals, several with | between them, or *: \"GET|POST /v2/bookings\""
    )]
    Method,
    /// Not a path that can be compared.
    #[error(
        "expected a path that begins with / and has no query, no %, ; or \\, no \"//\" and no dot segment"
    )]
    Path,
}

// === impl Rule ===

impl Rule {
    /// Whether it has `method`.
    pub(super) fn has_method(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || (method == Method::HEAD && self.methods.contains(&Method::GET))
    }

    /// Whether it has `path`, read literally.
    pub(super) fn has_path(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else {
            return false;
        };
        let mut given = path.split('/');
        for pattern in &self.segments {
            match given.next() {
                Some(segment) if matches(pattern, segment) => {}
                _ => return false,
            }
        }
        self.open || given.next().is_none()
    }

    /// The narrowest rule that has `path`, as far as rules can say it.
    pub(super) fn naming(method: &Method, path: &str) -> String {
        let segment = |segment| {
            if is_plain(segment) && !segment.contains('*') {
                segment
            } else {
                "*"
            }
        };
        let segments: Vec<_> = path.split('/').skip(1).map(segment).collect();
        format!("{method} /{}", segments.join("/"))
    }
}

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let mut words = text.split_ascii_whitespace();
        let (Some(methods), Some(path), None) = (words.next(), words.next(), words.next()) else {
            return Err(InvalidRule::Form);
        };
        let methods = match methods {
            "*" => Vec::new(),
            several => several.split('|').map(method).collect::<Result<_, _>>()?,
        };
        let segments: Vec<&str> = match path.strip_prefix('/') {
            Some(rest) => rest.split('/').collect(),
            None => return Err(InvalidRule::Path),
        };
        // `/` has one segment, which is empty; so has a path with a slash at its end.
        let doubled = segments.iter().rev().skip(1).any(|part| part.is_empty());
        if doubled || !segments.iter().all(|part| is_plain(part)) {
            return Err(InvalidRule::Path);
        }
        Ok(Self {
            text: format!("{} {path}", words_of(&methods)),
            methods,
            open: path.ends_with('*'),
            segments: segments.into_iter().map(str::to_owned).collect(),
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

fn method(text: &str) -> Result<Method, InvalidRule> {
    let in_capitals = text
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if in_capitals => Ok(method),
        _ => Err(InvalidRule::Method),
    }
}

fn words_of(methods: &[Method]) -> String {
    if methods.is_empty() {
        return "*".to_owned();
    }
    let names: Vec<_> = methods.iter().map(Method::as_str).collect();
    names.join("|")
}

/// Whether a segment means the same to everybody.
fn is_plain(segment: &str) -> bool {
    let odd = |byte: u8| !byte.is_ascii_graphic() || b"%?#;\\".contains(&byte);
    !segment.bytes().any(odd) && !matches!(segment, "." | "..")
}

/// Whether `segment` is `pattern`, in which `*` stands for anything.
fn matches(pattern: &str, segment: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == segment;
    };
    let Some(mut left) = segment.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The first place is as good as any other: what follows has the most to choose from.
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(text: &str) -> Rule {
        text.parse().unwrap()
    }

    #[test]
    fn a_rule_has_what_it_says_and_nothing_else() {
        for (text, has, has_not) in [
            (
                "GET /v2/bookings*",
                &["/v2/bookings", "/v2/bookings/", "/v2/bookings/a/b"][..],
                &["/v2/booking", "/v2", "/", "/v2/Bookings", "/x/v2/bookings"][..],
            ),
            (
                "GET /v2/bookings",
                &["/v2/bookings"],
                &["/v2/bookings/", "/v2/bookings/a"],
            ),
            (
                "GET /v2/bookings/*/cancel",
                &["/v2/bookings/a/cancel", "/v2/bookings//cancel"],
                &[
                    "/v2/bookings/a/b/cancel",
                    "/v2/bookings/cancel",
                    "/v2/bookings/a/cancel/b",
                ],
            ),
            (
                "GET /a*c*e/f",
                &["/abcde/f", "/ace/f", "/acce/f"],
                &["/abde/f", "/ab/cde/f", "/a/c/e/f"],
            ),
            ("GET /*", &["/", "/a", "/a/b"], &[]),
            ("GET /", &["/"], &["/a"]),
        ] {
            for path in has {
                assert!(rule(text).has_path(path), "{text} has not {path}");
            }
            for path in has_not {
                assert!(!rule(text).has_path(path), "{text} has {path}");
            }
        }
    }

    #[test]
    fn methods_are_compared_as_they_are_written() {
        let odd = Method::from_bytes(b"get").unwrap();
        let reads = rule("GET /a");
        assert!(reads.has_method(&Method::GET) && reads.has_method(&Method::HEAD));
        assert!(!reads.has_method(&Method::POST) && !reads.has_method(&odd));
        let two = rule("POST|PATCH /a");
        assert!(two.has_method(&Method::POST) && two.has_method(&Method::PATCH));
        assert!(!two.has_method(&Method::GET) && !two.has_method(&Method::HEAD));
        assert!(rule("* /a").has_method(&odd));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_rule() {
        for (text, why) in [
            ("", InvalidRule::Form),
            ("/v2/me", InvalidRule::Form),
            ("GET /v2/me HTTP/1.1", InvalidRule::Form),
            ("get /v2/me", InvalidRule::Method),
            ("GET| /v2/me", InvalidRule::Method),
            ("GET v2/me", InvalidRule::Path),
            ("GET /v2//me", InvalidRule::Path),
            ("GET /v2/../me", InvalidRule::Path),
            ("GET /v2/%6de", InvalidRule::Path),
            ("GET /v2/me?x=1", InvalidRule::Path),
            ("GET /v2/me;x=1", InvalidRule::Path),
        ] {
            let read: Result<Rule, _> = text.parse();
            assert_eq!(read.unwrap_err(), why, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_rule_that_a_refusal_names_has_the_call(path in "(/[a-z0-9_%;.@*~-]{0,6}){1,5}") {
            let named = Rule::naming(&Method::POST, &path);
            // Only dots and doubled slashes cannot be said.
            if let Ok(rule) = named.parse::<Rule>() {
                prop_assert!(rule.has_method(&Method::POST));
                prop_assert!(rule.has_path(&path), "{} {}", rule, path);
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,30}", path in "\\PC{0,30}") {
            if let Ok(rule) = text.parse::<Rule>() {
                let _ = rule.has_path(&path);
            }
        }
    }
}
