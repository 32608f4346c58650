//! Grants from outside: an import, or the end of a connect flow.
//!
//! 1. Tokens come with what is known of their times. What is not known is taken from the token, if it
//!    is a JWT, or assumed so that no harm is done: see [`dated`].
//! 2. A grant that is handed in *once* is recognised by a digest when it comes again, so that importing
//!    the same export twice does not bring back tokens that have been rotated since.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{engine::Engine, vault::Plain};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionId, ConnectionKey, GrantId},
        secret::Secret,
    },
    provider::{Account, jwt_expiry},
    store::NewConnection,
};

/// A grant from outside: an import, or the end of a connect flow.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Grant {
    /// Whose it is.
    pub key: ConnectionKey,
    /// Who that is at the provider.
    pub account: Account,
    /// The tokens; `None` for a managed user whose first request mints them.
    pub tokens: Option<GrantTokens>,
    /// What was granted, space separated, if known.
    pub scope: Option<String>,
    /// Whether handing in the same grant again changes nothing, even after its tokens were rotated.
    pub once: bool,
}

/// The tokens of a [`Grant`].
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct GrantTokens {
    /// The access token.
    pub access: Secret<String>,
    /// The refresh token.
    pub refresh: Option<Secret<String>>,
    /// When the access token ends; `None` if that is not known.
    pub expires_at: Option<Timestamp>,
    /// When the refresh token ends, if it does.
    pub refresh_expires_at: Option<Timestamp>,
    /// When they were issued; `None` if that is not known.
    pub issued_at: Option<Timestamp>,
}

// === impl GrantTokens ===

impl GrantTokens {
    /// What an import brings, where little is known of times; `None` if it brings no token.
    pub fn imported(
        access: Option<Secret<String>>,
        refresh: Option<Secret<String>>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Self> {
        match (access, refresh) {
            (Some(access), refresh) => Some(Self {
                access,
                refresh,
                expires_at,
                refresh_expires_at: None,
                issued_at: None,
            }),
            // An access token that is not there is one that has ended.
            (None, Some(refresh)) => Some(Self {
                access: Secret::from(String::new()),
                refresh: Some(refresh),
                expires_at: Some(Timestamp::EPOCH),
                refresh_expires_at: None,
                issued_at: Some(now),
            }),
            (None, None) => None,
        }
    }
}

// === impl Grant ===

impl Grant {
    /// The connection that the store is to keep.
    pub(super) fn sealed(&self, engine: &Engine) -> NewConnection {
        let now = engine.clock.now();
        let tokens = self.tokens.as_ref().map(|tokens| {
            let lifetime = engine
                .providers
                .get(&self.key.provider)
                .map_or(ASSUMED_LIFETIME, |provider| {
                    provider.default_lifetime(&self.account)
                });
            let plain = dated(
                tokens,
                self.account.managed_user_id.is_some(),
                lifetime,
                now,
            );
            engine.vault.seal(&self.key, &plain)
        });
        NewConnection {
            key: self.key.clone(),
            id: ConnectionId::random(&*engine.random),
            grant: GrantId::random(&*engine.random),
            tokens,
            external_id: self.account.external_id.clone(),
            organization: self.account.organization.clone(),
            managed_user_id: self.account.managed_user_id,
            scope: self.scope.clone(),
            fingerprint: self.once.then(|| fingerprint(self)),
            at: now,
        }
    }
}

/// What a provider that is not configured is taken to give.
const ASSUMED_LIFETIME: Duration = Duration::from_mins(30);

/// Gives tokens from outside the times they lack.
///
/// Without an end, the access token's own `exp` counts, if it is a JWT. Failing that, tokens that can
/// be renewed are taken for ended, so that the first use renews them; others for issued just now.
/// Without a beginning, the usual lifetime before the end is taken for it.
fn dated(tokens: &GrantTokens, managed: bool, lifetime: Duration, now: Timestamp) -> Plain<'_> {
    let end = tokens.expires_at.or_else(|| jwt_expiry(&tokens.access));
    let renewable = tokens.refresh.is_some() || managed;
    let access_expires_at = match end {
        Some(end) => end,
        None if renewable => now,
        None => now.saturating_add(lifetime),
    };
    Plain {
        access: &tokens.access,
        refresh: tokens.refresh.as_ref(),
        renewed_at: tokens
            .issued_at
            .unwrap_or_else(|| access_expires_at.saturating_sub(lifetime).min(now)),
        access_expires_at,
        refresh_expires_at: tokens.refresh_expires_at,
    }
}

/// A digest by which the same grant is recognised. The tokens in it are random enough not to be
/// guessed from it.
fn fingerprint(grant: &Grant) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut part = |text: &str| {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    };
    part("daypass grant 1");
    part(&grant.key.to_string());
    if let Some(tokens) = &grant.tokens {
        part(tokens.access.danger_expose());
        part(
            tokens
                .refresh
                .as_ref()
                .map_or("", |refresh| refresh.danger_expose()),
        );
    }
    if let Some(id) = grant.account.managed_user_id {
        part(&id.to_string());
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const USUAL: Duration = Duration::from_hours(1);

    fn tokens(access: &str, refresh: bool, expires_at: Option<Timestamp>) -> GrantTokens {
        GrantTokens {
            access: Secret::from(access.to_owned()),
            refresh: refresh.then(|| Secret::from("refresh".to_owned())),
            expires_at,
            refresh_expires_at: None,
            issued_at: None,
        }
    }

    fn end(tokens: &GrantTokens, managed: bool) -> Timestamp {
        dated(tokens, managed, USUAL, NOW).access_expires_at
    }

    #[test]
    fn an_end_that_is_told_counts() {
        let told = NOW.saturating_add(Duration::from_secs(10));
        assert_eq!(end(&tokens("opaque", true, Some(told)), false), told);
    }

    #[test]
    fn an_end_that_the_token_tells_counts_next() {
        let claims = format!("{{\"exp\":{}}}", NOW.as_secs() + 90);
        let jwt = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
        let told = NOW.saturating_add(Duration::from_secs(90));
        assert_eq!(end(&tokens(&jwt, true, None), false), told);
    }

    #[test]
    fn without_an_end_what_can_be_renewed_is_renewed_at_first_use() {
        assert_eq!(end(&tokens("opaque", true, None), false), NOW);
        assert_eq!(end(&tokens("opaque", false, None), true), NOW);
    }

    #[test]
    fn without_an_end_what_cannot_be_renewed_is_taken_for_new() {
        assert_eq!(
            end(&tokens("opaque", false, None), false),
            NOW.saturating_add(USUAL)
        );
    }

    #[test]
    fn a_beginning_is_assumed_a_lifetime_before_the_end_and_never_in_the_future() {
        let began = |left| {
            let tokens = tokens("opaque", true, Some(NOW.saturating_add(left)));
            dated(&tokens, false, USUAL, NOW).renewed_at
        };
        let minute = Duration::from_mins(1);
        assert_eq!(
            began(minute),
            NOW.saturating_add(minute).saturating_sub(USUAL)
        );
        assert_eq!(began(Duration::from_hours(5)), NOW);
    }

    #[test]
    fn grants_are_recognised_by_all_that_makes_them() {
        let grant = |user: &str, access: &str, id: Option<i64>| Grant {
            key: ConnectionKey {
                provider: "calcom".parse().unwrap(),
                user: user.parse().unwrap(),
            },
            account: Account {
                managed_user_id: id,
                ..Account::default()
            },
            tokens: Some(tokens(access, true, None)),
            scope: None,
            once: true,
        };
        let print = |user, access, id| fingerprint(&grant(user, access, id));
        let first = print("u1", "a", None);
        assert_eq!(first, print("u1", "a", None));
        for other in [
            print("u2", "a", None),
            print("u1", "b", None),
            print("u1", "a", Some(7)),
        ] {
            assert_ne!(first, other);
        }
    }
}
