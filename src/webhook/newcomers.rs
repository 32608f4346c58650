//! Newcomers: connections that nobody told this room of, and what they lack.
//!
//! Who connects is announced ([`Intake::arrived`], [`Subscriptions::ask_for`](super::Subscriptions)).
//! Not announced are connections that were imported, or saved by an older version that runs beside this
//! one, and those whose announcer died at the wrong moment. They are looked for:
//!
//! 1. Of all processes that share the store one looks, as a [`Duty`]; if it dies, another does within
//!    [`TURN`].
//! 2. A connection whose account is not known is asked for it, once. What waits for an account as
//!    nobody's is given to it.
//! 3. Each active connection has a job of each kind that its provider serves. Those that are missing are
//!    asked for, one every [`APART`]: an import of thousands must not flood a provider.
//! 4. What is in place is left alone. A look costs two reads for each [`PORTION`] of connections, and a
//!    portion takes [`PAUSE`] at least.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::Intake;
use crate::{
    base::{
        ids::{ConnectionKey, OwnerId},
        lifecycle::Lifecycle,
        random::SharedRandom,
    },
    provider::SharedProvider,
    store::{
        self, Connection, DeliveryStatus, Duty, DutyKind, Everything, Existing, Filter, JobKind,
        Post, SharedStore, Turn,
    },
    token::account_of,
};

const NEWCOMERS: DutyKind = DutyKind::new("newcomers");

/// How soon after the start is looked for the first time, about.
const FIRST: Duration = Duration::from_secs(20);

/// How often is looked, about.
const EVERY: Duration = Duration::from_mins(10);

/// For how long one who looks is believed to; longer than from one look to the next.
const TURN: Duration = Duration::from_mins(20);

/// How many connections are looked at in one go.
const PORTION: usize = 200;

/// How long one go takes at least.
const PAUSE: Duration = Duration::from_secs(1);

/// How far apart questions to providers are, and the jobs that are asked for in one look.
const APART: Duration = Duration::from_millis(500);

/// How long a process that goes down waits for its duty to be taken back.
const PARTING: Duration = Duration::from_secs(1);

/// What looking is made of.
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Parts {
    /// Connections, jobs and events.
    pub store: Arc<dyn Everything>,
    /// The same, for the duty.
    pub duties: SharedStore,
    /// Whom connections are with.
    pub providers: Vec<SharedProvider>,
    /// Asks who somebody is, and gives them what waits.
    pub intake: Intake,
    /// What every active connection has a job for.
    pub jobs: Vec<JobKind>,
    /// Draws jitter.
    pub random: SharedRandom,
    /// Runs it.
    pub lifecycle: Lifecycle,
}

/// One process's looking.
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Newcomers {
    parts: Parts,
    post: Post,
}

// === impl Newcomers ===

impl Newcomers {
    /// Looks only when it is told to.
    pub fn new(parts: Parts) -> Self {
        let owner = OwnerId::random(&*parts.random);
        let duty = Duty::of(NEWCOMERS);
        Self {
            post: Post::new(Arc::clone(&parts.duties), duty, owner, TURN),
            parts,
        }
    }

    /// Looks now and again until the drain begins.
    pub fn keep_looking(mut self) {
        let lifecycle = self.parts.lifecycle.clone();
        let draining = lifecycle.draining();
        drop(lifecycle.spawn(async move {
            tokio::select! {
                () = draining => {}
                () = self.watch() => {}
            }
            // A successor need not wait for the end of the turn. If this fails, it does.
            let _late = timeout(PARTING, self.post.leave()).await;
        }));
    }

    async fn watch(&mut self) {
        let mut pause = FIRST / 2 + self.parts.random.up_to(FIRST);
        loop {
            sleep(pause).await;
            pause = match self.post.take().await {
                Ok(Turn::Mine) => {
                    if let Err(error) = self.look().await {
                        complain(&error);
                    }
                    EVERY / 2 + self.parts.random.up_to(EVERY)
                }
                Ok(Turn::Anothers(left)) => left.min(TURN) + self.parts.random.up_to(FIRST),
                Err(error) => {
                    complain(&error);
                    FIRST + self.parts.random.up_to(FIRST)
                }
            };
        }
    }

    /// Goes through all active connections, as long as nobody else does; how many jobs were asked for.
    pub async fn look(&mut self) -> Result<u32, store::Error> {
        let something_waits = self.something_waits().await?;
        let active = Filter {
            needs_reauth: Some(false),
            ..Filter::default()
        };
        let (mut after, mut asked) = (None, 0);
        while self.post.goes_on().await? {
            let store = &self.parts.store;
            let page = store.page(&active, after.as_ref(), PORTION).await?;
            for connection in &page {
                self.place(connection, something_waits).await?;
            }
            for kind in self.parts.jobs.clone() {
                asked += self
                    .ask_for_missing(kind, &page, after.as_ref(), asked)
                    .await?;
            }
            if page.len() < PORTION {
                break;
            }
            after = page.last().map(|connection| connection.key.clone());
            sleep(PAUSE).await;
        }
        if asked > 0 {
            tracing::info!(
                jobs = asked,
                "connections were found that lacked webhooks or meetings: they were imported, or saved \
                 by another version",
            );
        }
        Ok(asked)
    }

    async fn something_waits(&self) -> Result<bool, store::Error> {
        let tallies = self.parts.store.tally().await?;
        Ok(tallies
            .iter()
            .any(|tally| tally.status == DeliveryStatus::Unrouted && tally.count > 0))
    }

    /// Sees to it that the account of `connection` is known, and has what waits for it.
    async fn place(
        &self,
        connection: &Connection,
        something_waits: bool,
    ) -> Result<(), store::Error> {
        if account_of(connection).key().is_none() {
            if self.parts.intake.identify(connection).await? {
                sleep(APART).await;
            }
            return Ok(());
        }
        if something_waits {
            self.parts.intake.arrived(connection).await?;
        }
        Ok(())
    }

    /// Asks for the jobs of a kind that those on `page`, which begins after `after`, should have and do
    /// not; how many. So many were asked for before.
    async fn ask_for_missing(
        &self,
        kind: JobKind,
        page: &[Connection],
        after: Option<&ConnectionKey>,
        asked: u32,
    ) -> Result<u32, store::Error> {
        let Some(last) = page.last() else {
            return Ok(0);
        };
        let present = self.present(kind, after, &last.key).await?;
        let mut count = 0;
        for connection in page {
            let key = &connection.key;
            if present.contains(key) || !self.serves(kind, key) {
                continue;
            }
            let due_in = APART.saturating_mul(asked + count);
            let store = &self.parts.store;
            store
                .schedule(kind, key, None, due_in, Existing::Hasten)
                .await?;
            count += 1;
        }
        Ok(count)
    }

    /// The keys after `after`, up to `last`, that have a job of this kind which will be done.
    async fn present(
        &self,
        kind: JobKind,
        after: Option<&ConnectionKey>,
        last: &ConnectionKey,
    ) -> Result<BTreeSet<ConnectionKey>, store::Error> {
        let mut present = BTreeSet::new();
        let mut after = after.cloned();
        loop {
            let jobs = self.parts.store.jobs(kind, after.as_ref(), PORTION).await?;
            let is_all = jobs.len() < PORTION;
            after = jobs.last().map(|job| job.key.clone());
            let alive = jobs
                .into_iter()
                .filter(|job| job.due_at.is_some() || job.owner.is_some());
            present.extend(alive.map(|job| job.key));
            if is_all || after.as_ref().is_none_or(|reached| reached >= last) {
                return Ok(present);
            }
        }
    }

    fn serves(&self, kind: JobKind, key: &ConnectionKey) -> bool {
        let mut providers = self.parts.providers.iter();
        let provider = providers.find(|provider| *provider.name() == key.provider);
        provider.is_some_and(|provider| match kind {
            JobKind::Sync => provider.meetings().is_some(),
            JobKind::Subscription => provider.webhooks().is_some(),
        })
    }
}

fn complain(error: &store::Error) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "connections that nobody was told of could not be looked for",
    );
}
