//! Whether a webhook is genuine: signed by a key of ours, over exactly these bytes, just now.
//!
//! 1. Any of several keys will do, so that keys can be replaced without losing what is under way. No
//!    key at all refuses everything.
//! 2. Comparison takes the same time wherever two signatures differ.
//! 3. A signature header that comes twice is refused: somebody downstream might read the other one.
//! 4. Time is looked at last, so that "too old" is only ever said of something genuine.

use std::time::Duration;

use http::HeaderMap;
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
