//! Each connection's webhook subscription: made at connect, looked after, taken back.
//!
//! 1. A connection has one subscription, on a route with a secret of its own ([`Route`]). The route is
//!    written down before the provider is told of it: what it delivers in that very moment is
//!    understood, and after a crash the same route is asked for again, not a second one.
//! 2. Connecting never depends on it. A plan without webhooks, a scope that was not granted: that is
//!    the subscription's state, shown with the connection, and tried again now and then.
//! 3. It is looked at every few hours. One that the provider has switched off is made anew.
//! 4. When a connection is removed its subscription is deleted first, while there still is a token.
//! 5. One process at a time works on a subscription ([`Jobs`](store::Jobs)); one that dies is replaced.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, time::timeout};
use url::Url;

use super::route::{LINGERS, Route, Routes, Target};
use crate::{
    base::{clock::SharedClock, ids::ConnectionKey, lifecycle::Lifecycle, random::SharedRandom},
    provider::{SharedProvider, Webhooks},
    store::{self, Everything, Existing, JobKind, JobStates, seal::KeyRing},
    token::{TokenSource, with_token},
};

mod state;
mod watch;

use state::State;
pub use state::{Lack, View, ViewStatus};

/// What subscriptions are made of.
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Parts {
    /// Where providers reach us; without it there are no subscriptions.
    pub public_url: Option<Url>,
    /// Who may be subscribed at.
    pub providers: Vec<SharedProvider>,
    /// Connections, jobs and routes.
    pub store: Arc<dyn Everything>,
    /// Tokens, to subscribe with.
    pub tokens: Arc<dyn TokenSource>,
    /// What it is all sealed with.
    pub keys: Arc<KeyRing>,
    /// Tells the time.
    pub clock: SharedClock,
    /// Draws routes, secrets and jitter.
    pub random: SharedRandom,
    /// Runs the watch.
    pub lifecycle: Lifecycle,
}

/// Makes, watches and takes back subscriptions. Clones share everything.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Subscriptions(Arc<Inner>);

struct Inner {
    public_url: Option<Url>,
    providers: Vec<SharedProvider>,
    store: Arc<dyn Everything>,
    tokens: Arc<dyn TokenSource>,
    routes: Routes,
    states: JobStates<State>,
    /// Rung when one was asked for in this process.
    asked: Notify,
    clock: SharedClock,
    random: SharedRandom,
    lifecycle: Lifecycle,
}

/// How long the provider may take to delete a subscription before the connection is removed anyway.
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Subscriptions ===

impl Subscriptions {
    /// Works with what is in `parts`; nothing is done before it is asked for, or watched.
    pub fn new(parts: Parts) -> Self {
        let routes = Routes::new(
            Arc::clone(&parts.store) as _,
            Arc::clone(&parts.keys),
            Arc::clone(&parts.random),
        );
        Self(Arc::new(Inner {
            public_url: parts.public_url,
            providers: parts.providers,
            store: parts.store,
            tokens: parts.tokens,
            routes,
            states: JobStates::new(JobKind::Subscription, parts.keys, Arc::clone(&parts.random)),
            asked: Notify::new(),
            clock: parts.clock,
            random: parts.random,
            lifecycle: parts.lifecycle,
        }))
    }

    /// Asks for the subscription of a connection that was made or renewed by its user. Made by
    /// whichever process watches.
    pub async fn ask_for(&self, key: &ConnectionKey) -> Result<(), store::Error> {
        if self.0.public_url.is_none() {
            return Ok(());
        }
        let jobs = &self.0.store;
        jobs.schedule(
            JobKind::Subscription,
            key,
            None,
            Duration::ZERO,
            Existing::Hasten,
        )
        .await?;
        self.0.asked.notify_one();
        Ok(())
    }

    /// Deletes the subscription of a connection that is about to be removed, and forgets it whatever
    /// the provider says. Its route is understood for some time yet.
    pub async fn take_back(&self, key: &ConnectionKey) -> Result<(), store::Error> {
        let Some(job) = self.0.store.job(JobKind::Subscription, key).await? else {
            return Ok(());
        };
        // Nobody else may work on it from here on.
        self.0.store.cancel(JobKind::Subscription, key).await?;
        let Some(state) = self.0.states.open(key, job.state.as_ref())? else {
            return Ok(());
        };
        self.0.let_linger(key, &state).await?;
        if let (Some(id), Some(webhooks)) = (&state.subscription, self.0.webhooks(key)) {
            let deleting = with_token(&*self.0.tokens, key, |token| async move {
                webhooks.unsubscribe(&token, id).await
            });
            match timeout(PATIENCE, deleting).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(
                    provider = %key.provider, user = %key.user,
                    error = &error as &dyn std::error::Error,
                    "a webhook subscription could not be deleted: what it brings is kept as unrouted",
                ),
                Err(_late) => tracing::warn!(
                    provider = %key.provider, user = %key.user,
                    "a webhook subscription could not be deleted in time: what it brings is kept as \
                     unrouted",
                ),
            }
        }
        Ok(())
    }

    /// How the subscription of a connection is doing; `None` if none was asked for.
    pub async fn view(&self, key: &ConnectionKey) -> Result<Option<View>, store::Error> {
        let Some(job) = self.0.store.job(JobKind::Subscription, key).await? else {
            return Ok(None);
        };
        let state = self.0.states.open(key, job.state.as_ref())?;
        Ok(Some(View::of(&job, state.as_ref())))
    }

    /// Watches until the drain begins.
    pub fn watch(&self) {
        if self.0.public_url.is_some() {
            let lifecycle = &self.0.lifecycle;
            lifecycle.spawn_until_drain(watch::watch(Arc::clone(&self.0)));
        }
    }
}

// === impl Inner ===

impl Inner {
    fn webhooks(&self, key: &ConnectionKey) -> Option<&dyn Webhooks> {
        let mut providers = self.providers.iter();
        providers
            .find(|provider| *provider.name() == key.provider)
            .and_then(|provider| provider.webhooks())
    }

    /// The route of a subscription that is gone is understood for some time yet.
    async fn let_linger(&self, key: &ConnectionKey, state: &State) -> Result<(), store::Error> {
        let target = state.target(key);
        let path = state.route.path.danger_expose();
        self.routes.put(path, &target, Some(LINGERS)).await
    }
}
