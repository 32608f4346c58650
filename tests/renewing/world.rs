//! Sidecars, their store, their provider and their clock, all in one test's hands.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use daypass::{
    base::{
        clock::{Clock, SharedClock, Timestamp},
        ids::{ConnectionKey, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::SeededRandom,
        secret::Secret,
    },
    provider::Account,
    store::{
        Connection, Digest, ReauthReason, Store,
        seal::{Key, KeyRing, generate_key},
    },
    token::{
        Bearer, Config, Error, Grant, GrantTokens, Issued, Lookup, Observer, Parts, Renewal,
        TokenSource, Tokens,
    },
};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{memory_store::MemoryStore, scripted_provider::ScriptedProvider};

/// Wall time that follows the paused clock, plus whatever it was set off by.
#[derive(Clone, Debug)]
pub(crate) struct TestClock {
    origin: Instant,
    offset: Arc<Mutex<i64>>,
}

impl TestClock {
    fn new() -> Self {
        Self {
            origin: Instant::now(),
            offset: Arc::default(),
        }
    }

    /// The machine's clock jumps; time itself does not.
    pub(crate) fn jump_millis(&self, by: i64) {
        *self.offset.lock() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let passed = Instant::now().saturating_duration_since(self.origin);
        let start = Timestamp::from_secs(1_790_000_000).saturating_add(passed);
        Timestamp::from_millis(start.as_millis() + *self.offset.lock())
    }
}

pub(crate) struct World {
    pub(crate) clock: TestClock,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) provider: Arc<ScriptedProvider>,
    pub(crate) config: Config,
    pub(crate) spool: TempDir,
    keys: Arc<KeyRing>,
    /// How many processes have only written.
    writers: AtomicU64,
}

/// One process: its tokens, its tasks, and what it told its observer.
#[derive(Clone)]
pub(crate) struct Sidecar {
    pub(crate) tokens: Tokens,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) heard: Arc<Heard>,
}

#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) needs_reauth: Mutex<Vec<ReauthReason>>,
    /// Generations and digests.
    pub(crate) issued: Mutex<Vec<(u64, Digest)>>,
}

impl Observer for Heard {
    fn looked_up(&self, _: &ProviderName, _: Lookup) {}
    fn renewed(&self, _: &Renewal<'_>) {}
    fn needs_reauth(&self, _: &ConnectionKey, reason: ReauthReason) {
        self.needs_reauth.lock().push(reason);
    }
    fn issued(&self, issued: &Issued<'_>) {
        let issued = (issued.generation.get(), issued.digest);
        self.issued.lock().push(issued);
    }
    fn spooled(&self, _: usize) {}
    fn store_failed(&self, _: &daypass::store::Error) {}
}

impl World {
    /// With a provider like Calendly: one way to renew.
    pub(crate) fn new() -> Self {
        Self::with(ScriptedProvider::new("calendly", false))
    }

    /// With a provider like Cal.com's platform: force refresh exists for managed users.
    pub(crate) fn managed() -> Self {
        Self::with(ScriptedProvider::new("calcom", true))
    }

    fn with(provider: Arc<ScriptedProvider>) -> Self {
        let clock = TestClock::new();
        let shared: SharedClock = Arc::new(clock.clone());
        let key = generate_key(&SeededRandom::new(1));
        Self {
            store: MemoryStore::remembering(shared, 10_000),
            clock,
            provider,
            config: Config::default(),
            spool: tempfile::tempdir().unwrap(),
            writers: AtomicU64::new(0),
            keys: Arc::new(KeyRing::new("k1", vec![Key::parse("k1", &key).unwrap()]).unwrap()),
        }
    }

    /// Starts a process. `seed` tells processes apart: it draws their ids.
    pub(crate) async fn sidecar(&self, seed: u64) -> Sidecar {
        let lifecycle = Lifecycle::new();
        let heard = Arc::new(Heard::default());
        let tokens = Tokens::start(Parts {
            config: self.config.clone(),
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            providers: vec![Arc::clone(&self.provider) as _],
            keys: Arc::clone(&self.keys),
            spool_dir: self.spool.path().join("spool"),
            clock: Arc::new(self.clock.clone()),
            random: Arc::new(SeededRandom::new(seed)),
            lifecycle: lifecycle.clone(),
            observer: Arc::clone(&heard) as _,
        })
        .await
        .unwrap();
        Sidecar {
            tokens,
            lifecycle,
            heard,
        }
    }

    /// Connects `user` with the tokens `access-0` and `refresh-0`, issued an hour before their end.
    pub(crate) async fn connect(&self, user: &str, expires_in: Duration) -> ConnectionKey {
        self.provider.accept("refresh-0");
        self.grant(user, "0", Some(expires_in), true).await
    }

    /// Connects `user` with `access-{n}` and perhaps `refresh-{n}`.
    pub(crate) async fn grant(
        &self,
        user: &str,
        n: &str,
        expires_in: Option<Duration>,
        refreshable: bool,
    ) -> ConnectionKey {
        let key = self.key(user);
        let expires_at = expires_in.map(|left| self.clock.now().saturating_add(left));
        let grant = Grant {
            key: key.clone(),
            account: self.account(),
            tokens: Some(GrantTokens {
                access: Secret::from(format!("access-{n}")),
                refresh: refreshable.then(|| Secret::from(format!("refresh-{n}"))),
                expires_at,
                refresh_expires_at: None,
                issued_at: expires_at.map(|end| end.saturating_sub(Duration::from_hours(1))),
            }),
            scope: None,
            once: false,
        };
        self.save(grant).await;
        key
    }

    /// Stores a grant by a process of its own, as the command line does.
    pub(crate) async fn save(&self, grant: Grant) {
        let writer = self
            .sidecar(1 << 32 | self.writers.fetch_add(1, Ordering::SeqCst))
            .await;
        writer.tokens.save(&[grant]).await.unwrap();
        writer.lifecycle.stop();
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn account(&self) -> Account {
        let managed = self.provider_is_managed();
        Account {
            managed_user_id: managed.then_some(77),
            ..Account::default()
        }
    }

    fn provider_is_managed(&self) -> bool {
        use daypass::provider::Provider;
        self.provider.name().as_str() == "calcom"
    }

    pub(crate) fn key(&self, user: &str) -> ConnectionKey {
        use daypass::provider::Provider;
        ConnectionKey {
            provider: self.provider.name().clone(),
            user: UserId::parse(user).unwrap(),
        }
    }

    /// The connection as stored.
    pub(crate) async fn stored(&self, key: &ConnectionKey) -> Connection {
        self.store.load(key).await.unwrap().unwrap()
    }
}

impl Sidecar {
    pub(crate) async fn bearer(&self, key: &ConnectionKey) -> Result<String, Error> {
        if let Some(bearer) = self.tokens.cached(&key.provider, key.user.as_str()) {
            return Ok(text(&bearer));
        }
        self.tokens
            .bearer(key.clone())
            .await
            .map(|bearer| text(&bearer))
    }

    /// What a request does whose token of `generation` was refused.
    pub(crate) async fn newer_than(
        &self,
        key: &ConnectionKey,
        generation: u64,
    ) -> Result<String, Error> {
        let refused = daypass::base::ids::Generation::new(generation);
        self.tokens
            .newer_than(key.clone(), refused)
            .await
            .map(|bearer| text(&bearer))
    }
}

pub(crate) fn text(bearer: &Arc<Bearer>) -> String {
    bearer.danger_token().danger_expose().clone()
}

/// Lets every task run that can, without letting time pass.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const MINUTE: Duration = Duration::from_mins(1);

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
