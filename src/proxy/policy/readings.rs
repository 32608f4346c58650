//! What a path could mean to whoever gets it.
//!
//! A path goes out byte for byte, but servers read it differently: they decode escapes once or twice,
//! cut parameters or spaces off segments, take several slashes for one, ignore a slash at the end, or
//! stop at an escaped `?`, `#` or control character. A call is allowed if it is, *however it is read*. So every
//! text that is reached by these steps, in any order, is a reading, and each must be allowed.
//!
//! A path of which one reading climbs (`..`) or is not UTF-8, or that has very many, means nothing
//! honest: it is not to be read at all.

use std::borrow::Cow;

use crate::proxy::target;

/// More readings than any honest path has.
const MAX_READINGS: usize = 64;

type Step = fn(&[u8]) -> Vec<u8>;

/// How servers may read a path differently from how it is written.
const STEPS: [Step; 6] = [
    target::decode,
    without_parameters,
    without_spaces,
    with_single_slashes,
    without_slash_at_the_end,
    until_the_path_ends,
];

/// Every reading of `path`, itself first; `None` if it is not to be read at all.
pub(super) fn readings(path: &str) -> Option<Vec<Cow<'_, str>>> {
    if climbs(path) {
        return None;
    }
    let mut readings = vec![Cow::Borrowed(path)];
    if is_plain(path) {
        return Some(readings);
    }
    let mut next = 0;
    while let Some(reading) = readings.get(next).cloned() {
        if climbs(&reading) {
            return None;
        }
        for step in STEPS {
            let read = String::from_utf8(step(reading.as_bytes())).ok()?;
            if !readings.iter().any(|known| **known == *read) {
                readings.push(Cow::Owned(read));
            }
        }
        if readings.len() > MAX_READINGS {
            return None;
        }
        next += 1;
    }
    Some(readings)
}

/// Whether everybody reads `path` alike, if it does not climb.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let ends_in_slash = bytes.len() > 1 && bytes.ends_with(b"/");
    let has_doubled = bytes.windows(2).any(|two| two == b"//");
    let has_escapes = bytes.iter().any(|byte| b"%;?#".contains(byte));
    !(has_escapes || has_doubled || ends_in_slash)
}

fn climbs(path: &str) -> bool {
    let is_dots = |segment| matches!(segment, "." | "..");
    path.contains('\\') || path.split('/').any(is_dots)
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let name = |segment: &[u8]| {
        segment
            .split(|byte| *byte == b';')
            .next()
            .map(<[u8]>::to_vec)
    };
    let segments: Vec<_> = path.split(|byte| *byte == b'/').filter_map(name).collect();
    segments.join(&b'/')
}

fn without_spaces(path: &[u8]) -> Vec<u8> {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || byte.is_ascii_control();
    let bare = |segment: &[u8]| -> Vec<u8> {
        let from = segment.iter().position(|byte| !is_blank(byte));
        let to = segment.iter().rposition(|byte| !is_blank(byte));
        match (from, to) {
            (Some(from), Some(to)) => segment.get(from..=to).unwrap_or_default().to_vec(),
            _ => Vec::new(),
        }
    };
    let segments: Vec<_> = path.split(|byte| *byte == b'/').map(bare).collect();
    segments.join(&b'/')
}

fn with_single_slashes(path: &[u8]) -> Vec<u8> {
    let mut single = path.to_vec();
    single.dedup_by(|one, before| *one == b'/' && *before == b'/');
    single
}

fn without_slash_at_the_end(path: &[u8]) -> Vec<u8> {
    let kept = path
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(1, |last| last + 1);
    path.iter().take(kept).copied().collect()
}

fn until_the_path_ends(path: &[u8]) -> Vec<u8> {
    let inside = |byte: &&u8| !byte.is_ascii_control() && !b"?#".contains(byte);
    path.iter().take_while(inside).copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(path: &str) -> Vec<String> {
        let mut texts: Vec<String> = readings(path)
            .unwrap_or_default()
            .into_iter()
            .map(Cow::into_owned)
            .collect();
        texts.sort();
        texts
    }

    #[test]
    fn a_plain_path_has_one_reading() {
        for path in ["/", "/v2/bookings", "/a.b/c@d,e=f&g/~h"] {
            assert_eq!(texts(path), [path]);
        }
    }

    #[test]
    fn every_way_to_read_it_is_a_reading() {
        for (path, readings) in [
            ("/a/", &["/a", "/a/"][..]),
            ("/a//b", &["/a//b", "/a/b"]),
            ("/a;x/b", &["/a/b", "/a;x/b"]),
            ("/%61", &["/%61", "/a"]),
            ("/%2561", &["/%2561", "/%61", "/a"]),
            ("/a%2fb", &["/a%2fb", "/a/b"]),
            ("/a%3fb", &["/a", "/a%3fb", "/a?b"]),
            ("/a%00b", &["/a", "/a\0b", "/a%00b"]),
            ("//", &["/", "//"]),
        ] {
            assert_eq!(texts(path), readings, "{path}");
        }
        assert!(texts("/a/;x/b").contains(&"/a/b".to_owned()));
        assert!(texts("/a/%3bx//b").contains(&"/a/b".to_owned()));
    }

    #[test]
    fn what_climbs_has_no_reading() {
        for path in [
            "/a/../b",
            "/a/%2e%2e/b",
            "/a/..;x/b",
            "/a/..%3bx/b",
            "/a/..%00/b",
            "/a/..%20/b",
            "/a/%20./b",
            "/a/..%3f/b",
            "/a%5c..%5cb",
            "/a/%c0%ae%c0%ae/b",
        ] {
            assert_eq!(readings(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn reading_ends_and_every_reading_is_read_to_its_end(
            path in "/([a-z/;.?#]|%2[fe5]|%3[bf]|%00|%61|//){0,16}",
        ) {
            if let Some(readings) = readings(&path) {
                prop_assert!(readings.len() <= MAX_READINGS);
                for reading in &readings {
                    for step in STEPS {
                        let read = String::from_utf8(step(reading.as_bytes())).unwrap();
                        let known = readings.iter().any(|known| **known == *read);
                        prop_assert!(known, "{:?} of {:?}", read, path);
                    }
                }
            }
        }
    }
}
