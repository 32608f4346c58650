//! Which browser it is: a cookie with a random value, compared with the digest that a consent keeps.
//!
//! 1. Over TLS its name begins with `__Host-` (RFC 6265bis §4.1.3.2): neither a neighbouring host nor
//!    plain HTTP can set it, so nobody can give a browser a value of their own. Such a cookie always
//!    has the path `/`; over plain HTTP (a laptop) it is limited to ours.
//! 2. One value per browser, not per consent: several tabs work side by side, and opening links again
//!    and again does not pile up cookies. It ends with the youngest consent.
//! 3. No script reads it (`HttpOnly`); it comes along when a provider sends the browser back, and not
//!    with requests that other sites make (`SameSite=Lax`).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::place::Place;
use crate::base::{random::Random, secret::Secret};

const SECURE_NAME: &str = "__Host-daypass-browser";
const PLAIN_NAME: &str = "daypass-browser";

/// 256 bits in base64.
const LEN: usize = 43;

/// A browser, as far as its cookie tells.
#[derive(Clone)]
pub(super) struct Browser(Secret<String>);

/// By which a browser is recognised later.
pub(super) type Mark = [u8; 32];

// === impl Browser ===

impl Browser {
    /// One that was not here before.
    pub(super) fn new(random: &dyn Random) -> Self {
        let bytes = Secret::new(random.bytes::<32>());
        let value = URL_SAFE_NO_PAD.encode(bytes.danger_expose());
        Self(Secret::new(value))
    }

    /// The one that sent `headers`, if it was here before. Of several cookies of our name none counts.
    pub(super) fn of(headers: &HeaderMap, place: &Place) -> Option<Self> {
        let lines = headers.get_all(header::COOKIE).iter();
        let mut values = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == cookie_name(place))
            .map(|(_, value)| value);
        match (values.next(), values.next()) {
            (Some(value), None) if is_value(value) => Some(Self(Secret::new(value.to_owned()))),
            _ => None,
        }
    }

    /// What a consent keeps of it.
    pub(super) fn mark(&self) -> Mark {
        Sha256::digest(self.0.danger_expose()).into()
    }

    /// Whether it is the one that `mark` was made of. In constant time.
    pub(super) fn is(&self, mark: &Mark) -> bool {
        self.mark().ct_eq(mark).into()
    }

    /// `Set-Cookie`, for as long as `age`.
    pub(super) fn cookie(&self, place: &Place, age: Duration) -> Option<HeaderValue> {
        let (name, value) = (cookie_name(place), self.0.danger_expose());
        let seconds = age.as_secs();
        let bounds = if place.is_secure() {
            "Path=/; Secure".to_owned()
        } else {
            format!("Path={}/", place.prefix())
        };
        let text = format!("{name}={value}; {bounds}; Max-Age={seconds}; HttpOnly; SameSite=Lax");
        let mut header = HeaderValue::from_str(&text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

fn cookie_name(place: &Place) -> &'static str {
    if place.is_secure() {
        SECURE_NAME
    } else {
        PLAIN_NAME
    }
}

fn is_value(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() == LEN && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::SeededRandom;

    const AGE: Duration = Duration::from_mins(30);

    fn place(url: &str) -> Place {
        Place::new(&url.parse().unwrap())
    }

    fn sending(cookies: &[&str]) -> HeaderMap {
        let lines = cookies.iter().map(|line| line.parse().unwrap());
        lines.map(|line| (header::COOKIE, line)).collect()
    }

    #[test]
    fn over_tls_the_cookie_belongs_to_this_host_alone() {
        let browser = Browser::new(&SeededRandom::new(1));
        let cookie = browser
            .cookie(&place("https://d.example.org/x"), AGE)
            .unwrap();
        assert!(cookie.is_sensitive());
        let value = browser.0.danger_expose();
        let expected = format!(
            "__Host-daypass-browser={value}; Path=/; Secure; Max-Age=1800; HttpOnly; SameSite=Lax"
        );
        assert_eq!(cookie, expected.as_str());
    }

    #[test]
    fn over_plain_http_the_cookie_is_limited_to_our_path() {
        let browser = Browser::new(&SeededRandom::new(1));
        let cookie = browser
            .cookie(&place("http://localhost:7421/x"), AGE)
            .unwrap();
        let text = cookie.to_str().unwrap();
        assert!(text.starts_with("daypass-browser="), "{text}");
        assert!(text.contains("; Path=/x/; Max-Age"), "{text}");
        assert!(!text.contains("Secure"), "{text}");
    }

    #[test]
    fn a_browser_is_recognised_by_its_cookie_among_others() {
        let (place, browser) = (
            place("https://d.example.org"),
            Browser::new(&SeededRandom::new(1)),
        );
        let (mark, value) = (browser.mark(), browser.0.danger_expose().clone());
        let ours = format!("{SECURE_NAME}={value}");
        let beside = format!("a=b; {ours}; c=d");
        for lines in [&[&*ours][..], &[&*beside], &["a=b", &*ours]] {
            assert!(Browser::of(&sending(lines), &place).unwrap().is(&mark));
        }
        let other = Browser::new(&SeededRandom::new(2));
        assert!(!other.is(&mark));
    }

    #[test]
    fn what_is_not_one_cookie_of_ours_is_no_browser() {
        let place = place("https://d.example.org");
        let value = Browser::new(&SeededRandom::new(1))
            .0
            .danger_expose()
            .clone();
        let (ours, plain) = (
            format!("{SECURE_NAME}={value}"),
            format!("{PLAIN_NAME}={value}"),
        );
        let twice = format!("{ours}; {ours}");
        let (short, odd) = (
            format!("{SECURE_NAME}=x"),
            format!("{SECURE_NAME}={}", "\"".repeat(43)),
        );
        for lines in [
            &[][..],
            &[&*plain],
            &[&*twice],
            &[&*ours, &*ours],
            &[&*short],
            &[&*odd],
        ] {
            assert!(Browser::of(&sending(lines), &place).is_none(), "{lines:?}");
        }
    }
}
