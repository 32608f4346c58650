//! Whether a webhook is genuine: signed by a key of ours, over exactly these bytes, just now.
//!
//! 1. Any of several keys will do, so that keys can be replaced without losing what is under way. No
//!    key at all refuses everything.
//! 2. Comparison takes the same time wherever two signatures differ.
//! 3. A signature header that comes twice is refused: somebody downstream might read the other one.
//! 4. Time is looked at last, so that "too old" is only ever said of something genuine.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName};
use sha2::Sha256;
use thiserror::Error;

use crate::base::{clock::Timestamp, secret::Secret};

/// A webhook as it came, and by what it is measured.
#[derive(Clone, Copy)]
#[expect(
    missing_debug_implementations,
    reason = "holds secrets and personal data"
)]
pub struct Received<'a> {
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The raw bytes.
    pub body: &'a [u8],
    /// The keys that may have signed it, likeliest first.
    pub keys: &'a [&'a Secret<String>],
    /// When it came.
    pub at: Timestamp,
    /// How far the sender's clock may be off, either way, where a signature has a time.
    pub tolerance: Duration,
}

/// A webhook proved genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Genuine {
    /// Which of the keys signed it.
    pub key: usize,
}

/// Why a webhook is not taken for genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Forged {
    /// There is no key to verify with.
    #[error("there is no key to verify it with")]
    NoKey,
    /// There is no signature.
    #[error("it has no signature")]
    Unsigned,
    /// There are several signature headers.
    #[error("it has more than one signature header")]
    Repeated,
    /// The signature is none.
    #[error("its signature is malformed")]
    Malformed,
    /// No key made this signature over these bytes.
    #[error("its signature is wrong")]
    Wrong,
    /// Signed by a key of ours, but longer ago than the tolerance: perhaps a replay.
    #[error("it was signed {} s ago", by.as_secs())]
    TooOld {
        /// How long ago.
        by: Duration,
    },
    /// Signed by a key of ours, for a time to come: one of two clocks is wrong.
    #[error("it was signed {} s ahead of our clock", by.as_secs())]
    FromTheFuture {
        /// How far ahead.
        by: Duration,
    },
}

/// The bytes of an HMAC-SHA256.
pub(super) type Digest = [u8; 32];

/// The one value of `name`.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Forged> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(Forged::Unsigned),
        (Some(_), Some(_)) => Err(Forged::Repeated),
        (Some(value), None) => value.to_str().map_err(|_not_text| Forged::Malformed),
    }
}

/// 64 digits, in either case.
pub(super) fn digest(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}

/// Which of `keys` made any of `signatures` over `parts` in a row.
pub(super) fn signer(
    keys: &[&Secret<String>],
    parts: &[&[u8]],
    signatures: &[Digest],
) -> Result<Genuine, Forged> {
    let keys = keys.iter().map(|key| key.danger_expose().as_bytes());
    let mut usable = keys
        .enumerate()
        // An empty key is one that everybody has.
        .filter(|(_, key)| !key.is_empty())
        .peekable();
    if usable.peek().is_none() {
        return Err(Forged::NoKey);
    }
    usable
        .find(|(_, key)| {
            Hmac::<Sha256>::new_from_slice(key).is_ok_and(|mut mac| {
                for part in parts {
                    mac.update(part);
                }
                signatures
                    .iter()
                    .any(|signature| mac.clone().verify_slice(signature).is_ok())
            })
        })
        .map(|(key, _)| Genuine { key })
        .ok_or(Forged::Wrong)
}

/// Whether `signed` is within `tolerance` of `now`, bounds included.
pub(super) fn in_time(
    signed: Timestamp,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), Forged> {
    let ago = now.saturating_since(signed);
    let ahead = signed.saturating_since(now);
    if ago > tolerance {
        Err(Forged::TooOld { by: ago })
    } else if ahead > tolerance {
        Err(Forged::FromTheFuture { by: ahead })
    } else {
        Ok(())
    }
}
