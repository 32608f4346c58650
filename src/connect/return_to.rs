//! Where a browser is sent when it is done, and what it brings along.
//!
//! 1. Only to an origin that is allowed: scheme, host and port are the same. There is no matching by
//!    beginning or by domain.
//! 2. What is written in a way that two parsers could read differently is refused before it is parsed,
//!    and what is sent to the browser is what the parser understood, never the text that came in.
//! 3. The query that is there stays, byte for byte, but for names that would pass for our result.

use thiserror::Error;
use url::{Url, form_urlencoded};

/// Longer addresses get lost on the way: servers commonly take 8 KiB of request line.
const MAX_LEN: usize = 2048;

/// What the app reads from the query when the browser is back. An address may not say these itself.
const NAMES: [&str; 5] = ["connection", "provider", "reason", "note", "missing"];

/// An address at an allowed origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReturnTo(Url);

/// The origins to which browsers may be sent.
#[derive(Clone, Debug, Default)]
pub(super) struct ReturnOrigins(Vec<Url>);

/// Why an address is none to return to. The caller's fault, or the configuration's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReturnFault {
    /// It is longer than any server takes.
    #[error("it is longer than {MAX_LEN} bytes")]
    TooLong,
    /// It has blanks, control characters, backslashes or letters that must be percent-encoded.
    #[error("it has characters that an address must percent-encode")]
    Characters,
    /// It is relative, or of another scheme.
    #[error("it is not an absolute https:// or http:// address")]
    NotAbsolute,
    /// It has a user name or password in it.
    #[error("it has a user name in it")]
    UserInfo,
    /// Its origin is not among `ingress.allowed_return_origins`.
    #[error("its origin {origin} is not among ingress.allowed_return_origins")]
    Origin {
        /// The origin, as it was understood.
        origin: String,
    },
}

// === impl ReturnOrigins ===

impl ReturnOrigins {
    pub(super) const fn new(origins: Vec<Url>) -> Self {
        Self(origins)
    }

    /// Takes `text` for an address to return to.
    pub(super) fn check(&self, text: &str) -> Result<ReturnTo, ReturnFault> {
        if text.len() > MAX_LEN {
            return Err(ReturnFault::TooLong);
        }
        if !text.bytes().all(is_plain) {
            return Err(ReturnFault::Characters);
        }
        let (scheme, rest) = text.split_once("://").ok_or(ReturnFault::NotAbsolute)?;
        if !["https", "http"].contains(&scheme) || rest.starts_with('/') {
            return Err(ReturnFault::NotAbsolute);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(ReturnFault::UserInfo);
        }
        let Ok(url) = Url::parse(text) else {
            return Err(ReturnFault::NotAbsolute);
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ReturnFault::UserInfo);
        }
        if self.0.iter().any(|one| one.origin() == url.origin()) {
            return Ok(ReturnTo(url));
        }
        let origin = url.origin().ascii_serialization();
        Err(ReturnFault::Origin { origin })
    }
}

/// Visible ASCII, without what some parsers take for a slash and what no address has bare.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'`')
}

// === impl ReturnTo ===

impl ReturnTo {
    /// As text, to be checked again when it is read back.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The address with `result` in its query.
    pub(super) fn with(&self, result: &[(&'static str, &str)]) -> String {
        let mut url = self.0.clone();
        let kept = url.query().unwrap_or_default().split('&');
        let kept: Vec<&str> = kept.filter(|pair| !is_ours(pair)).collect();
        let mut query = form_urlencoded::Serializer::new(kept.join("&"));
        query.extend_pairs(result);
        url.set_query(Some(&query.finish()));
        url.into()
    }
}

/// Whether a pair of a query is empty, or says what only we say.
fn is_ours(pair: &str) -> bool {
    let name = form_urlencoded::parse(pair.as_bytes()).next();
    name.is_none_or(|(name, _)| NAMES.contains(&&*name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origins() -> ReturnOrigins {
        let urls = ["https://app.example.org", "http://localhost:3000"];
        ReturnOrigins::new(urls.map(|url| url.parse().unwrap()).to_vec())
    }

    fn with(text: &str) -> String {
        let result = [("connection", "connected"), ("provider", "calendly")];
        origins().check(text).unwrap().with(&result)
    }

    #[test]
    fn the_result_stands_in_the_query_and_everything_else_stays() {
        for (text, expected) in [
            (
                "https://app.example.org",
                "https://app.example.org/?connection=connected&provider=calendly",
            ),
            (
                "https://app.example.org/a%2Fb?q=a+b%20c&&x#tab=1",
                "https://app.example.org/a%2Fb?q=a+b%20c&x&connection=connected&provider=calendly#tab=1",
            ),
            (
                "http://localhost:3000/?connection=forged&c%6Fnnection=x&note=y&reason",
                "http://localhost:3000/?connection=connected&provider=calendly",
            ),
        ] {
            assert_eq!(with(text), expected);
        }
    }

    #[test]
    fn allowed_is_the_very_origin() {
        for good in [
            "https://app.example.org",
            "https://app.example.org:443/x",
            "https://APP.example.org/x",
            "http://localhost:3000/?q=https://evil.example",
            "https://app.example.org/@evil.example",
        ] {
            assert!(origins().check(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn every_other_origin_is_told_by_name() {
        let origin = |origin: &str| ReturnFault::Origin {
            origin: origin.to_owned(),
        };
        for (bad, why) in [
            ("https://evil.example/", origin("https://evil.example")),
            ("http://app.example.org/", origin("http://app.example.org")),
            (
                "https://app.example.org:8443/",
                origin("https://app.example.org:8443"),
            ),
            (
                "https://app.example.org.evil.example/",
                origin("https://app.example.org.evil.example"),
            ),
            (
                "https://evil.example/#@app.example.org",
                origin("https://evil.example"),
            ),
            (
                "https://evil.example?app.example.org",
                origin("https://evil.example"),
            ),
            ("http://localhost:3001/", origin("http://localhost:3001")),
            (
                "https://app.example.org./",
                origin("https://app.example.org."),
            ),
        ] {
            assert_eq!(origins().check(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for (bad, why) in [
            (
                "https://app.example.org@evil.example/",
                ReturnFault::UserInfo,
            ),
            ("https://a:b@app.example.org/", ReturnFault::UserInfo),
            ("https://@app.example.org/", ReturnFault::UserInfo),
            (
                "https://app.example.org\\@evil.example/",
                ReturnFault::Characters,
            ),
            ("https:\\\\app.example.org/", ReturnFault::Characters),
            (
                "https://app.example.org/\r\nSet-Cookie:x",
                ReturnFault::Characters,
            ),
            (" https://app.example.org/", ReturnFault::Characters),
            ("https://app.example.org/\u{e9}", ReturnFault::Characters),
            ("", ReturnFault::NotAbsolute),
            ("/", ReturnFault::NotAbsolute),
            ("/settings", ReturnFault::NotAbsolute),
            ("//evil.example", ReturnFault::NotAbsolute),
            ("///evil.example", ReturnFault::NotAbsolute),
            ("https:evil.example", ReturnFault::NotAbsolute),
            ("https:/evil.example", ReturnFault::NotAbsolute),
            ("https:///app.example.org", ReturnFault::NotAbsolute),
            ("https://", ReturnFault::NotAbsolute),
            ("javascript:alert(1)", ReturnFault::NotAbsolute),
            (
                "javascript://app.example.org/%0aalert(1)",
                ReturnFault::NotAbsolute,
            ),
            ("data:text/html,x", ReturnFault::NotAbsolute),
            ("app.example.org", ReturnFault::NotAbsolute),
        ] {
            assert_eq!(origins().check(bad), Err(why), "{bad}");
        }
        let long = format!("https://app.example.org/{}", "x".repeat(MAX_LEN));
        assert_eq!(origins().check(&long), Err(ReturnFault::TooLong));
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let none = ReturnOrigins::default();
        assert!(none.check("https://app.example.org/").is_err());
    }

    /// Pieces that open redirects are made of.
    fn piece() -> impl Strategy<Value = String> {
        let pieces = [
            "https://",
            "http://",
            "https:",
            "//",
            "/",
            "\\",
            "@",
            "#",
            "?",
            "&",
            ".",
            ":",
            "%2f",
            "%5c",
            "%40",
            "%00",
            "%0d%0a",
            "app.example.org",
            "evil.example",
            "localhost",
            ":3000",
            ":443",
            "[::1]",
            "127.0.0.1",
            "\t",
            " ",
            "javascript:",
            "..",
            ";",
            "=",
            "connection",
        ];
        prop_oneof![
            8 => proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned),
            1 => "[ -~]{1,3}",
            1 => "\\PC{1,2}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn no_trick_leads_elsewhere(
            start in proptest::sample::select(vec!["", "https://app.example.org", "http://localhost:3000"]),
            pieces in proptest::collection::vec(piece(), 0..8),
        ) {
            let text = start.to_owned() + &pieces.concat();
            if let Ok(accepted) = origins().check(&text) {
                let sent = accepted.with(&[("connection", "failed"), ("reason", "a b&c=d#e")]);
                // What a browser makes of it.
                let seen = Url::parse(&sent).unwrap();
                prop_assert!(
                    sent.starts_with("https://app.example.org/") || sent.starts_with("http://localhost:3000/"),
                    "{text} leads to {sent}"
                );
                prop_assert!(sent.bytes().all(|byte| byte.is_ascii_graphic()), "{sent}");
                let said: Vec<_> = seen
                    .query_pairs()
                    .filter(|(name, _)| NAMES.contains(&&**name))
                    .map(|(_, value)| value.into_owned())
                    .collect();
                prop_assert_eq!(said, ["failed", "a b&c=d#e"]);
            }
        }
    }
}
