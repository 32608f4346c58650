//! A store in a file, a clock to move, workers to start and to kill, and own events to deliver.

use std::{sync::Arc, time::Duration};

use daypass::{
    base::{
        clock::{ManualClock, Timestamp},
        ids::{ConnectionKey, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::OsRandom,
        secret::{ReloadableSecret, Secret},
    },
    http::tls::install_crypto,
    store::{
        Deliveries, Delivery, DeliveryFilter, DeliveryStatus,
        seal::{Key, KeyRing},
        sqlite::Sqlite,
    },
    webhook::{
        Config, Destination, OwnEvent, Teller,
        delivery::{Parts, Unobserved, deliver},
    },
};
use http::HeaderName;
use serde_json::json;
use tempfile::TempDir;
use tokio::{sync::Notify, time::timeout};

/// Where the clock starts.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// `whsec_` and 24 bytes.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) struct World {
    pub(crate) store: Arc<Sqlite>,
    pub(crate) clock: ManualClock,
    pub(crate) config: Config,
    accepted: Arc<Notify>,
    keys: Arc<KeyRing>,
    _place: TempDir,
}

/// A worker, as a process of its own would have one.
pub(crate) struct Worker {
    lifecycle: Lifecycle,
    /// Rung to make it look.
    pub(crate) bell: Arc<Notify>,
}

// === impl World ===

impl World {
    pub(crate) fn new(webhook_url: &str) -> Self {
        Self::with(config(webhook_url))
    }

    pub(crate) fn with(config: Config) -> Self {
        install_crypto();
        let place = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(START);
        let path = place.path().join("daypass.db");
        let key = Key::new("k1", &Secret::new([7; 32])).unwrap();
        Self {
            store: Arc::new(Sqlite::open(path, Arc::new(clock.clone())).unwrap()),
            clock,
            config,
            accepted: Arc::new(Notify::new()),
            keys: Arc::new(KeyRing::new("k1", vec![key]).unwrap()),
            _place: place,
        }
    }

    /// Starts a worker.
    pub(crate) fn worker(&self) -> Worker {
        let (lifecycle, bell) = (Lifecycle::new(), Arc::new(Notify::new()));
        deliver(Parts {
            config: self.config.clone(),
            user_header: HeaderName::from_static("x-user-id"),
            ca_file: None,
            deliveries: Arc::clone(&self.store) as _,
            keys: Arc::clone(&self.keys),
            accepted: Arc::clone(&bell),
            clock: Arc::new(self.clock.clone()),
            random: Arc::new(OsRandom),
            lifecycle: lifecycle.clone(),
            observer: Arc::new(Unobserved),
        })
        .unwrap();
        Worker { lifecycle, bell }
    }

    /// Puts an event into the line of `user`.
    pub(crate) async fn tell(&self, user: &str, number: u32) {
        let teller = Teller::new(
            &self.config,
            Arc::clone(&self.store) as _,
            Arc::clone(&self.keys),
            Arc::clone(&self.accepted),
            Arc::new(self.clock.clone()),
            Arc::new(OsRandom),
        );
        let data = json!({ "number": number });
        teller
            .tell(OwnEvent::Connected, &key(user), data)
            .await
            .unwrap();
    }

    /// All deliveries, the oldest first.
    pub(crate) async fn deliveries(&self) -> Vec<Delivery> {
        let all = DeliveryFilter::default();
        let mut found = self.store.deliveries(&all, None, 1000).await.unwrap();
        found.reverse();
        found
    }

    /// Waits until `count` deliveries stand so, making `worker` look.
    pub(crate) async fn until(&self, count: usize, status: DeliveryStatus, worker: &Worker) {
        let looking = async {
            loop {
                let found = self.deliveries().await;
                if found.iter().filter(|found| found.status == status).count() >= count {
                    return;
                }
                worker.bell.notify_one();
                tokio::task::yield_now().await;
            }
        };
        let seen = timeout(Duration::from_mins(1), looking).await;
        let all = self.deliveries().await;
        assert!(seen.is_ok(), "no {count} are {status:?}: {all:?}");
    }

    /// Waits until the first delivery was tried `attempts` times.
    pub(crate) async fn until_tried(&self, attempts: u32, worker: &Worker) -> Delivery {
        self.until_nth_tried(0, attempts, worker).await
    }

    /// Waits until the `nth` delivery, from 0, was tried `attempts` times, and failed.
    pub(crate) async fn until_nth_tried(
        &self,
        nth: usize,
        attempts: u32,
        worker: &Worker,
    ) -> Delivery {
        let looking = async {
            loop {
                let found = self.deliveries().await;
                if let Some(first) = found.get(nth).filter(|first| first.attempts >= attempts) {
                    return first.clone();
                }
                worker.bell.notify_one();
                tokio::task::yield_now().await;
            }
        };
        let found = timeout(Duration::from_mins(1), looking).await;
        let all = self.deliveries().await;
        found.unwrap_or_else(|_late| panic!("not tried {attempts} times: {all:?}"))
    }
}

pub(crate) fn config(webhook_url: &str) -> Config {
    Config {
        destination: Some(Destination::parse(webhook_url, 4).unwrap()),
        signing_secret: Some(ReloadableSecret::new(Secret::from(SECRET.to_owned()))),
        previous_signing_secret: None,
        app_timeout: Duration::from_secs(30),
        own_events: OwnEvent::ALL.to_vec(),
        tolerance: Duration::from_mins(3),
        retry_for: Duration::from_hours(72),
        dedupe_for: Duration::from_hours(24 * 7),
        keep_for: Duration::from_hours(24 * 30),
    }
}

pub(crate) fn key(user: &str) -> ConnectionKey {
    ConnectionKey {
        provider: ProviderName::parse("calendly").unwrap(),
        user: UserId::parse(user).unwrap(),
    }
}

// === impl Worker ===

impl Worker {
    /// Stops where it is, as a killed process does.
    pub(crate) fn kill(&self) {
        self.lifecycle.stop();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}
