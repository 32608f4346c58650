//! Between plain tokens and what a store may see: the only place of this room that seals and opens.

use std::{sync::Arc, time::Duration};

use crate::{
    base::{
        clock::{SharedClock, Timestamp},
        ids::ConnectionKey,
        random::SharedRandom,
        secret::Secret,
    },
    provider::Minted,
    store::{
        self, Connection, SealedTokens,
        seal::{Aad, Field, KeyRing},
    },
};

/// Seals and opens the tokens of connections.
#[derive(Clone)]
pub(super) struct Vault {
    keys: Arc<KeyRing>,
    clock: SharedClock,
    random: SharedRandom,
}

/// Plain tokens on their way into the store.
pub(super) struct Plain<'a> {
    pub(super) access: &'a Secret<String>,
    pub(super) refresh: Option<&'a Secret<String>>,
    pub(super) renewed_at: Timestamp,
    pub(super) access_expires_at: Timestamp,
    pub(super) refresh_expires_at: Option<Timestamp>,
}

// === impl Vault ===

impl Vault {
    pub(super) const fn new(keys: Arc<KeyRing>, clock: SharedClock, random: SharedRandom) -> Self {
        Self {
            keys,
            clock,
            random,
        }
    }

    /// Seals `plain` for the connection `key`, and for no other.
    pub(super) fn seal(&self, key: &ConnectionKey, plain: &Plain<'_>) -> SealedTokens {
        let seal = |field, secret| self.keys.seal(&*self.random, &aad(key, field), secret);
        SealedTokens {
            access: seal(Field::AccessToken, plain.access),
            refresh: plain
                .refresh
                .map(|secret| seal(Field::RefreshToken, secret)),
            renewed_at: plain.renewed_at,
            access_expires_at: plain.access_expires_at,
            refresh_expires_at: plain.refresh_expires_at,
        }
    }

    /// Seals what a provider minted just now. A refresh token that the answer leaves out is the old
    /// one, which stays in use (RFC 6749 §6).
    pub(super) fn seal_minted(
        &self,
        connection: &Connection,
        minted: &Minted,
        default_lifetime: Duration,
    ) -> SealedTokens {
        let now = self.clock.now();
        let plain = Plain {
            access: &minted.access,
            refresh: minted.refresh.as_ref(),
            renewed_at: now,
            access_expires_at: now.saturating_add(minted.expires_in.unwrap_or(default_lifetime)),
            refresh_expires_at: minted
                .refresh_expires_in
                .map(|left| now.saturating_add(left)),
        };
        let mut sealed = self.seal(&connection.key, &plain);
        if sealed.refresh.is_none()
            && let Some(old) = &connection.tokens
        {
            sealed.refresh.clone_from(&old.refresh);
            sealed.refresh_expires_at = old.refresh_expires_at;
        }
        sealed
    }

    /// Opens the access token.
    pub(super) fn open_access(
        &self,
        key: &ConnectionKey,
        tokens: &SealedTokens,
    ) -> Result<Secret<String>, store::Error> {
        self.keys
            .open(&aad(key, Field::AccessToken), &tokens.access)
            .map_err(|error| inconsistent(key, "access token", &error))
    }

    /// Opens the refresh token, if there is one.
    pub(super) fn open_refresh(
        &self,
        key: &ConnectionKey,
        tokens: &SealedTokens,
    ) -> Result<Option<Secret<String>>, store::Error> {
        let Some(sealed) = &tokens.refresh else {
            return Ok(None);
        };
        self.keys
            .open(&aad(key, Field::RefreshToken), sealed)
            .map(Some)
            .map_err(|error| inconsistent(key, "refresh token", &error))
    }
}

fn aad(key: &ConnectionKey, field: Field) -> Aad<'_> {
    Aad::new(key, field)
}

fn inconsistent(key: &ConnectionKey, what: &str, error: &store::seal::OpenError) -> store::Error {
    store::Error::Inconsistent {
        row: key.to_string(),
        what: format!("its {what} does not open: {error}"),
    }
}
