//! The watch: takes subscriptions that are due, one step each.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    Inner, Route,
    state::{Standing, State},
};
use crate::{
    base::{
        backoff::Backoff,
        ids::{ConnectionKey, OwnerId},
    },
    provider::{ApiError, Subscribed, Wanted, Webhooks},
    store::{self, Connection, Job, JobKind, Status},
    token::{WithTokenError, account_of, with_token},
};

/// How often due subscriptions are looked for.
const LOOK: Duration = Duration::from_secs(5);

/// How long one is claimed; a step makes at most a few calls.
const CLAIM: Duration = Duration::from_mins(2);

/// How many are worked on at once.
const AT_ONCE: usize = 8;

/// How often a sound subscription is looked at. A provider gives up after a day of failures, so one
/// that was switched off misses some hours; reconciliation reads those.
const INSPECT: Duration = Duration::from_hours(6);

/// How often one is looked at that has difficulties.
const INSPECT_TROUBLED: Duration = Duration::from_mins(30);

/// When to ask again where plan, grant or role has no webhooks.
const ASK_AGAIN: Duration = Duration::from_hours(24);

const AFTER_FAILURES: Backoff = Backoff {
    first: Duration::from_secs(30),
    max: Duration::from_hours(6),
};

/// Watches for ever.
pub(super) async fn watch(inner: Arc<Inner>) {
    let owner = OwnerId::random(&*inner.random);
    loop {
        let claimed = inner
            .store
            .claim(JobKind::Subscription, owner, CLAIM, AT_ONCE)
            .await;
        let jobs = match claimed {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the store cannot be asked for subscriptions to look after",
                );
                Vec::new()
            }
        };
        let idle = jobs.len() < AT_ONCE;
        let work = jobs.into_iter().map(|job| step(&inner, owner, job));
        futures_util::future::join_all(work).await;
        if idle {
            let wait = LOOK / 2 + inner.random.up_to(LOOK);
            let _asked = timeout(wait, inner.asked.notified()).await;
        }
    }
}

async fn step(inner: &Arc<Inner>, owner: OwnerId, job: Job) {
    let key = job.key.clone();
    if let Err(error) = inner.step(owner, job).await {
        tracing::warn!(
            provider = %key.provider, user = %key.user,
            error = &error as &dyn std::error::Error,
            "a webhook subscription could not be looked after; it is tried again",
        );
    }
}

// === impl Inner ===

impl Inner {
    async fn step(&self, owner: OwnerId, job: Job) -> Result<(), store::Error> {
        let key = job.key;
        let state = self.states.open(&key, job.state.as_ref())?;
        let Some(webhooks) = self.webhooks(&key) else {
            return self.rest(&key, owner, state.as_ref(), None).await;
        };
        let connection = self.store.load(&key).await?;
        let Some(connection) = connection.filter(|found| found.status == Status::Active) else {
            // Whoever connects asks for it again.
            return self.rest(&key, owner, state.as_ref(), None).await;
        };
        let mut state = match state {
            Some(state) if is_for(&state, &connection) => state,
            Some(mut state) if is_unnamed(&state, &connection) => {
                self.name(&key, &mut state, &connection).await?;
                state
            }
            other => {
                self.begin(&key, owner, other, &connection, webhooks)
                    .await?
            }
        };
        let stands = match self.ask(&key, webhooks, &mut state, &connection).await {
            Ok(stands) => stands,
            Err(WithTokenError::Api(ApiError::Forbidden { denial, .. })) => (&denial).into(),
            Err(error) => Standing::Failed {
                reason: error.to_string(),
            },
        };
        self.note(&key, &mut state, stands);
        let next = self.next(&state);
        self.rest(&key, owner, Some(&state), Some(next)).await
    }

    /// Draws a route for a connection that has none, and writes it down before anybody is told of it.
    async fn begin(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        former: Option<State>,
        connection: &Connection,
        webhooks: &dyn Webhooks,
    ) -> Result<State, store::Error> {
        if let Some(former) = former {
            self.let_linger(key, &former).await?;
        }
        let route = Route::random(&*self.random);
        let (account, coverage) = (account_of(connection), webhooks.coverage());
        let state = State::new(route, connection.id, &account, coverage, self.clock.now());
        let path = state.route.path.danger_expose();
        self.routes.put(path, &state.target(key), None).await?;
        let sealed = self.states.seal(key, &state);
        let kept = self
            .store
            .progress(JobKind::Subscription, key, owner, Some(sealed), CLAIM)
            .await?;
        if kept {
            Ok(state)
        } else {
            Err(store::Error::Unavailable {
                what: "another process has taken the subscription over".to_owned(),
                source: None,
            })
        }
    }

    /// Notes whose account it is, which was not known when the route was drawn.
    async fn name(
        &self,
        key: &ConnectionKey,
        state: &mut State,
        connection: &Connection,
    ) -> Result<(), store::Error> {
        state.name(&account_of(connection));
        let path = state.route.path.danger_expose();
        self.routes.put(path, &state.target(key), None).await
    }

    /// One question to the provider: how is it, or please make it.
    async fn ask(
        &self,
        key: &ConnectionKey,
        webhooks: &dyn Webhooks,
        state: &mut State,
        connection: &Connection,
    ) -> Result<Standing, WithTokenError> {
        let Some(public_url) = &self.public_url else {
            return Ok(state.standing.clone());
        };
        let url = state.route.url(public_url, &key.provider);
        let (account, secret) = (state.account(), state.route.secret.clone());
        let wanted = Wanted {
            account: &account,
            granted: connection.scope.as_deref(),
            url: &url,
            secret: &secret,
        };
        let (tokens, wanted) = (&*self.tokens, &wanted);
        if let Some(id) = state.subscription.as_deref() {
            let inspected = with_token(tokens, key, |token| async move {
                webhooks.inspect(&token, id, wanted).await
            });
            let health = inspected.await?;
            if !health.needs_mending() {
                return Ok(health.into());
            }
            tracing::warn!(
                provider = %key.provider, user = %key.user, ?health,
                "a webhook subscription no longer delivers: it is made anew",
            );
        }
        let subscribed = with_token(tokens, key, |token| async move {
            webhooks.subscribe(&token, wanted).await
        });
        match subscribed.await? {
            Subscribed::Made(made) | Subscribed::Adopted(made) => {
                state.subscription = Some(made.id);
                Ok(Standing::Active)
            }
            Subscribed::Unavailable(denial) => {
                state.subscription = None;
                Ok((&denial).into())
            }
        }
    }

    fn note(&self, key: &ConnectionKey, state: &mut State, stands: Standing) {
        if state.standing != stands {
            match &stands {
                Standing::Active => tracing::info!(
                    provider = %key.provider, user = %key.user,
                    "webhooks are subscribed to",
                ),
                Standing::Unavailable { reason, .. } | Standing::Failed { reason } => {
                    tracing::warn!(
                        provider = %key.provider, user = %key.user, reason,
                        "there is no webhook subscription",
                    );
                }
                Standing::Pending | Standing::Retrying => {}
            }
        }
        state.stands(stands, self.clock.now());
    }

    fn next(&self, state: &State) -> Duration {
        let every = match state.standing {
            Standing::Active => INSPECT,
            Standing::Retrying => INSPECT_TROUBLED,
            Standing::Unavailable { .. } => ASK_AGAIN,
            Standing::Pending | Standing::Failed { .. } => {
                return AFTER_FAILURES.after(state.failures.max(1), &*self.random);
            }
        };
        every / 2 + self.random.up_to(every)
    }

    async fn rest(
        &self,
        key: &ConnectionKey,
        owner: OwnerId,
        state: Option<&State>,
        next: Option<Duration>,
    ) -> Result<(), store::Error> {
        let sealed = state.map(|state| self.states.seal(key, state));
        // Losing the claim means that another goes on from what was last written.
        let _kept = self
            .store
            .finish(JobKind::Subscription, key, owner, sealed, next)
            .await?;
        Ok(())
    }
}

/// Whether the subscription was made for this connection before its account was known. It is the same
/// account, of which a second subscription would tell everything twice.
fn is_unnamed(state: &State, connection: &Connection) -> bool {
    state.connection == connection.id && state.account().key().is_none()
}

/// Whether the subscription was made for this connection as it is: another account, or one that was
/// disconnected meanwhile, gets a route of its own.
fn is_for(state: &State, connection: &Connection) -> bool {
    state.connection == connection.id && state.account().key() == account_of(connection).key()
}
