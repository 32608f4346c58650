//! The worker: claims lines, tries their first deliveries, settles what came of it.
//!
//! 1. Any number of processes may run one on the same store: a line is claimed by one of them.
//! 2. A claim lasts [`CLAIM`] and is prolonged while the app thinks. A worker that lost it goes on, but
//!    settles nothing: the app may then get the event twice, with the same id.
//! 3. Work is looked for when something was accepted here, when something was settled, and otherwise
//!    when the [`Lookout`] says so: what a process has left waits no longer than that.
//! 4. When the drain begins nothing new is claimed; what is under way is finished.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::HeaderName;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use url::Url;

use super::{
    Destination,
    breaker::{self, Admission, Destinations, Shown},
    post::{Courier, Tried},
    schedule,
};
use crate::{
    base::{
        clock::SharedClock,
        ids::{OwnerId, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::SharedRandom,
        steps::{self, Step},
    },
    store::{Claimed, Deliveries, Delivery, Lookout, Settled, seal::KeyRing},
    webhook::{
        Config, Error,
        envelope::{Envelope, Envelopes},
        standard::Signers,
    },
};

/// How long a line is held at a time: with the few seconds until somebody looks, or the duty to look
/// is taken over, a line of a dead process is taken over within fifteen seconds.
const CLAIM: Duration = Duration::from_secs(9);

/// How long nothing is looked for when all places are taken, at most.
const FULL: Duration = Duration::from_secs(5);

/// How long the store is left alone when it failed.
const STORE_REST: Duration = Duration::from_secs(2);

/// How many deliveries are under way at once. If all go to one host, no more than that gets: what was
/// claimed beyond would have to be put off, and wait for the next look.
const PLACES: usize = 128;

/// How often a result is offered to a store that does not take it.
const SETTLE_TRIES: u32 = 4;

/// Hears what becomes of deliveries. Calls must return at once.
pub trait Observer: Send + Sync + 'static {
    /// A delivery was tried, and took this long.
    fn tried(&self, provider: &ProviderName, delivered: Delivered, took: Duration);

    /// So many destinations are left alone.
    fn left_alone(&self, destinations: usize);
}

/// What a try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The app has it.
    Yes,
    /// It is tried again.
    NotYet,
    /// It was given up.
    GivenUp,
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

/// What a worker is made of.
#[expect(missing_debug_implementations, reason = "holds keys")]
pub struct Parts {
    /// Where to, how long, signed with what.
    pub config: Config,
    /// Says who a delivery is for.
    pub user_header: HeaderName,
    /// Trusted certificates in addition to the platform's.
    pub ca_file: Option<PathBuf>,
    /// What is to be delivered.
    pub deliveries: Arc<dyn Deliveries>,
    /// What it is sealed with.
    pub keys: Arc<KeyRing>,
    /// Rung when something was accepted in this process.
    pub accepted: Arc<Notify>,
    /// Says when to look for more.
    pub lookout: Lookout,
    /// Tells the time.
    pub clock: SharedClock,
    /// Draws jitter.
    pub random: SharedRandom,
    /// Runs it.
    pub lifecycle: Lifecycle,
    /// Hears what happens.
    pub observer: Arc<dyn Observer>,
}

struct Worker {
    destination: Destination,
    /// Whether all events go to one host.
    is_single: bool,
    retry_for: Duration,
    deliveries: Arc<dyn Deliveries>,
    envelopes: Envelopes,
    courier: Courier,
    destinations: Destinations,
    places: Arc<Semaphore>,
    owner: OwnerId,
    /// Rung when there may be more to do.
    more: Arc<Notify>,
    clock: SharedClock,
    random: SharedRandom,
    lifecycle: Lifecycle,
    observer: Arc<dyn Observer>,
}

/// What a look came to.
enum Looked {
    /// There may be more.
    Onward,
    /// There was nothing more.
    AllTaken,
    /// There is no place for more.
    Full,
}

/// Delivers until the drain begins, if there is somewhere to deliver to.
pub fn deliver(parts: Parts) -> Result<(), Error> {
    let Some(destination) = parts.config.destination.clone() else {
        return Ok(());
    };
    let secrets = [
        parts.config.signing_secret.clone(),
        parts.config.previous_signing_secret.clone(),
    ];
    let courier = Courier::new(
        parts.ca_file.as_deref(),
        parts.config.app_timeout,
        Signers::new(secrets.into_iter().flatten()),
        parts.user_header,
        Arc::clone(&parts.clock),
    )?;
    let is_single = destination.is_single();
    let places = if is_single { breaker::PLACES } else { PLACES };
    let worker = Arc::new(Worker {
        is_single,
        destination,
        retry_for: parts.config.retry_for,
        deliveries: parts.deliveries,
        envelopes: Envelopes::new(parts.keys, Arc::clone(&parts.random)),
        courier,
        destinations: Destinations::new(Arc::clone(&parts.random)),
        places: Arc::new(Semaphore::new(places)),
        owner: OwnerId::random(&*parts.random),
        more: parts.accepted,
        clock: parts.clock,
        random: parts.random,
        lifecycle: parts.lifecycle.clone(),
        observer: parts.observer,
    });
    parts
        .lifecycle
        .spawn_until_drain(worker.work(parts.lookout));
    Ok(())
}

// === impl Worker ===

impl Worker {
    async fn work(self: Arc<Self>, mut lookout: Lookout) {
        loop {
            // Armed before looking, so that what comes between the look and the wait is not missed.
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            match self.look().await {
                Looked::Onward => {}
                Looked::AllTaken => tokio::select! {
                    () = lookout.wait() => {}
                    () = more => {}
                },
                Looked::Full => drop(timeout(FULL, more).await),
            }
        }
    }

    /// Claims what there are places for and begins to deliver it.
    async fn look(self: &Arc<Self>) -> Looked {
        let appetite = if self.is_single {
            self.destinations.appetite(Instant::now())
        } else {
            Ok(PLACES)
        };
        let appetite = match appetite {
            Ok(appetite) => appetite,
            Err(alone) => {
                // Nothing could be tried; being called does not change that.
                sleep(alone).await;
                return Looked::Onward;
            }
        };
        let mut places = Vec::new();
        while places.len() < appetite
            && let Ok(place) = Arc::clone(&self.places).try_acquire_owned()
        {
            places.push(place);
        }
        if places.is_empty() {
            return Looked::Full;
        }
        let wanted = places.len();
        steps::reached(Step::Looking).await;
        let claimed = self.deliveries.claim_lines(self.owner, CLAIM, wanted).await;
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the store cannot be asked for deliveries",
                );
                sleep(STORE_REST).await;
                return Looked::Onward;
            }
        };
        let found_less = claimed.len() < wanted;
        for (claimed, place) in claimed.into_iter().zip(places) {
            drop(
                self.lifecycle
                    .spawn(Arc::clone(self).handle(claimed, place)),
            );
        }
        if found_less {
            Looked::AllTaken
        } else {
            Looked::Onward
        }
    }

    async fn handle(self: Arc<Self>, claimed: Claimed, place: OwnedSemaphorePermit) {
        let (delivery, user) = (&claimed.delivery, claimed.delivery.user.clone());
        let Some(user) = user else {
            return;
        };
        steps::reached(Step::Claimed).await;
        let settled = self.attempt(&claimed, &user).await;
        steps::reached(Step::Answered).await;
        let settled_at_once = !matches!(settled, Settled::Postponed { .. });
        self.settle(delivery, settled).await;
        steps::reached(Step::Settled).await;
        drop(place);
        if settled_at_once {
            self.more.notify_one();
        }
    }

    async fn attempt(&self, claimed: &Claimed, user: &UserId) -> Settled {
        let delivery = &claimed.delivery;
        let url = self.destination.of(&delivery.provider, user);
        let opened = self
            .envelopes
            .open(&delivery.provider, delivery.event, &claimed.payload);
        let (url, envelope) = match (url, opened) {
            (Some(url), Ok(envelope)) => (url, envelope),
            (None, _) => {
                return Settled::Dead {
                    what: "app.webhook_url makes no address for this user".to_owned(),
                };
            }
            (_, Err(error)) => {
                tracing::error!(
                    event = %delivery.event,
                    error = &error as &dyn std::error::Error,
                    "an event cannot be opened: is its key still configured?",
                );
                return Settled::Failed {
                    what: error.to_string(),
                    next_in: Duration::from_mins(5),
                };
            }
        };
        let place = url.origin().ascii_serialization();
        if let Admission::Wait(wait) = self.destinations.admit(&place, Instant::now()) {
            let next_in = wait + self.random.up_to(wait / 4);
            return Settled::Postponed { next_in };
        }
        steps::reached(Step::Posting).await;
        let begun = Instant::now();
        let tried = self
            .holding(user, self.call(url, delivery, user, &envelope))
            .await;
        let took = Instant::now().saturating_duration_since(begun);
        self.learn(&place, &tried);
        self.follow_up(delivery, user, tried, took)
    }

    async fn call(
        &self,
        url: Url,
        delivery: &Delivery,
        user: &UserId,
        envelope: &Envelope,
    ) -> Tried {
        self.courier.post(url, delivery, user, envelope).await
    }

    /// Keeps the line while `work` goes on.
    async fn holding<T>(&self, user: &UserId, work: impl Future<Output = T>) -> T {
        let prolonging = async {
            loop {
                sleep(CLAIM / 3).await;
                // Losing it is no reason to stop: settling is refused then.
                let _kept = self.deliveries.hold_line(user, self.owner, CLAIM).await;
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            never = prolonging => never,
        }
    }

    fn learn(&self, place: &str, tried: &Tried) {
        let shown = match tried {
            Tried::Delivered => Shown::Answers,
            Tried::Failed { shown, .. } => *shown,
        };
        if self.destinations.learn(place, shown, Instant::now()) {
            tracing::warn!(
                destination = place,
                "the app fails over and over: it is left alone for a while, and events wait",
            );
        }
        self.observer.left_alone(self.destinations.open());
    }

    fn follow_up(
        &self,
        delivery: &Delivery,
        user: &UserId,
        tried: Tried,
        took: Duration,
    ) -> Settled {
        let settled = match tried {
            Tried::Delivered => Settled::Delivered,
            Tried::Failed {
                what, retry_after, ..
            } => schedule::after_failure(
                delivery,
                what,
                retry_after,
                self.retry_for,
                self.clock.now(),
                &*self.random,
            ),
        };
        let (delivered, outcome) = match &settled {
            Settled::Delivered => (Delivered::Yes, "delivered"),
            Settled::Dead { .. } => (Delivered::GivenUp, "dead"),
            Settled::Failed { .. } | Settled::Postponed { .. } => (Delivered::NotYet, "failed"),
        };
        self.observer.tried(&delivery.provider, delivered, took);
        match &settled {
            Settled::Dead { what } => tracing::error!(
                provider = %delivery.provider, %user, event = %delivery.event, what,
                "an event is given up: see `daypass deliveries list --status dead`",
            ),
            Settled::Failed { what, next_in } => tracing::warn!(
                provider = %delivery.provider, %user, event = %delivery.event, what,
                next_in = ?next_in, attempts = delivery.attempts + 1,
                "an event could not be delivered",
            ),
            _ => tracing::debug!(
                provider = %delivery.provider, %user, event = %delivery.event, outcome,
                took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "an event was tried",
            ),
        }
        settled
    }

    /// Offers the result to the store until it is taken or the claim has certainly run out: then
    /// whoever has the line tries again.
    async fn settle(&self, delivery: &Delivery, settled: Settled) {
        for _ in 0..SETTLE_TRIES {
            match self
                .deliveries
                .settle(delivery.id, self.owner, settled.clone())
                .await
            {
                Ok(true) => return,
                Ok(false) => {
                    tracing::info!(
                        event = %delivery.event,
                        "another process has taken a line over; it may deliver this event again",
                    );
                    return;
                }
                Err(error) => {
                    tracing::warn!(
                        event = %delivery.event,
                        error = &error as &dyn std::error::Error,
                        "what became of a delivery could not be stored",
                    );
                    sleep(STORE_REST).await;
                }
            }
        }
    }
}

// === impl Unobserved ===

impl Observer for Unobserved {
    fn tried(&self, _: &ProviderName, _: Delivered, _: Duration) {}
    fn left_alone(&self, _: usize) {}
}
