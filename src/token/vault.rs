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
        seal::{Aad, Field, KeyRing, Sealed},
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
            sealed.refresh = old
                .refresh
                .clone()
                .map(|refresh| self.current(&connection.key, Field::RefreshToken, refresh));
            sealed.refresh_expires_at = old.refresh_expires_at;
        }
        sealed
    }

    /// `tokens` as they are, sealed with the active key: what was sealed before it was active must not
    /// come into the store after everything there was sealed anew.
    pub(super) fn seal_again(&self, key: &ConnectionKey, tokens: SealedTokens) -> SealedTokens {
        SealedTokens {
            access: self.current(key, Field::AccessToken, tokens.access),
            refresh: tokens
                .refresh
                .map(|refresh| self.current(key, Field::RefreshToken, refresh)),
            ..tokens
        }
    }

    /// What does not open stays as it is: whoever opens it says why.
    fn current(&self, key: &ConnectionKey, field: Field, sealed: Sealed) -> Sealed {
        if sealed.key_id().is_ok_and(|id| id == self.keys.active_id()) {
            return sealed;
        }
        self.keys
            .seal_again(&*self.random, &aad(key, field), &sealed)
            .unwrap_or(sealed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{
            clock::ManualClock,
            ids::{ConnectionId, Generation, GrantId},
            random::SeededRandom,
        },
        provider::{Account, Headroom},
        store::{Status, seal::Key},
    };

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// A vault that seals with `active`, and opens with both keys.
    fn vault(active: &str) -> Vault {
        let key = |id: &str, byte| Key::new(id, &Secret::new([byte; 32])).unwrap();
        let keys = KeyRing::new(active, vec![key("k1", 1), key("k2", 2)]).unwrap();
        let clock = Arc::new(ManualClock::new(NOW));
        Vault::new(Arc::new(keys), clock, Arc::new(SeededRandom::new(1)))
    }

    fn key() -> ConnectionKey {
        ConnectionKey {
            provider: "calendly".parse().unwrap(),
            user: "anna".parse().unwrap(),
        }
    }

    fn sealed_with(active: &str) -> SealedTokens {
        let plain = Plain {
            access: &Secret::new("access".to_owned()),
            refresh: Some(&Secret::new("refresh".to_owned())),
            renewed_at: NOW,
            access_expires_at: NOW,
            refresh_expires_at: None,
        };
        vault(active).seal(&key(), &plain)
    }

    fn keys_of(tokens: &SealedTokens) -> [String; 2] {
        let refresh = tokens.refresh.as_ref().unwrap();
        [&tokens.access, refresh].map(|sealed| sealed.key_id().unwrap().to_owned())
    }

    #[test]
    fn a_refresh_token_that_stays_in_use_is_sealed_with_the_active_key() {
        let connection = Connection {
            key: key(),
            id: ConnectionId::random(&SeededRandom::new(2)),
            status: Status::Active,
            generation: Generation::new(1),
            grant: GrantId::UNNAMED,
            tokens: Some(sealed_with("k1")),
            external_id: None,
            organization: None,
            managed_user_id: None,
            scope: None,
            intent: None,
            cooldown: None,
            forced_at: None,
            created_at: NOW,
            updated_at: NOW,
        };
        let minted = Minted {
            access: Secret::new("newer".to_owned()),
            refresh: None,
            expires_in: None,
            refresh_expires_in: None,
            scope: None,
            account: Account::default(),
            headroom: Headroom::default(),
        };
        let vault = vault("k2");
        let sealed = vault.seal_minted(&connection, &minted, Duration::from_hours(1));
        assert_eq!(keys_of(&sealed), ["k2", "k2"]);
        let refresh = vault.open_refresh(&key(), &sealed).unwrap().unwrap();
        assert_eq!(refresh.danger_expose(), "refresh");
    }

    #[test]
    fn what_is_sealed_with_the_active_key_already_stays_as_it_is() {
        let tokens = sealed_with("k1");
        assert_eq!(vault("k1").seal_again(&key(), tokens.clone()), tokens);
        let again = vault("k2").seal_again(&key(), tokens.clone());
        assert_eq!(keys_of(&again), ["k2", "k2"]);
        // Of somebody else, it does not open, and is left to whoever says so.
        let mut other = key();
        other.user = "ben".parse().unwrap();
        assert_eq!(vault("k2").seal_again(&other, tokens.clone()), tokens);
    }
}
