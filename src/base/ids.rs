//! The names of things, each a type of its own so that one cannot stand in for another.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use thiserror::Error;

use super::{clock::Timestamp, random::Random};

/// The app's own id for a person: an opaque string of 1–256 visible ASCII characters.
///
/// Memory knows very many of them, so those of up to 23 characters have no piece of memory of their own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(SmolStr);

/// The name of a configured provider: 1–32 characters of `a`–`z`, `0`–`9` and `-`, beginning with a
/// letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderName(Arc<str>);

/// One user at one provider: the key of a connection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionKey {
    /// Where.
    pub provider: ProviderName,
    /// Who.
    pub user: UserId,
}

/// Tells two connections apart that had the same key one after the other: made anew each time a
/// connection is created, so that work begun for a removed connection cannot touch its successor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(uuid::Uuid);

/// Counts the writes of new tokens to one connection: 1, 2, 3…
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(u64);

/// Names one write of a grant to a connection: drawn anew for each, so that none is ever given out twice.
/// A [`Generation`] is, by a store that has lost what it had taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GrantId(u64);

/// Who holds a lease: one running process, never two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OwnerId(uuid::Uuid);

/// One webhook taken from a provider, or one event of Daypass's own. What the app knows it by
/// (`webhook-id`), so it is the same over retries and replays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId(uuid::Uuid);

/// One record of what was done by somebody's order. Ids are in the order of their times (RFC 9562 §5.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AuditId(uuid::Uuid);

/// Text that is not the identifier it was taken for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidId {
    /// Not a [`UserId`].
    #[error("a user id is 1 to 256 visible ASCII characters without spaces")]
    User,
    /// Not a [`ProviderName`].
    #[error("a provider name is 1 to 32 of a-z, 0-9 and '-', beginning with a letter")]
    Provider,
    /// Not a [`ConnectionId`], [`OwnerId`], [`EventId`] or [`AuditId`].
    #[error("not a UUID")]
    Uuid,
}

// === impl UserId ===

impl UserId {
    /// The longest user id, in characters.
    pub const MAX_LEN: usize = 256;

    /// Takes `text` for a user id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if Self::is_valid(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId::User)
        }
    }

    /// Whether `text` could be a user id; for looking one up without making one.
    pub fn is_valid(text: &str) -> bool {
        (1..=Self::MAX_LEN).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// As the app wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl ProviderName ===

impl ProviderName {
    /// Takes `text` for a provider's name.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=32).contains(&text.len())
            && text.bytes().all(allowed)
            && text
                .bytes()
                .next()
                .is_some_and(|byte| byte.is_ascii_lowercase());
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId::Provider)
        }
    }

    /// As in the configuration.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_id {
    ($id:ident) => {
        impl FromStr for $id {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
        impl TryFrom<String> for $id {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }
        impl From<$id> for String {
            fn from(id: $id) -> Self {
                id.as_str().to_owned()
            }
        }
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

text_id!(UserId);
text_id!(ProviderName);

// === impl ConnectionKey ===

impl fmt::Display for ConnectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.user)
    }
}

impl fmt::Debug for ConnectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl ConnectionId, OwnerId, EventId ===

macro_rules! uuid_text {
    ($id:ident) => {
        impl $id {
            /// The sixteen bytes, for a store.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The reverse of [`Self::as_bytes`].
            pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidId> {
                match uuid::Uuid::from_slice(bytes) {
                    Ok(uuid) => Ok(Self(uuid)),
                    Err(_) => Err(InvalidId::Uuid),
                }
            }
        }
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

macro_rules! uuid_id {
    ($id:ident) => {
        impl $id {
            /// A new one.
            pub fn random(random: &dyn Random) -> Self {
                Self(uuid::Builder::from_random_bytes(random.bytes()).into_uuid())
            }
        }
        uuid_text!($id);
    };
}

uuid_id!(ConnectionId);
uuid_id!(OwnerId);
uuid_id!(EventId);
uuid_text!(AuditId);

// === impl AuditId ===

impl AuditId {
    /// Before all others.
    pub const FIRST: Self = Self(uuid::Uuid::nil());
    /// After all others.
    pub const LAST: Self = Self(uuid::Uuid::max());

    /// A new one, of this time.
    pub fn at(at: Timestamp, random: &dyn Random) -> Self {
        Self::of(at, &random.bytes())
    }

    /// Before all others of this time and later.
    pub fn first_of(at: Timestamp) -> Self {
        Self::of(at, &[0; 10])
    }

    fn of(at: Timestamp, rest: &[u8; 10]) -> Self {
        let millis = u64::try_from(at.as_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, rest).into_uuid())
    }
}

// === impl Generation ===

impl Generation {
    /// Before any tokens: what a managed user has that was imported by its id alone.
    pub const NONE: Self = Self(0);

    /// From a stored number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The generation of the tokens that replace these.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl GrantId ===

impl GrantId {
    /// Of what was written by a version that did not name its grants.
    pub const UNNAMED: Self = Self(0);

    /// A new one: 63 bits of chance.
    pub fn random(random: &dyn Random) -> Self {
        let bits = u64::from_be_bytes(random.bytes()) >> 1;
        Self(bits.max(1))
    }

    /// From a stored number; `None` if it is none of these.
    pub fn from_stored(number: i64) -> Option<Self> {
        u64::try_from(number).ok().map(Self)
    }

    /// The number itself, for a store.
    pub fn to_stored(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// A part of it that tells it from another one well enough where nothing is lost if it does not.
    pub fn hint(self) -> u32 {
        u32::try_from(self.0 & u64::from(u32::MAX)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_visible_ascii_text_is_a_user_id(text in "[!-~]{1,256}") {
            let id = UserId::parse(&text).unwrap();
            prop_assert_eq!(id.as_str(), text);
        }

        #[test]
        fn nothing_else_is_a_user_id(text in "[!-~]{0,9}[^!-~][!-~]{0,9}") {
            prop_assert!(UserId::parse(&text).is_err());
        }
    }

    proptest! {
        #[test]
        fn ids_of_records_are_in_the_order_of_their_times(
            one in 0..1_u64 << 47, other in 0..1_u64 << 47, seed: u64,
        ) {
            let at = |millis: u64| Timestamp::from_millis(i64::try_from(millis).unwrap());
            let random = crate::base::random::SeededRandom::new(seed);
            let (one, other) = (at(one), at(other));
            let (first, second) = (AuditId::at(one, &random), AuditId::at(other, &random));
            if one < other {
                prop_assert!(first < second);
                prop_assert!(first < AuditId::first_of(other));
            }
            prop_assert!(AuditId::first_of(one) <= first);
            prop_assert!(AuditId::FIRST < first && first < AuditId::LAST);
            prop_assert_eq!(AuditId::from_slice(first.as_bytes()), Ok(first));
        }
    }

    proptest! {
        #[test]
        fn grants_have_names_that_every_store_can_keep(seed: u64) {
            let named = GrantId::random(&crate::base::random::SeededRandom::new(seed));
            prop_assert_ne!(named, GrantId::UNNAMED);
            prop_assert_eq!(GrantId::from_stored(named.to_stored()), Some(named));
        }
    }

    #[test]
    fn user_ids_end_at_256_characters() {
        assert!(UserId::parse(&"u".repeat(256)).is_ok());
        assert!(UserId::parse(&"u".repeat(257)).is_err());
        assert!(UserId::parse("").is_err());
    }

    #[test]
    fn provider_names_cannot_look_like_the_local_prefix() {
        assert!(ProviderName::parse("calcom-eu").is_ok());
        for bad in ["", "-", "-eu", "Cal", "cal.com", "1cal", "cal/com"] {
            assert!(ProviderName::parse(bad).is_err(), "{bad}");
        }
    }
}
