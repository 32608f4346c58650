//! A provider with the rules of rotation of every kind, and the wire between it and each sidecar.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use daypass::{
    base::{
        ids::{ConnectionKey, ProviderName},
        secret::Secret,
    },
    provider::{
        Account, ApiBase, CallError, Headroom, Judgement, Kind, Minted, Provider, TokenLimit,
        Unclear, Verdict,
    },
};
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, sleep, timeout};

use crate::{ledger::Who, plan::Rotation, world::World};

/// What the provider knows.
#[derive(Debug)]
pub(crate) struct Authority {
    rotation: Rotation,
    lifetime: Duration,
    refresh: BTreeMap<String, Token>,
    access: BTreeMap<String, Token>,
    pub(crate) issued: u64,
    pub(crate) down_until: Instant,
}

#[derive(Clone, Debug)]
struct Token {
    user: usize,
    live: bool,
    ends: Option<Instant>,
}

/// The provider as one sidecar sees it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: ProviderName,
    pub(crate) base: ApiBase,
    pub(crate) who: Who,
    pub(crate) world: Arc<World>,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    NotSent,
    LostBefore,
    LostAfter,
    ServerError,
    ServerErrorAfter,
    RateLimited,
    Slow,
    Garbled,
    NotFound,
    NoExpiry,
    ClientRefused,
}

enum Ask<'a> {
    Refresh(&'a str),
    Force(usize),
}

impl Authority {
    pub(crate) fn new(rotation: Rotation, lifetime: Duration) -> Self {
        Self {
            rotation,
            lifetime,
            refresh: BTreeMap::new(),
            access: BTreeMap::new(),
            issued: 0,
            down_until: Instant::now(),
        }
    }

    /// A new pair: access token first.
    pub(crate) fn issue(&mut self, user: usize) -> (String, String) {
        self.issued += 1;
        let (access, refresh) = (
            format!("a-u{user}-{}", self.issued),
            format!("r-u{user}-{}", self.issued),
        );
        let ends = Some(Instant::now() + self.lifetime);
        let live = true;
        self.access
            .insert(access.clone(), Token { user, live, ends });
        let ends = None;
        self.refresh
            .insert(refresh.clone(), Token { user, live, ends });
        (access, refresh)
    }

    fn kill(&mut self, user: usize, access_too: bool) {
        let of_user = |token: &&mut Token| token.user == user;
        self.refresh
            .values_mut()
            .filter(of_user)
            .for_each(|token| token.live = false);
        if access_too {
            self.access
                .values_mut()
                .filter(of_user)
                .for_each(|token| token.live = false);
        }
    }

    /// A new pair for a refresh token; without a new refresh token where the old one goes on.
    fn redeem(&mut self, refresh: &str) -> Option<(String, Option<String>)> {
        let user = self.refresh.get(refresh).filter(|token| token.live)?.user;
        match self.rotation {
            Rotation::Reusable => {
                let (access, refresh) = self.issue(user);
                let omits = self.issued.is_multiple_of(2);
                return Some((access, (!omits).then_some(refresh)));
            }
            Rotation::SingleStrict => self.revoke(refresh),
            Rotation::KillsOthers => self.kill(user, false),
            Rotation::Single | Rotation::Managed => {
                self.refresh.get_mut(refresh)?.live = false;
            }
        }
        let (access, refresh) = self.issue(user);
        Some((access, Some(refresh)))
    }

    /// Whose call it is that carries `access`; `None` if it is refused.
    pub(crate) fn admits(&self, access: &str) -> Option<usize> {
        let token = self.access.get(access)?;
        (token.live && token.ends.is_none_or(|ends| Instant::now() < ends)).then_some(token.user)
    }

    pub(crate) fn would_renew(&self, refresh: &str) -> bool {
        self.refresh.get(refresh).is_some_and(|token| token.live)
    }

    /// Ends a token, and the access token of its pair.
    fn revoke(&mut self, token: &str) {
        let access = token.replacen("r-", "a-", 1);
        let ended = [self.refresh.get_mut(token), self.access.get_mut(&access)];
        for token in ended.into_iter().flatten() {
            token.live = false;
        }
    }
}

impl Line {
    fn fate(&self) -> Fate {
        let (dice, plan) = (&self.world.dice, &self.world.plan);
        if Instant::now() < self.world.authority.lock().down_until {
            return dice.pick(&[
                Fate::ServerError,
                Fate::NotSent,
                Fate::LostBefore,
                Fate::RateLimited,
            ]);
        }
        if self.world.is_healed() || !dice.in_thousand(plan.provider_loss) {
            return Fate::Fine;
        }
        dice.pick(&[
            Fate::NotSent,
            Fate::LostBefore,
            Fate::LostAfter,
            Fate::LostAfter,
            Fate::ServerError,
            Fate::ServerErrorAfter,
            Fate::RateLimited,
            Fate::Slow,
            Fate::Slow,
            Fate::Slow,
            Fate::Garbled,
            Fate::NotFound,
            Fate::NoExpiry,
            Fate::ClientRefused,
        ])
    }

    async fn ask(&self, key: &ConnectionKey, ask: Ask<'_>) -> Result<Minted, CallError> {
        let limit = self.world.plan.timeout;
        let fate = self.fate();
        let answer = timeout(limit, self.answer(key, &ask, fate)).await;
        self.world.between_steps(self.who).await;
        self.world.gate(self.who.slot).await;
        let answer = answer.unwrap_or_else(|_| Err(self.unclear(Unclear::TimedOut)));
        let sent = match ask {
            Ask::Refresh(token) => Some(token),
            Ask::Force(_) => None,
        };
        let mut ledger = self.world.ledger.lock();
        if let Some(sent) = sent {
            ledger.sent(self.who, sent);
        }
        match &answer {
            Ok(minted) => {
                ledger.counts.add("renewals", 1);
                if let Some(refresh) = &minted.refresh {
                    ledger.delivered(self.who, sent, refresh.danger_expose());
                }
            }
            Err(CallError::GrantRefused { .. }) => {
                if let Some(sent) = sent {
                    ledger.refused(sent);
                }
            }
            Err(_) => {
                ledger.counts.add("token calls failed", 1);
                ledger.trouble(std::slice::from_ref(key));
            }
        }
        ledger.note(format_args!(
            "{:?} has an answer for {key}: {}",
            self.who,
            match &answer {
                Ok(_) => "new tokens".to_owned(),
                Err(error) => error.to_string(),
            }
        ));
        answer
    }

    async fn answer(
        &self,
        key: &ConnectionKey,
        ask: &Ask<'_>,
        fate: Fate,
    ) -> Result<Minted, CallError> {
        let dice = &self.world.dice;
        let provider = self.name.clone();
        match fate {
            Fate::NotSent => {
                let source = reqwest::Proxy::all("::not a url::").unwrap_err();
                return Err(CallError::NotSent { provider, source });
            }
            Fate::LostBefore => std::future::pending().await,
            _ => sleep(dice.millis(5, 200)).await,
        }
        match fate {
            Fate::ServerError => {
                return Err(self.unclear(Unclear::ServerError(StatusCode::BAD_GATEWAY)));
            }
            Fate::RateLimited => {
                let retry_after = [None, Some(dice.secs(0, 90))][dice.below(2)];
                return Err(CallError::RateLimited {
                    provider,
                    retry_after,
                });
            }
            Fate::NotFound => {
                let status = StatusCode::NOT_FOUND;
                return Err(CallError::Unexpected { provider, status });
            }
            Fate::ClientRefused => {
                let code = "invalid_client".to_owned();
                return Err(CallError::ClientRefused { provider, code });
            }
            _ => {}
        }
        let mut minted = self.mint(key, ask)?;
        match fate {
            Fate::LostAfter => std::future::pending().await,
            Fate::ServerErrorAfter => {
                return Err(self.unclear(Unclear::ServerError(StatusCode::BAD_GATEWAY)));
            }
            Fate::Garbled => return Err(self.unclear(Unclear::NoToken)),
            Fate::Slow => sleep(dice.secs(1, 80)).await,
            Fate::NoExpiry => minted.expires_in = None,
            _ => sleep(dice.millis(5, 200)).await,
        }
        Ok(minted)
    }

    fn mint(&self, key: &ConnectionKey, ask: &Ask<'_>) -> Result<Minted, CallError> {
        let mut authority = self.world.authority.lock();
        let pair = match ask {
            Ask::Refresh(refresh) => authority.redeem(refresh),
            Ask::Force(user) => {
                authority.kill(*user, true);
                let (access, refresh) = authority.issue(*user);
                Some((access, Some(refresh)))
            }
        };
        let lifetime = authority.lifetime;
        drop(authority);
        let mut ledger = self.world.ledger.lock();
        let Some((access, refresh)) = pair else {
            ledger.note(format_args!(
                "the provider refuses {:?} for {key}",
                self.who
            ));
            let provider = self.name.clone();
            let code = "invalid_grant".to_owned();
            return Err(CallError::GrantRefused { provider, code });
        };
        if let Some(refresh) = &refresh {
            ledger.issued(key, refresh);
        }
        if let (Ask::Refresh(sent), false) = (ask, self.world.plan.rotation == Rotation::Reusable) {
            ledger.accepted(sent);
        }
        ledger.note(format_args!(
            "the provider issues {access} to {:?}",
            self.who
        ));
        drop(ledger);
        Ok(Minted {
            access: Secret::from(access),
            refresh: refresh.map(Secret::from),
            expires_in: Some(lifetime),
            refresh_expires_in: None,
            scope: None,
            account: Account::default(),
            headroom: Headroom::default(),
        })
    }

    fn unclear(&self, what: Unclear) -> CallError {
        let (provider, source) = (self.name.clone(), None);
        CallError::Ambiguous {
            provider,
            what,
            source,
        }
    }
}

#[async_trait]
impl Provider for Line {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn kind(&self) -> Kind {
        Kind::Calendly
    }

    fn api_base(&self) -> &ApiBase {
        &self.base
    }

    fn judge(&self, _: StatusCode, _: &HeaderMap) -> Judgement {
        Judgement::Passed
    }

    fn judge_body(&self, _: StatusCode, _: &[u8]) -> Verdict {
        Verdict::Passed
    }

    fn has_absolute_page_links(&self) -> bool {
        false
    }

    async fn refresh(
        &self,
        account: &Account,
        token: &Secret<String>,
    ) -> Result<Minted, CallError> {
        let key = self.world.key_of(account);
        let token = token.danger_expose();
        {
            let mut ledger = self.world.ledger.lock();
            ledger.note(format_args!("{:?} sends {token}", self.who));
            ledger.sending(self.who, &key, token);
        }
        self.world.gate(self.who.slot).await;
        self.ask(&key, Ask::Refresh(token)).await
    }

    fn can_force(&self, _: &Account) -> bool {
        self.world.plan.rotation == Rotation::Managed
    }

    async fn force_refresh(&self, account: &Account) -> Result<Minted, CallError> {
        let key = self.world.key_of(account);
        {
            let mut ledger = self.world.ledger.lock();
            ledger.note(format_args!("{:?} forces {key}", self.who));
            ledger.counts.add("redemptions by force", 1);
            ledger.call(&key);
        }
        self.world.gate(self.who.slot).await;
        let user = World::user_of(account);
        self.ask(&key, Ask::Force(user)).await
    }

    async fn revoke(&self, token: &Secret<String>) -> Result<bool, CallError> {
        sleep(self.world.dice.millis(5, 100)).await;
        if self.world.dice.in_thousand(self.world.plan.provider_loss) {
            return Err(self.unclear(Unclear::TimedOut));
        }
        self.world.authority.lock().revoke(token.danger_expose());
        Ok(true)
    }

    fn default_lifetime(&self, _: &Account) -> Duration {
        self.world.plan.lifetime
    }

    fn background_calls_per_minute(&self) -> u32 {
        60
    }

    fn token_limit(&self) -> TokenLimit {
        let limit = self.world.plan.per_minute;
        limit.map_or(TokenLimit::PerUser, |per_minute| TokenLimit::Shared {
            per_minute,
        })
    }
}
