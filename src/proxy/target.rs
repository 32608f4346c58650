//! What of a request's target may go to a provider.
//!
//! 1. Nothing is normalised silently: a target passes byte for byte, or it is refused.
//! 2. Refused is whatever somebody further on could read as climbing out of the API's path or as
//!    another authority: `.` and `..` segments, a leading `//`, backslashes; plain, percent-encoded,
//!    or encoded more than once.
//! 3. From the query only `access_token` is removed (RFC 6750 §2.3: it would be a second credential),
//!    however it is spelled; the rest passes byte for byte.

use bytes::Bytes;
use http::uri::{InvalidUri, PathAndQuery};
use thiserror::Error;

/// How often a target is decoded before it is taken for hostile: no honest one needs more.
const MAX_DECODINGS: usize = 4;
/// The query parameter that would carry a token.
const TOKEN_PARAMETER: &[u8] = b"access_token";

/// Why a target does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum InvalidTarget {
    /// A `.` or `..` segment, plain or encoded.
    #[error("the path has a '.' or '..' segment")]
    DotSegment,
    /// It begins with two slashes, plain or encoded.
    #[error("the path begins with two slashes, which would read as a host")]
    LooksLikeHost,
    /// A backslash, which some take for a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// A byte that no path may have.
    #[error("the path has a byte that is not visible ASCII")]
    StrayByte,
    /// Percent signs that encode percent signs, over and over.
    #[error("the path is percent-encoded more than {MAX_DECODINGS} times")]
    Nested,
    /// `OPTIONS *`, or no path at all.
    #[error("the target is no path")]
    NoPath,
    /// The host header or the authority cannot be understood.
    #[error("the Host header is missing, repeated or malformed")]
    Host,
    /// Neither http nor https.
    #[error("only http and https addresses can be called")]
    Scheme,
}

/// Whether `path` (which begins with `/`) may be appended to an API's base.
pub(super) fn check_path(path: &str) -> Result<(), InvalidTarget> {
    let bytes = path.as_bytes();
    let (mut is_plain, mut has_escapes) = (!bytes.starts_with(b"//"), false);
    for byte in bytes {
        match byte {
            b'%' => has_escapes = true,
            b'.' | b'\\' => is_plain = false,
            b'!'..=b'~' => {}
            _ => return Err(InvalidTarget::StrayByte),
        }
    }
    if !is_plain {
        check_segments(bytes)?;
    }
    if !has_escapes {
        return Ok(());
    }
    let mut decoded = bytes.to_vec();
    for _ in 0..MAX_DECODINGS {
        let again = decode(&decoded);
        if again == decoded {
            return Ok(());
        }
        check_segments(&again)?;
        decoded = again;
    }
    Err(InvalidTarget::Nested)
}

fn check_segments(path: &[u8]) -> Result<(), InvalidTarget> {
    if path.contains(&b'\\') {
        return Err(InvalidTarget::Backslash);
    }
    if path.starts_with(b"//") {
        return Err(InvalidTarget::LooksLikeHost);
    }
    // Some servers cut parameters off a segment before they look at its dots.
    let dots = |segment: &[u8]| {
        let name = segment.split(|byte| *byte == b';').next();
        matches!(name, Some(b"." | b".."))
    };
    if path.contains(&b'.') && path.split(|byte| *byte == b'/').any(dots) {
        return Err(InvalidTarget::DotSegment);
    }
    Ok(())
}

/// Percent-decodes once; what is not an escape stays.
pub(super) fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = next_decoded(rest) {
        decoded.push(byte);
        rest = after;
    }
    decoded
}

fn next_decoded(bytes: &[u8]) -> Option<(u8, &[u8])> {
    if let [b'%', high, low, rest @ ..] = bytes
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        return Some((high << 4 | low, rest));
    }
    bytes.split_first().map(|(byte, rest)| (*byte, rest))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// `path` below `prefix`, and `query`, as a target, without `access_token` parameters.
pub(super) fn build(
    prefix: &str,
    path: &str,
    query: Option<&str>,
) -> Result<PathAndQuery, InvalidUri> {
    let room = query.map_or(0, |query| 1 + query.len());
    let mut target = String::with_capacity(prefix.len() + path.len() + room);
    target.push_str(prefix);
    target.push_str(path);
    let mut separator = Some('?');
    for parameter in query.into_iter().flat_map(|query| query.split('&')) {
        // Some frameworks split at semicolons as well: a token hidden behind one goes, too.
        let kept = if parameter.contains(';') {
            let honest: Vec<&str> = parameter.split(';').filter(|p| !is_token(p)).collect();
            std::borrow::Cow::Owned(honest.join(";"))
        } else {
            parameter.into()
        };
        if is_token(&kept) || (kept.is_empty() && !parameter.is_empty()) {
            continue;
        }
        target.push(separator.replace('&').unwrap_or('&'));
        target.push_str(&kept);
    }
    // The text itself becomes the target, without another copy.
    PathAndQuery::from_maybe_shared(Bytes::from(target))
}

/// Whether `parameter` is named `access_token` in any case or encoding, or is an element of an array
/// of that name.
fn is_token(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default().as_bytes();
    if name.len() < TOKEN_PARAMETER.len() {
        return false;
    }
    let mut rest = name;
    let trimmed = std::iter::from_fn(|| {
        let (byte, after) = next_decoded(rest)?;
        rest = after;
        Some(byte)
    })
    .skip_while(|byte| matches!(byte, b' ' | b'+'));
    let mut expected = TOKEN_PARAMETER.iter();
    for byte in trimmed {
        match expected.next() {
            Some(wanted) if byte.eq_ignore_ascii_case(wanted) => {}
            Some(_) => return false,
            None => return !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')),
        }
    }
    expected.next().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn honest_paths_pass() {
        for fine in [
            "/",
            "/users/me",
            "/v2/bookings/abc.def/..x",
            "/a//b",
            "/a/%20b",
            "/scheduled_events/https%3A%2F%2Fapi.calendly.com%2Fx",
            "/@evil.com/x",
            "/...",
            "/100%",
        ] {
            assert_eq!(check_path(fine), Ok(()), "{fine}");
        }
    }

    #[test]
    fn tricks_are_refused() {
        use InvalidTarget::*;
        for (trick, why) in [
            ("//evil.com", LooksLikeHost),
            ("/%2fevil.com", LooksLikeHost),
            ("/%252fevil.com", LooksLikeHost),
            ("/a/../b", DotSegment),
            ("/..", DotSegment),
            ("/./a", DotSegment),
            ("/a/%2e%2e/b", DotSegment),
            ("/a/.%2E/b", DotSegment),
            ("/a/%252e%252e/b", DotSegment),
            ("/a%2f..%2fb", DotSegment),
            ("/a/..;x=1/b", DotSegment),
            ("/a\\b", Backslash),
            ("/a%5c..%5cb", Backslash),
            ("/%25252525255c", Nested),
            ("/a b", StrayByte),
            ("/a\u{e9}", StrayByte),
        ] {
            assert_eq!(check_path(trick), Err(why), "{trick}");
        }
    }

    #[test]
    fn only_the_token_leaves_the_query() {
        for (query, kept) in [
            ("a=1&b=%2F", "/p?a=1&b=%2F"),
            ("access_token=x", "/p"),
            ("a=1&access_token=x&b=2", "/p?a=1&b=2"),
            ("ACCESS_TOKEN=x&a", "/p?a"),
            ("access%5Ftoken=x", "/p"),
            ("%61ccess_token=x&b", "/p?b"),
            ("access_token[]=x", "/p"),
            ("a=1;access_token=x", "/p?a=1"),
            ("access_token", "/p"),
            ("access_token_type=1", "/p?access_token_type=1"),
            ("x=access_token", "/p?x=access_token"),
            ("", "/p?"),
            ("a&&b", "/p?a&&b"),
            ("a;b", "/p?a;b"),
        ] {
            assert_eq!(build("", "/p", Some(query)).unwrap(), *kept, "{query}");
        }
    }

    proptest! {
        #[test]
        fn queries_without_a_token_pass_byte_for_byte(query in "[a-zA-Z0-9=&;%+._~-]{0,40}") {
            prop_assume!(!query.to_lowercase().contains("token") && !query.contains('%'));
            let built = build("", "/p", Some(&query)).unwrap();
            prop_assert_eq!(built.as_str(), format!("/p?{query}"));
        }

        #[test]
        fn no_encoding_of_dots_passes(dots in "(\\.|%2e|%2E|%252e){1,2}", before in "[a-z/]{0,5}") {
            let path = format!("/{before}/{dots}/x");
            prop_assert!(check_path(&path).is_err(), "{}", path);
        }
    }
}
