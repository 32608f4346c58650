//! The headers by which the app tells our deliveries from forged ones: Standard Webhooks 1.0.
//!
//! The signature is HMAC-SHA256, keyed with the bytes of the secret, over `id.timestamp.body`. While a
//! secret is being replaced there are two signatures, and either proves the delivery (Standard
//! Webhooks, "Signature scheme" and "Multiple signatures").

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::base::{
    clock::Timestamp,
    secret::{ReloadableSecret, Secret},
};

/// The delivery's own name, the same over retries and replays.
pub(super) const ID: HeaderName = HeaderName::from_static("webhook-id");

/// When this try was made, in seconds since the epoch.
pub(super) const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");

/// `v1,<base64>`, several apart by a space.
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The secrets that sign.
#[derive(Clone)]
pub(super) struct Signers(Vec<ReloadableSecret>);

// === impl Signers ===

impl Signers {
    /// The present secret first, then the one before it.
    pub(super) fn new(secrets: impl IntoIterator<Item = ReloadableSecret>) -> Self {
        Self(secrets.into_iter().collect())
    }

    /// Adds the three headers for this try. Without a secret there is no signature.
    pub(super) fn sign(&self, headers: &mut HeaderMap, id: &str, now: Timestamp, body: &[u8]) {
        let timestamp = now.as_secs().to_string();
        let signatures: Vec<String> = self
            .0
            .iter()
            .filter_map(|secret| signature(&secret.current(), id, &timestamp, body))
            .collect();
        let pairs = [
            (ID, Some(id.to_owned())),
            (TIMESTAMP, Some(timestamp)),
            (
                SIGNATURE,
                (!signatures.is_empty()).then(|| signatures.join(" ")),
            ),
        ];
        for (name, value) in pairs {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
    }
}

/// `None` if the secret is not one, which the configuration refuses.
fn signature(secret: &Secret<String>, id: &str, timestamp: &str, body: &[u8]) -> Option<String> {
    let encoded = secret.danger_expose().trim().strip_prefix("whsec_")?;
    let key = Zeroizing::new(BASE64_STANDARD.decode(encoded).ok()?);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    let digest = mac.finalize().into_bytes();
    Some(format!("v1,{}", BASE64_STANDARD.encode(digest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, as its libraries test it.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn reloadable(text: &str) -> ReloadableSecret {
        ReloadableSecret::new(Secret::from(text.to_owned()))
    }

    fn signed(signers: &Signers) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let now = Timestamp::from_secs(1_614_265_330);
        signers.sign(&mut headers, "msg_p5jXN8AQM9LWM0D4loKWxJek", now, BODY);
        headers
    }

    #[test]
    fn a_delivery_is_signed_as_the_standard_has_it() {
        let headers = signed(&Signers::new([reloadable(SECRET)]));
        assert_eq!(headers[ID], "msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(headers[TIMESTAMP], "1614265330");
        assert_eq!(
            headers[SIGNATURE],
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn while_a_secret_is_replaced_both_sign() {
        let next = reloadable("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
        let headers = signed(&Signers::new([next, reloadable(SECRET)]));
        let signatures = headers[SIGNATURE].to_str().unwrap();
        assert_eq!(signatures.split(' ').count(), 2);
        assert!(signatures.ends_with(" v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn without_a_secret_nothing_is_signed() {
        let headers = signed(&Signers::new([]));
        assert!(headers.contains_key(ID) && !headers.contains_key(SIGNATURE));
    }
}
