//! Sealing: tokens become bytes that a store may hold, and only the right row opens them again.
//!
//! AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce. What is sealed says by itself how to
//! open it:
//!
//! ```text
//! version (1 byte) | length of key id (1) | key id | nonce (12) | ciphertext and tag (16 or more)
//! ```
//!
//! 1. Provider, user and field are bound in as associated data ([`Aad`]), with the version and the
//!    key id: what was moved to another row or field does not open.
//! 2. Sealing uses the active key; opening uses whichever key the seal names, so keys rotate while
//!    both are in the ring.
//! 3. Stored bytes are data, not trusted: opening is total, and [`OpenError`] tells a truncated
//!    seal, an unknown key and a seal that does not open apart.
//!
//! With random nonces a key should be rotated long before 2³² seals; a million renewals a day reach
//! that after eleven years.

use std::{collections::BTreeSet, fmt, mem, sync::Arc};

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::base::{
    ids::{ConnectionKey, ProviderName},
    random::Random,
    secret::Secret,
};

mod binding;
mod head;

pub use binding::Binding;
pub use head::{HEAD_LEN, head_of, key_id_of};

/// The layout described above.
const VERSION: u8 = 1;

/// How many keys that are not there are remembered: enough to say what is wrong, whatever rows say.
const MISSED_AT_MOST: usize = 8;

/// What AES-GCM is fast and well-defined for (SP 800-38D §8.2).
const NONCE_LEN: usize = 12;

/// The full tag; anything shorter is no seal.
const TAG_LEN: usize = 16;

/// AES-256.
const KEY_LEN: usize = 32;

/// Key ids are short names such as `k1`; this leaves room for a date.
const MAX_ID_LEN: usize = 64;

/// Padded when written; padding is optional when read, since secret stores like to strip it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A sealed secret: version, key id, nonce, ciphertext and tag in one piece. As text it is base64.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sealed(Vec<u8>);

/// One named key. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Key {
    id: Arc<str>,
    cipher: Arc<Aes256Gcm>,
}

/// The keys in use: the active one seals, all of them open. Clones share the keys.
#[derive(Clone)]
pub struct KeyRing {
    active: Key,
    keys: Arc<[Key]>,
    /// Keys that seals named, and that are not here.
    missed: Arc<Mutex<BTreeSet<String>>>,
}

/// What a seal is bound to, so that it opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Aad<'a> {
    provider: &'a str,
    /// Whose row, or which.
    subject: &'a str,
    field: Field,
}

/// Which secret of a connection, or of a record beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The access token.
    AccessToken,
    /// The refresh token.
    RefreshToken,
    /// What an event carries: body and signature headers.
    Event,
    /// What is personal in a meeting.
    Meeting,
    /// The state of a job, such as the secrets of a webhook subscription.
    Job,
    /// What is found by showing a secret once, such as a ticket.
    Expiring,
}

/// What is wrong with the configured keys; the operator must act. Never shows a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The id cannot be written into a seal.
    #[error(
        "encryption key id {id:?} is not usable: take 1 to 64 visible ASCII characters, such as \"k1\""
    )]
    InvalidId {
        /// As configured.
        id: String,
    },
    /// The value is not base64.
    #[error("encryption key {id:?} is not base64: make one with `daypass keygen`")]
    NotBase64 {
        /// Whose value.
        id: String,
    },
    /// The value has not 32 bytes.
    #[error(
        "encryption key {id:?} has {found} bytes instead of 32: make one with `daypass keygen`"
    )]
    WrongLength {
        /// Whose value.
        id: String,
        /// How many it has, in bytes.
        found: usize,
    },
    /// Two keys have one id.
    #[error("encryption key id {id:?} is used twice: give each key an id of its own")]
    Duplicate {
        /// The id in question.
        id: String,
    },
    /// No key has the active id.
    #[error("the active encryption key {id:?} is not among the keys ({known})")]
    ActiveMissing {
        /// The id that was declared active.
        id: String,
        /// The ids that exist.
        known: String,
    },
}

/// Why a seal was not opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It ends too early to be a seal.
    #[error("the sealed value is truncated")]
    Truncated,
    /// A newer version has written it, or it is no seal.
    #[error("the sealed value has format {version}, which this version of daypass does not know")]
    UnknownFormat {
        /// What it says.
        version: u8,
    },
    /// Its key is not in the ring; it opens once the key is configured again.
    #[error("the sealed value needs encryption key {id:?}, which is not configured")]
    UnknownKey {
        /// Which key it names.
        id: String,
    },
    /// It was altered, or belongs to another connection or field, or the key has another value now.
    #[error(
        "the sealed value does not open with encryption key {id:?}: it was altered, moved here from another row, or the key's value has changed"
    )]
    DoesNotOpen {
        /// Which key it names.
        id: String,
    },
}

/// The pieces of a seal.
struct Parts<'a> {
    id: &'a str,
    nonce: [u8; NONCE_LEN],
    ciphertext: &'a [u8],
}

/// A fresh key as base64 text, for the configuration.
pub fn generate_key(random: &dyn Random) -> Secret<String> {
    let bytes = Zeroizing::new(random.bytes::<KEY_LEN>());
    Secret::new(BASE64.encode(bytes.as_slice()))
}

// === impl Sealed ===

impl Sealed {
    /// Takes stored bytes for a seal. Whether they are one shows when they are opened.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// What a store keeps.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key that opens it; for finding what is still sealed with an old one.
    pub fn key_id(&self) -> Result<&str, OpenError> {
        self.parts().map(|parts| parts.id)
    }

    fn parts(&self) -> Result<Parts<'_>, OpenError> {
        let (&version, rest) = self.0.split_first().ok_or(OpenError::Truncated)?;
        if version != VERSION {
            return Err(OpenError::UnknownFormat { version });
        }
        let (&len, rest) = rest.split_first().ok_or(OpenError::Truncated)?;
        let (id, rest) = rest
            .split_at_checked(usize::from(len))
            .ok_or(OpenError::Truncated)?;
        let (nonce, ciphertext) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(OpenError::Truncated)?;
        if ciphertext.len() < TAG_LEN {
            return Err(OpenError::Truncated);
        }
        let Ok(id) = str::from_utf8(id) else {
            let id = String::from_utf8_lossy(id).into_owned();
            return Err(OpenError::UnknownKey { id });
        };
        Ok(Parts {
            id,
            nonce: *nonce,
            ciphertext,
        })
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

impl From<Sealed> for String {
    fn from(sealed: Sealed) -> Self {
        BASE64.encode(sealed.0)
    }
}

impl TryFrom<String> for Sealed {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64.decode(text).map(Self)
    }
}

// === impl Key ===

impl Key {
    /// A key of 32 bytes.
    pub fn new(id: &str, bytes: &Secret<[u8; 32]>) -> Result<Self, KeyError> {
        Self::of_slice(id, bytes.danger_expose())
    }

    /// A key from its base64 text; white space around it (a file's last line break) is ignored.
    pub fn parse(id: &str, value: &Secret<String>) -> Result<Self, KeyError> {
        // The decoder's own complaint quotes a byte of the key, so it is not passed on.
        let Ok(bytes) = BASE64.decode(value.danger_expose().trim()) else {
            return Err(KeyError::NotBase64 { id: id.to_owned() });
        };
        Self::of_slice(id, &Zeroizing::new(bytes))
    }

    fn of_slice(id: &str, bytes: &[u8]) -> Result<Self, KeyError> {
        let named = || id.to_owned();
        let fits = (1..=MAX_ID_LEN).contains(&id.len());
        if !fits || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::InvalidId { id: named() });
        }
        let Ok(cipher) = Aes256Gcm::new_from_slice(bytes) else {
            let found = bytes.len();
            return Err(KeyError::WrongLength { id: named(), found });
        };
        Ok(Self {
            id: id.into(),
            cipher: Arc::new(cipher),
        })
    }

    /// Its name, as in the configuration and in every seal made with it.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

// === impl KeyRing ===

impl KeyRing {
    /// A ring of `keys`, of which the one called `active` seals.
    pub fn new(active: &str, keys: Vec<Key>) -> Result<Self, KeyError> {
        for (index, key) in keys.iter().enumerate() {
            if keys.iter().skip(index + 1).any(|other| other.id == key.id) {
                let id = key.id.to_string();
                return Err(KeyError::Duplicate { id });
            }
        }
        let Some(found) = keys.iter().find(|key| &*key.id == active) else {
            let ids: Vec<&str> = keys.iter().map(Key::id).collect();
            return Err(KeyError::ActiveMissing {
                id: active.to_owned(),
                known: ids.join(", "),
            });
        };
        Ok(Self {
            active: found.clone(),
            keys: keys.into(),
            missed: Arc::default(),
        })
    }

    /// The ids of keys that were needed to open something, and are not in the ring; the first few.
    pub fn missed(&self) -> Vec<String> {
        self.missed.lock().iter().cloned().collect()
    }

    fn miss(&self, id: &str) {
        let mut missed = self.missed.lock();
        if missed.len() < MISSED_AT_MOST {
            missed.insert(id.to_owned());
        }
    }

    /// The id of the key that seals.
    pub fn active_id(&self) -> &str {
        &self.active.id
    }

    /// The ids of all keys, as they were given.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(Key::id)
    }

    /// What `sealed` holds, sealed with the active key and bound to the same `aad`.
    pub fn seal_again(
        &self,
        random: &dyn Random,
        aad: &Aad<'_>,
        sealed: &Sealed,
    ) -> Result<Sealed, OpenError> {
        let plain = self.open_bytes(aad, sealed)?;
        Ok(self.seal_bytes(random, aad, &plain))
    }

    /// Seals `plain` with the active key, bound to `aad`.
    ///
    /// # Panics
    ///
    /// If `plain` is longer than 64 GiB, which no token is.
    pub fn seal(&self, random: &dyn Random, aad: &Aad<'_>, plain: &Secret<String>) -> Sealed {
        self.seal_bytes(random, aad, plain.danger_expose().as_bytes())
    }

    /// As [`Self::seal`], for what is no text, such as the raw body of a webhook.
    #[expect(
        clippy::missing_panics_doc,
        reason = "AES-GCM refuses only messages beyond 64 GiB, which nothing sealed here is"
    )]
    pub fn seal_bytes(&self, random: &dyn Random, aad: &Aad<'_>, plain: &[u8]) -> Sealed {
        let Key { id, cipher } = &self.active;
        let nonce = random.bytes::<NONCE_LEN>();
        let payload = Payload {
            msg: plain,
            aad: &aad.encode(id),
        };
        #[expect(
            clippy::expect_used,
            reason = "AES-GCM refuses only messages beyond 64 GiB, which nothing sealed here is"
        )]
        let ciphertext = cipher
            .encrypt(&Nonce::from(nonce), payload)
            .expect("what is sealed is shorter than 64 GiB");
        // The length fits a byte: `Key::parse` bounds it.
        let id_len = u8::try_from(id.len()).unwrap_or(u8::MAX);
        let mut bytes = Vec::with_capacity(2 + id.len() + NONCE_LEN + ciphertext.len());
        bytes.extend_from_slice(&[VERSION, id_len]);
        bytes.extend_from_slice(id.as_bytes());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&ciphertext);
        Sealed(bytes)
    }

    /// Opens `sealed` with the key it names, if it was sealed for `aad`.
    pub fn open(&self, aad: &Aad<'_>, sealed: &Sealed) -> Result<Secret<String>, OpenError> {
        let mut plain = self.open_bytes(aad, sealed)?;
        match String::from_utf8(mem::take(&mut *plain)) {
            Ok(text) => Ok(Secret::new(text)),
            // Unreachable for what `seal` made; the bytes are wiped like any secret.
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                let id = sealed.parts()?.id.to_owned();
                Err(OpenError::DoesNotOpen { id })
            }
        }
    }

    /// As [`Self::open`], for what is no text.
    pub fn open_bytes(
        &self,
        aad: &Aad<'_>,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let parts = sealed.parts()?;
        let id = || parts.id.to_owned();
        let Some(key) = self.keys.iter().find(|key| &*key.id == parts.id) else {
            self.miss(parts.id);
            return Err(OpenError::UnknownKey { id: id() });
        };
        let payload = Payload {
            msg: parts.ciphertext,
            aad: &aad.encode(parts.id),
        };
        match key.cipher.decrypt(&Nonce::from(parts.nonce), payload) {
            Ok(plain) => Ok(Zeroizing::new(plain)),
            Err(_wrong) => Err(OpenError::DoesNotOpen { id: id() }),
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("active", &self.active)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

// === impl Aad ===

impl<'a> Aad<'a> {
    /// Binds to `field` of the connection `key`.
    pub fn new(key: &'a ConnectionKey, field: Field) -> Self {
        Self {
            provider: key.provider.as_str(),
            subject: key.user.as_str(),
            field,
        }
    }

    /// Binds to `field` of a record that belongs to no single connection, by its own id.
    pub fn of_record(provider: &'a ProviderName, id: &'a str, field: Field) -> Self {
        Self {
            provider: provider.as_str(),
            subject: id,
            field,
        }
    }

    /// Each part follows its length, so that no two bindings share an encoding.
    fn encode(&self, key_id: &str) -> Vec<u8> {
        let parts = [self.provider, self.subject, self.field.as_str(), key_id];
        let mut bytes = vec![VERSION];
        for part in parts {
            // No part exceeds 256 bytes; each type bounds its own.
            let len = u32::try_from(part.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    }
}

// === impl Field ===

impl Field {
    /// As bound into seals: renaming one makes what is stored unreadable.
    const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access-token",
            Self::RefreshToken => "refresh-token",
            Self::Event => "event",
            Self::Meeting => "meeting",
            Self::Job => "job",
            Self::Expiring => "expiring",
        }
    }
}

#[cfg(test)]
mod tests;
