//! Which webhooks of Cal.com are taken for genuine.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::{
    base::clock::Timestamp,
    provider::{Forged, Genuine, Received, calcom::signature::verify},
};

const BODY: &[u8] = br#"{"triggerEvent":"BOOKING_CREATED","payload":{}}"#;

/// Of [`BODY`] by the key `s3cret`; computed with openssl.
const DIGEST: &str = "09ad26af93d358ae504cefc0127eb7b255315612b1cc8698a90c0a92822393c8";

fn verified(values: &[&str], body: &[u8], keys: &[&str]) -> Result<usize, Forged> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("x-cal-signature-256", HeaderValue::from_str(value).unwrap());
    }
    let keys: Vec<_> = keys.iter().map(|key| secret(key)).collect();
    let genuine = verify(&Received {
        headers: &headers,
        body,
        keys: &keys.iter().collect::<Vec<_>>(),
        at: Timestamp::EPOCH,
        tolerance: Duration::ZERO,
    });
    genuine.map(|Genuine { key }| key)
}

fn signed(key: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[test]
fn a_signature_over_the_raw_body_is_genuine_whenever_it_comes() {
    assert_eq!(verified(&[DIGEST], BODY, &["s3cret"]), Ok(0));
    assert_eq!(verified(&[DIGEST], BODY, &["new", "s3cret"]), Ok(1));
}

#[test]
fn the_words_for_no_secret_are_refused_whatever_the_keys() {
    for keys in [&[][..], &["s3cret"], &["no-secret-provided"]] {
        let result = verified(&["no-secret-provided"], BODY, keys);
        assert_eq!(result, Err(Forged::Unsigned), "{keys:?}");
    }
}

#[test]
fn everything_else_is_refused() {
    let refused = |values: &[&str], keys: &[&str]| verified(values, BODY, keys).unwrap_err();
    assert_eq!(refused(&[], &["s3cret"]), Forged::Unsigned);
    assert_eq!(refused(&[DIGEST], &[]), Forged::NoKey);
    assert_eq!(refused(&[DIGEST], &[""]), Forged::NoKey);
    assert_eq!(refused(&[DIGEST], &["other"]), Forged::Wrong);
    assert_eq!(refused(&[DIGEST, DIGEST], &["s3cret"]), Forged::Repeated);
    for broken in [
        "",
        "sha256=",
        "zz",
        DIGEST.split_at(1).1,
        &format!("sha256={DIGEST}"),
    ] {
        assert_eq!(
            refused(&[broken], &["s3cret"]),
            Forged::Malformed,
            "{broken}"
        );
    }
}

proptest! {
    #[test]
    fn whatever_is_signed_is_genuine_and_one_changed_byte_is_not(
        key in "[!-~]{1,40}",
        body in proptest::collection::vec(any::<u8>(), 1..200),
        flip in any::<proptest::sample::Index>(),
    ) {
        let header = signed(&key, &body);
        prop_assert_eq!(verified(&[&header], &body, &["another key", &key]), Ok(1));
        let mut changed = body.clone();
        changed[flip.index(body.len())] ^= 1;
        prop_assert_eq!(verified(&[&header], &changed, &[&key]), Err(Forged::Wrong));
    }

    #[test]
    fn no_header_is_genuine_by_accident_or_makes_it_panic(header in "[ -~]{0,80}") {
        prop_assert!(verified(&[&header], BODY, &["s3cret"]).is_err());
    }
}
