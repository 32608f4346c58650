//! JSON Web Tokens, HS256 only: what the emulated providers hand out.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// HMAC-SHA256 as lowercase hex.
pub(crate) fn hmac_hex(key: &[u8], message: &[u8]) -> String {
    hex::encode(hmac(key, message))
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length; an error cannot happen, and an empty MAC verifies nothing.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// Signs `claims`. The same claims and key give the same token, byte for byte.
pub(crate) fn sign(claims: &Value, key: &[u8]) -> String {
    let head = URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "typ": "JWT"}).to_string());
    let body = URL_SAFE_NO_PAD.encode(claims.to_string());
    let signed = format!("{head}.{body}");
    let signature = URL_SAFE_NO_PAD.encode(hmac(key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// The claims, if the signature is right. Expiry is the caller's business.
pub(crate) fn verify(token: &str, key: &[u8]) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (_, body) = signed.split_once('.')?;
    if URL_SAFE_NO_PAD.decode(signature).ok()? != hmac(key, signed.as_bytes()) {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_verifies_with_its_own_key_only() {
        let token = sign(&json!({"userId": 7}), b"key");
        assert_eq!(verify(&token, b"key").unwrap()["userId"], 7);
        assert_eq!(verify(&token, b"other"), None);
        assert_eq!(verify("a.b", b"key"), None);
    }
}
