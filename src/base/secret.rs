//! A value that must not be seen: tokens, client secrets, keys.
//!
//! 1. It has no `Debug`, no `Display` and no `Serialize`, so a holder cannot derive one by accident:
//!    the compiler stops it, not a reviewer.
//! 2. It is wiped from memory when dropped.
//! 3. It is read at one visible place: [`Secret::danger_expose`].

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arc_swap::ArcSwap;
use http::{HeaderValue, header::InvalidHeaderValue};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::wiped;

/// Holds a secret; see the [module docs](self).
#[expect(
    missing_debug_implementations,
    reason = "a secret has no Debug, so that no holder can derive one"
)]
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

/// A secret that may be replaced while the process runs, as when a mounted file changes. Clones see
/// the replacement.
#[expect(
    missing_debug_implementations,
    reason = "a secret has no Debug, so that no holder can derive one"
)]
#[derive(Clone)]
pub struct ReloadableSecret(Arc<ArcSwap<Secret<String>>>);

// === impl ReloadableSecret ===

impl ReloadableSecret {
    /// Holds `secret` until told otherwise.
    pub fn new(secret: Secret<String>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(secret)))
    }

    /// The secret as it is now. Ask again for each use; do not keep the answer.
    pub fn current(&self) -> Arc<Secret<String>> {
        self.0.load_full()
    }

    /// Replaces the secret for every holder.
    pub fn replace(&self, secret: Secret<String>) {
        self.0.store(Arc::new(secret));
    }
}

// === impl Secret ===

impl<T: Zeroize> Secret<T> {
    /// Wraps `value`, which is wiped when the last clone is dropped.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The secret itself. What the caller makes of it must not outlive the use, nor be printed.
    pub fn danger_expose(&self) -> &T {
        &self.0
    }
}

impl Secret<String> {
    /// `Bearer <secret>` as a header value that HTTP libraries know not to print or index. It is wiped
    /// with its last clone.
    ///
    /// Fails if the secret has a byte that no header may carry.
    pub fn to_bearer_header(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        let text = wiped::joined([b"Bearer ", self.danger_expose().as_bytes()]);
        let mut value = HeaderValue::from_maybe_shared(text)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The secret as a header value that HTTP libraries know not to print or index.
    pub fn to_header(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        let mut value = HeaderValue::from_str(self.danger_expose())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl From<String> for Secret<String> {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    /// In constant time for equal lengths.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

impl<T: Zeroize + AsRef<[u8]>> Hash for Secret<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_ref().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_header_is_marked_sensitive() {
        let value = Secret::from("abc".to_owned()).to_bearer_header().unwrap();
        assert_eq!(value, "Bearer abc");
        assert!(value.is_sensitive());
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    #[test]
    fn a_secret_with_a_line_break_makes_no_header() {
        assert!(
            Secret::from("a\r\nb".to_owned())
                .to_bearer_header()
                .is_err()
        );
    }

    #[test]
    fn equality_looks_at_the_content() {
        assert!(Secret::from("a".to_owned()) == Secret::from("a".to_owned()));
        assert!(Secret::from("a".to_owned()) != Secret::from("b".to_owned()));
    }
}
