//! Which webhooks of Calendly are taken for genuine.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::{
    base::clock::Timestamp,
    provider::{Forged, Genuine, Received, calendly::signature::verify},
};

/// The published vector (Calendly, signature).
const KEY: &str = "calendly_key";
const BODY: &[u8] = br#"{"event":"invitee.created","created_at":"2023-11-14T22:13:20.000000Z","created_by":"https://api.calendly.com/users/AAA","payload":{"email":"a@example.com"}}"#;
const DIGEST: &str = "d6e180d65490baad58eb05bee811735ef6e1d522baaa05b7ee56482716cf700d";
const SIGNED: i64 = 1_700_000_000;

const TOLERANCE: Duration = Duration::from_mins(3);

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        let value = HeaderValue::from_str(value).unwrap();
        headers.append("calendly-webhook-signature", value);
    }
    headers
}

fn verified_at(values: &[&str], body: &[u8], keys: &[&str], at_secs: i64) -> Result<usize, Forged> {
    let keys: Vec<_> = keys.iter().map(|key| secret(key)).collect();
    let genuine = verify(&Received {
        headers: &headers(values),
        body,
        keys: &keys.iter().collect::<Vec<_>>(),
        at: Timestamp::from_secs(at_secs),
        tolerance: TOLERANCE,
    });
    genuine.map(|Genuine { key }| key)
}

fn verified(values: &[&str], keys: &[&str]) -> Result<usize, Forged> {
    verified_at(values, BODY, keys, SIGNED)
}

fn signed(key: &str, time: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[test]
fn the_published_vector_is_genuine() {
    let header = format!("t={SIGNED},v1={DIGEST}");
    assert_eq!(verified(&[&header], &[KEY]), Ok(0));
}

#[test]
fn any_key_of_the_set_will_do_and_is_told() {
    let header = format!("t={SIGNED},v1={DIGEST}");
    assert_eq!(verified(&[&header], &["new", "", KEY, "older"]), Ok(2));
}

#[test]
fn any_of_several_signatures_will_do() {
    let other = "0".repeat(64);
    for header in [
        format!("t={SIGNED},v1={other},v1={DIGEST}"),
        format!("t={SIGNED}, v1={DIGEST}, v1={other}"),
        format!("v1={DIGEST},t={SIGNED}"),
        format!("t={SIGNED},v0=x,v1={DIGEST},v2=y"),
        format!("t={SIGNED},v1=short,v1={DIGEST}"),
    ] {
        assert_eq!(verified(&[&header], &[KEY]), Ok(0), "{header}");
    }
}

#[test]
fn without_a_key_everything_is_refused() {
    let header = format!("t={SIGNED},v1={DIGEST}");
    assert_eq!(verified(&[&header], &[]), Err(Forged::NoKey));
    assert_eq!(verified(&[&header], &["", ""]), Err(Forged::NoKey));
    // What an empty key would sign is no better.
    let empty = format!("t={SIGNED},v1={}", signed("", "1700000000", BODY));
    assert_eq!(verified(&[&empty], &[""]), Err(Forged::NoKey));
}

#[test]
fn a_signature_that_is_missing_doubled_or_broken_is_refused() {
    let good = format!("t={SIGNED},v1={DIGEST}");
    assert_eq!(verified(&[], &[KEY]), Err(Forged::Unsigned));
    assert_eq!(verified(&[&good, &good], &[KEY]), Err(Forged::Repeated));
    for broken in [
        String::new(),
        DIGEST.to_owned(),
        format!("t={SIGNED}"),
        format!("v1={DIGEST}"),
        format!("t=,v1={DIGEST}"),
        format!("t=-1,v1={DIGEST}"),
        format!("t=1e9,v1={DIGEST}"),
        format!("t={SIGNED}0000000000000,v1={DIGEST}"),
        format!("t={SIGNED},t={SIGNED},v1={DIGEST}"),
        format!("t={SIGNED},v1={DIGEST}00"),
        format!("t={SIGNED},v1={}", DIGEST.replace('d', "z")),
        format!("t={SIGNED},{DIGEST}"),
    ] {
        assert_eq!(
            verified(&[&broken], &[KEY]),
            Err(Forged::Malformed),
            "{broken}"
        );
    }
}

#[test]
fn another_body_time_or_key_is_refused() {
    let header = format!("t={SIGNED},v1={DIGEST}");
    assert_eq!(verified(&[&header], &["other"]), Err(Forged::Wrong));
    let later = format!("t={},v1={DIGEST}", SIGNED + 1);
    assert_eq!(verified(&[&later], &[KEY]), Err(Forged::Wrong));
    // Written differently, it is signed differently.
    let padded = format!("t=0{SIGNED},v1={DIGEST}");
    assert_eq!(verified(&[&padded], &[KEY]), Err(Forged::Wrong));
    let spaced = [BODY, b" "].concat();
    let result = verified_at(&[&header], &spaced, &[KEY], SIGNED);
    assert_eq!(result, Err(Forged::Wrong));
}

#[test]
fn the_window_is_open_to_both_sides_bounds_included() {
    let header = format!("t={SIGNED},v1={DIGEST}");
    let at = |secs| verified_at(&[&header], BODY, &[KEY], SIGNED + secs);
    assert_eq!(at(180), Ok(0));
    assert_eq!(at(-180), Ok(0));
    let by = Duration::from_secs(181);
    assert_eq!(at(181), Err(Forged::TooOld { by }));
    assert_eq!(at(-181), Err(Forged::FromTheFuture { by }));
}

#[test]
fn old_is_said_of_genuine_ones_only() {
    let header = format!("t={SIGNED},v1={}", "0".repeat(64));
    let result = verified_at(&[&header], BODY, &[KEY], SIGNED + 10_000);
    assert_eq!(result, Err(Forged::Wrong));
}

proptest! {
    #[test]
    fn whatever_is_signed_is_genuine_and_one_changed_byte_is_not(
        key in "[!-~]{1,40}",
        body in proptest::collection::vec(any::<u8>(), 1..200),
        at in 0_i64..9_999_999_999,
        flip in any::<proptest::sample::Index>(),
    ) {
        let time = at.to_string();
        let header = format!("t={time},v1={}", signed(&key, &time, &body));
        prop_assert_eq!(verified_at(&[&header], &body, &["another key", &key], at), Ok(1));
        let mut changed = body.clone();
        changed[flip.index(body.len())] ^= 1;
        prop_assert_eq!(verified_at(&[&header], &changed, &[&key], at), Err(Forged::Wrong));
    }

    #[test]
    fn no_header_is_genuine_by_accident_or_makes_it_panic(header in "[ -~]{0,120}") {
        prop_assert!(verified(&[&header], &[KEY]).is_err());
    }
}
