//! A provider that honours each refresh token once, and misbehaves when a test says so.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use daypass::{
    base::{ids::ProviderName, secret::Secret},
    provider::{
        Account, ApiBase, CallError, Headroom, Judgement, Kind, Minted, Provider, TokenLimit,
        Unclear, Verdict,
    },
};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

/// What the provider does with the next call, instead of answering properly.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trick {
    /// Rotates, but the answer is lost.
    LoseAnswer,
    /// Does nothing and says 503.
    ServerError,
    /// Rotates and answers without a refresh token: the old one stays good.
    OmitRefreshToken,
    /// Answers without a lifetime.
    OmitExpiry,
    /// Refuses the client.
    RefuseClient,
    /// Says that the grant is another client's.
    NotOurs,
    /// Wants to be left alone.
    RateLimit(Option<Duration>),
    /// Answers 404.
    NotFound,
    /// Answers after this long.
    Slow(Duration),
    /// Cannot be reached.
    Unreachable,
}

/// So many calls a minute from one address, as Cal.com counts them: in windows of a minute, the first of
/// which begins with the first call. Who calls once too often is refused for a minute, and so is everybody.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) per_minute: u32,
    /// Whether answers say what is left.
    pub(crate) tells: bool,
    /// When each call that was taken was made.
    pub(crate) taken: Vec<Instant>,
    pub(crate) refused: u32,
    window: Option<Instant>,
    used: u32,
    blocked_until: Option<Instant>,
}

/// One call to the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Refresh(String),
    Force(i64),
    Revoke(String),
}

#[derive(Debug)]
pub(crate) struct ScriptedProvider {
    name: ProviderName,
    base: ApiBase,
    managed: bool,
    lifetime: Mutex<Duration>,
    /// How many calls are taken from everybody together, if that is limited.
    pub(crate) meter: Mutex<Option<Meter>>,
    state: Mutex<State>,
    /// A call waits here for a permit before it is looked at.
    pub(crate) gate: Semaphore,
    /// A call waits here for a permit after the tokens were rotated.
    pub(crate) exit: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    good: HashSet<String>,
    spent: HashSet<String>,
    calls: Vec<Call>,
    tricks: VecDeque<Trick>,
    always: Option<Trick>,
    minted: u64,
    spent_twice: Vec<String>,
}

const OPEN: usize = Semaphore::MAX_PERMITS;

const MINUTE: Duration = Duration::from_mins(1);

impl Meter {
    pub(crate) fn new(per_minute: u32, tells: bool) -> Self {
        Self {
            per_minute,
            tells,
            taken: Vec::new(),
            refused: 0,
            window: None,
            used: 0,
            blocked_until: None,
        }
    }

    /// Counts a call: what is left, or for how long everybody is refused.
    fn count(&mut self) -> Result<Headroom, Duration> {
        let now = Instant::now();
        let refused = self.blocked_until.filter(|until| now < *until);
        let ends = |window: Instant| window + MINUTE;
        let window = *self.window.get_or_insert(now);
        if now >= ends(window) {
            (self.window, self.used) = (Some(now), 0);
        }
        if refused.is_none() && self.used >= self.per_minute {
            self.blocked_until = Some(now + MINUTE);
            (self.window, self.used) = (None, 0);
        }
        if let Some(until) = self.blocked_until.filter(|until| now < *until) {
            self.refused += 1;
            return Err(until - now);
        }
        self.used += 1;
        self.taken.push(now);
        let left = ends(self.window.unwrap_or(now)).saturating_duration_since(now);
        Ok(Headroom {
            remaining: self.tells.then_some(self.per_minute - self.used),
            resets_in: self.tells.then_some(left),
        })
    }

    /// How many calls were taken in the busiest minute, wherever it begins.
    pub(crate) fn busiest_minute(&self) -> usize {
        let (mut first, mut most) = (0, 0);
        for (last, at) in self.taken.iter().enumerate() {
            let is_past = |begun: &Instant| *at - *begun >= MINUTE;
            while self.taken.get(first).is_some_and(is_past) {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most
    }
}

impl ScriptedProvider {
    pub(crate) fn new(name: &str, managed: bool) -> Arc<Self> {
        Arc::new(Self {
            name: ProviderName::parse(name).unwrap(),
            base: ApiBase::parse("https://api.example.org").unwrap(),
            managed,
            lifetime: Mutex::new(Duration::from_hours(1)),
            meter: Mutex::default(),
            state: Mutex::default(),
            gate: Semaphore::new(OPEN),
            exit: Semaphore::new(OPEN),
        })
    }

    /// Makes calls wait at `gate` until [`Self::open`].
    pub(crate) fn close(gate: &Semaphore) {
        gate.forget_permits(OPEN);
    }

    pub(crate) fn open(gate: &Semaphore) {
        gate.add_permits(OPEN - gate.available_permits());
    }

    pub(crate) fn accept(&self, refresh_token: &str) {
        self.state.lock().good.insert(refresh_token.to_owned());
    }

    /// The user has revoked the app.
    pub(crate) fn revoke_everything(&self) {
        self.state.lock().good.clear();
    }

    pub(crate) fn trick(&self, trick: Trick) {
        self.state.lock().tricks.push_back(trick);
    }

    pub(crate) fn always(&self, trick: Option<Trick>) {
        self.state.lock().always = trick;
    }

    pub(crate) fn live_for(&self, lifetime: Duration) {
        *self.lifetime.lock() = lifetime;
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.clone()
    }

    /// How many calls asked for new tokens.
    pub(crate) fn renewals(&self) -> usize {
        self.calls()
            .iter()
            .filter(|call| !matches!(call, Call::Revoke(_)))
            .count()
    }

    /// Refresh tokens that were sent again after the provider had honoured them.
    pub(crate) fn spent_twice(&self) -> Vec<String> {
        self.state.lock().spent_twice.clone()
    }

    async fn answer(&self, call: Call) -> Result<Minted, CallError> {
        drop(self.gate.acquire().await.unwrap());
        let trick = {
            let mut state = self.state.lock();
            state.calls.push(call.clone());
            state.tricks.pop_front().or(state.always)
        };
        if let Some(Trick::Slow(delay)) = trick {
            sleep(delay).await;
        }
        let counted = self.meter.lock().as_mut().map(Meter::count);
        let headroom = match counted.transpose() {
            Ok(headroom) => headroom.unwrap_or_default(),
            Err(wait) => {
                let (provider, tells) = (self.name.clone(), self.tells());
                return Err(CallError::RateLimited {
                    provider,
                    retry_after: tells.then_some(wait),
                });
            }
        };
        if let Some(error) = trick.and_then(|trick| self.refusal(trick)) {
            return Err(error);
        }
        let mut minted = self.rotate(&call)?;
        minted.headroom = headroom;
        drop(self.exit.acquire().await.unwrap());
        match trick {
            Some(Trick::LoseAnswer) => {
                let (provider, what) = (self.name.clone(), Unclear::TimedOut);
                return Err(CallError::Ambiguous {
                    provider,
                    what,
                    source: None,
                });
            }
            Some(Trick::OmitRefreshToken) => {
                let (Call::Refresh(old), Some(new)) = (&call, minted.refresh.take()) else {
                    panic!("only a standard refresh can keep its refresh token");
                };
                let mut state = self.state.lock();
                state.good.remove(new.danger_expose());
                state.spent.remove(old);
                state.good.insert(old.clone());
            }
            Some(Trick::OmitExpiry) => minted.expires_in = None,
            _ => {}
        }
        Ok(minted)
    }

    fn tells(&self) -> bool {
        self.meter.lock().as_ref().is_some_and(|meter| meter.tells)
    }

    /// The error of a trick that never gets as far as the tokens.
    fn refusal(&self, trick: Trick) -> Option<CallError> {
        let provider = self.name.clone();
        Some(match trick {
            Trick::ServerError => CallError::Ambiguous {
                provider,
                what: Unclear::ServerError(StatusCode::SERVICE_UNAVAILABLE),
                source: None,
            },
            Trick::RefuseClient => CallError::ClientRefused {
                provider,
                code: "invalid_client".into(),
            },
            Trick::NotOurs => CallError::OtherClient {
                provider,
                code: "client_id_mismatch".into(),
            },
            Trick::RateLimit(retry_after) => CallError::RateLimited {
                provider,
                retry_after,
            },
            Trick::NotFound => CallError::Unexpected {
                provider,
                status: StatusCode::NOT_FOUND,
            },
            Trick::Unreachable => {
                let source = reqwest::Proxy::all("::not a url::").unwrap_err();
                CallError::NotSent { provider, source }
            }
            _ => return None,
        })
    }

    fn rotate(&self, call: &Call) -> Result<Minted, CallError> {
        let mut state = self.state.lock();
        if let Call::Refresh(token) = call {
            if !state.good.remove(token) {
                if state.spent.contains(token) {
                    state.spent_twice.push(token.clone());
                }
                let provider = self.name.clone();
                return Err(CallError::GrantRefused {
                    provider,
                    code: "invalid_grant".into(),
                });
            }
            state.spent.insert(token.clone());
        } else {
            let dead: Vec<_> = state.good.drain().collect();
            state.spent.extend(dead);
        }
        state.minted += 1;
        let refresh = format!("refresh-{}", state.minted);
        state.good.insert(refresh.clone());
        Ok(Minted {
            access: Secret::from(format!("access-{}", state.minted)),
            refresh: Some(Secret::from(refresh)),
            expires_in: Some(*self.lifetime.lock()),
            refresh_expires_in: None,
            scope: None,
            account: Account::default(),
            headroom: Headroom::default(),
        })
    }
}

#[async_trait]
impl Provider for ScriptedProvider {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn kind(&self) -> Kind {
        if self.managed {
            Kind::Calcom
        } else {
            Kind::Calendly
        }
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

    async fn refresh(&self, _: &Account, token: &Secret<String>) -> Result<Minted, CallError> {
        self.answer(Call::Refresh(token.danger_expose().clone()))
            .await
    }

    fn can_force(&self, account: &Account) -> bool {
        self.managed && account.managed_user_id.is_some()
    }

    async fn force_refresh(&self, account: &Account) -> Result<Minted, CallError> {
        self.answer(Call::Force(account.managed_user_id.unwrap()))
            .await
    }

    async fn revoke(&self, token: &Secret<String>) -> Result<bool, CallError> {
        let mut state = self.state.lock();
        state
            .calls
            .push(Call::Revoke(token.danger_expose().clone()));
        state.good.remove(token.danger_expose());
        Ok(true)
    }

    fn default_lifetime(&self, _: &Account) -> Duration {
        Duration::from_mins(30)
    }

    fn background_calls_per_minute(&self) -> u32 {
        60
    }

    fn token_limit(&self) -> TokenLimit {
        let limit = self.meter.lock().as_ref().map(|meter| meter.per_minute);
        limit.map_or(TokenLimit::PerUser, |per_minute| TokenLimit::Shared {
            per_minute,
        })
    }
}
