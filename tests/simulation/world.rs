//! Everything that one schedule plays with: the store, the provider, the sidecars and their clocks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use daypass::{
    base::{
        clock::{Clock, Timestamp},
        ids::{ConnectionKey, Generation, ProviderName, UserId},
        lifecycle::Lifecycle,
        random::SeededRandom,
        secret::Secret,
    },
    provider::{Account, ApiBase},
    store::{
        Error as StoreError,
        seal::{Aad, Field, Key, KeyRing, Sealed, generate_key},
    },
    token::{Config, Grant, GrantTokens, Parts, Tokens, Unobserved},
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    dice::Dice,
    ledger::{Ledger, Who},
    memory_store::{MemoryStore, Rows},
    mutant::Mutant,
    network::{Shelf, Wire},
    plan::{Plan, Rotation},
    provider::{Authority, Line},
};

/// Wall time as one machine tells it.
#[derive(Clone, Debug)]
pub(crate) struct MachineClock {
    origin: Instant,
    off: Arc<Mutex<i64>>,
}

/// The place of one sidecar: what outlives its processes.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) clock: MachineClock,
    pub(crate) spool: Mutex<BTreeMap<String, Vec<u8>>>,
    pub(crate) running: Mutex<Option<Running>>,
    pub(crate) paused_until: Mutex<Instant>,
    pub(crate) cut_until: Mutex<Instant>,
    /// What each of its processes has given out last.
    pub(crate) had: Mutex<BTreeMap<(Who, usize), Option<Had>>>,
    lives: Mutex<u32>,
}

/// A token that was given out.
#[derive(Clone, Debug)]
pub(crate) struct Had {
    pub(crate) generation: Generation,
    pub(crate) token: String,
    /// Until when it is certainly good.
    pub(crate) until: Instant,
}

/// One process.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) who: Who,
    pub(crate) tokens: Tokens,
    pub(crate) lifecycle: Lifecycle,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) dice: Dice,
    pub(crate) config: Config,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) authority: Mutex<Authority>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) store_clock: MachineClock,
    pub(crate) slots: Vec<Slot>,
    pub(crate) store_down_until: Mutex<Instant>,
    /// Whether a clock has jumped: what one sidecar takes for valid another does not.
    pub(crate) jumped: Mutex<bool>,
    /// The generation with which each user connected last.
    pub(crate) connected: Mutex<BTreeMap<ConnectionKey, Generation>>,
    /// How many pairs the provider had issued when each connection was removed last.
    issued_before_removal: Mutex<BTreeMap<ConnectionKey, u64>>,
    /// When each connection that is no more was removed.
    removed: Mutex<BTreeMap<ConnectionKey, Instant>>,
    /// Until when nobody hears of changes.
    pub(crate) deaf_until: Mutex<Instant>,
    healed: Mutex<bool>,
    /// The store after each of its last writes.
    history: Mutex<VecDeque<Rows>>,
    keys: Arc<KeyRing>,
    provider: ProviderName,
}

impl MachineClock {
    fn new(off: i64) -> Self {
        Self {
            origin: Instant::now(),
            off: Arc::new(Mutex::new(off)),
        }
    }

    pub(crate) fn jump(&self, millis: i64) {
        *self.off.lock() += millis;
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let passed = Instant::now().saturating_duration_since(self.origin);
        let start = Timestamp::from_secs(1_790_000_000).saturating_add(passed);
        Timestamp::from_millis(start.as_millis() + *self.off.lock())
    }
}

impl Slot {
    fn new(off: i64) -> Self {
        let now = Instant::now();
        Self {
            clock: MachineClock::new(off),
            spool: Mutex::default(),
            running: Mutex::default(),
            paused_until: Mutex::new(now),
            cut_until: Mutex::new(now),
            had: Mutex::default(),
            lives: Mutex::new(0),
        }
    }
}

/// How long news may be on its way, while nothing else is wrong: a late answer, and one to the question
/// that follows from it.
const NEWS: Duration = Duration::from_secs(20);

/// How many writes a replica may lack.
const HISTORY: usize = 8;

impl World {
    pub(crate) fn new(plan: Plan, mutant: Option<Mutant>, traced: bool) -> Arc<Self> {
        let dice = Dice::new(plan.seed);
        let config = Config {
            timeout: plan.timeout,
            keep_alive: plan.keep_alive,
            ..Config::default()
        };
        let single_use = plan.rotation != Rotation::Reusable;
        let store_clock = MachineClock::new(0);
        let slots = (0..plan.sidecars)
            .map(|_| Slot::new(i64::try_from(dice.between(0, 10_000)).unwrap() - 5_000))
            .collect();
        let key = generate_key(&SeededRandom::new(1));
        let shared = Arc::new(store_clock.clone());
        let store = if dice.in_thousand(500) {
            MemoryStore::remembering(shared, 3)
        } else {
            MemoryStore::remembering(shared, 10_000)
        };
        Arc::new(Self {
            ledger: Mutex::new(Ledger::new(single_use, config.lease_ttl, traced)),
            authority: Mutex::new(Authority::new(plan.rotation, plan.lifetime)),
            store,
            store_clock,
            slots,
            store_down_until: Mutex::new(Instant::now()),
            jumped: Mutex::new(false),
            connected: Mutex::default(),
            issued_before_removal: Mutex::default(),
            removed: Mutex::default(),
            deaf_until: Mutex::new(Instant::now()),
            healed: Mutex::new(false),
            history: Mutex::default(),
            keys: Arc::new(KeyRing::new("k1", vec![Key::parse("k1", &key).unwrap()]).unwrap()),
            provider: ProviderName::parse("provider").unwrap(),
            dice,
            config,
            mutant,
            plan,
        })
    }

    pub(crate) fn note(&self, what: std::fmt::Arguments<'_>) {
        self.ledger.lock().note(what);
    }

    /// Whether everything works from now on.
    pub(crate) fn is_healed(&self) -> bool {
        *self.healed.lock()
    }

    pub(crate) fn heal(&self) {
        *self.healed.lock() = true;
        let now = Instant::now();
        *self.store_down_until.lock() = now;
        self.authority.lock().down_until = now;
        for slot in &self.slots {
            *slot.cut_until.lock() = now;
            *slot.paused_until.lock() = now;
        }
        self.store.faults.lock().deaf = self.mutant == Some(Mutant::NoNotifications);
        self.note(format_args!("everything works again"));
    }

    pub(crate) fn keys(&self) -> Vec<ConnectionKey> {
        (0..self.plan.users).map(|user| self.key(user)).collect()
    }

    pub(crate) fn key(&self, user: usize) -> ConnectionKey {
        ConnectionKey {
            provider: self.provider.clone(),
            user: UserId::parse(&format!("u{user}")).unwrap(),
        }
    }

    pub(crate) fn account(&self, user: usize) -> Account {
        Account {
            external_id: Some(user.to_string()),
            organization: None,
            managed_user_id: (self.plan.rotation == Rotation::Managed)
                .then(|| i64::try_from(user).unwrap()),
        }
    }

    pub(crate) fn is_managed(&self) -> bool {
        self.plan.rotation == Rotation::Managed
    }

    pub(crate) fn is_reusable(&self) -> bool {
        self.plan.rotation == Rotation::Reusable
    }

    pub(crate) fn user_of(account: &Account) -> usize {
        account.external_id.as_ref().unwrap().parse().unwrap()
    }

    pub(crate) fn key_of(&self, account: &Account) -> ConnectionKey {
        self.key(Self::user_of(account))
    }

    /// Waits while the process at `slot` stands still.
    pub(crate) async fn gate(&self, slot: usize) {
        loop {
            let until = *self.slots[slot].paused_until.lock();
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }

    pub(crate) fn reaches(&self, slot: usize) -> bool {
        let now = Instant::now();
        now >= *self.store_down_until.lock() && now >= *self.slots[slot].cut_until.lock()
    }

    /// Does `call` after `late`, though nobody waits for it.
    pub(crate) fn later<T: Send + 'static>(
        self: &Arc<Self>,
        late: Duration,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) {
        let world = Arc::clone(self);
        tokio::spawn(async move {
            sleep(late).await;
            if !world.is_healed() {
                let _unheard = call.await;
            }
        });
    }

    /// Whether `token` was of a connection that has been removed. Its generation does not tell: that of
    /// the next connection begins anew.
    pub(crate) fn is_of_the_removed(&self, key: &ConnectionKey, token: &str) -> bool {
        let number = token.rsplit('-').next().unwrap().parse::<u64>().unwrap();
        let before = self.issued_before_removal.lock().get(key).copied();
        let minted_later = || {
            let refresh = token.replacen("a-", "r-", 1);
            self.ledger.lock().was_replaced(&refresh)
        };
        before.is_some_and(|issued| number <= issued || minted_later())
    }

    /// Whether the process at `slot` must have heard by now that `key` was removed.
    pub(crate) fn knows_removed(&self, slot: usize, key: &ConnectionKey) -> bool {
        let removed = self.removed.lock().get(key).copied();
        removed.is_some_and(|at| {
            let deaf = self.mutant == Some(Mutant::NoNotifications)
                || at <= *self.deaf_until.lock() + NEWS;
            let told = !deaf && at + NEWS < Instant::now();
            told && self.ledger.lock().undisturbed(slot, at)
        })
    }

    fn refresh_token(&self, key: &ConnectionKey) -> Option<String> {
        let sealed = self.store.peek(key)?.tokens?.refresh?;
        let aad = Aad::new(key, Field::RefreshToken);
        Some(
            self.keys
                .open(&aad, &sealed)
                .unwrap()
                .danger_expose()
                .clone(),
        )
    }

    /// The refresh token of `key` that the store has.
    pub(crate) fn stored_refresh(&self, key: &ConnectionKey) -> Option<String> {
        self.refresh_token(key)
    }

    /// The store was written to by a commit.
    pub(crate) fn has_stored(&self, key: &ConnectionKey) {
        let refresh = self.refresh_token(key);
        self.ledger.lock().holds(key, refresh.as_deref());
        let mut history = self.history.lock();
        history.push_back(self.store.snapshot());
        if history.len() > HISTORY {
            history.pop_front();
        }
    }

    /// The store was written to by a connect or a disconnect.
    pub(crate) fn has_saved(&self, key: &ConnectionKey) {
        self.has_stored(key);
        let refresh = self.refresh_token(key);
        self.note(format_args!("{key} is replaced by {refresh:?}"));
        self.ledger.lock().replaced(key, refresh.as_deref());
        if let Some(now) = self.store.peek(key) {
            self.connected.lock().insert(key.clone(), now.generation);
        }
        self.removed.lock().remove(key);
        if self.store.peek(key).is_none() {
            self.removed.lock().insert(key.clone(), Instant::now());
            let issued = self.authority.lock().issued;
            self.issued_before_removal
                .lock()
                .insert(key.clone(), issued);
            for slot in &self.slots {
                slot.had
                    .lock()
                    .retain(|(_, user), _| self.key(*user) != *key);
            }
        }
    }

    /// A replica takes over that lacks the last `lost` writes.
    pub(crate) fn fail_over(&self, lost: usize) {
        let mut history = self.history.lock();
        let kept = history.len().saturating_sub(lost);
        history.truncate(kept);
        let Some(replica) = history.back().cloned() else {
            return;
        };
        drop(history);
        let before: Vec<_> = self.keys().iter().map(|key| self.store.peek(key)).collect();
        self.store.fail_over(replica);
        for (key, before) in self.keys().iter().zip(before) {
            if self.store.peek(key) != before {
                let refresh = self.refresh_token(key);
                let mut ledger = self.ledger.lock();
                ledger.note(format_args!(
                    "the store has lost what it knew of {key}: {refresh:?} again"
                ));
                ledger.lost(key);
                ledger.holds(key, refresh.as_deref());
            }
        }
    }

    /// The refresh tokens in a file of a spool.
    pub(crate) fn pairs_in(&self, bytes: &[u8]) -> Vec<String> {
        let file: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        let Ok(sealed) =
            serde_json::from_value::<Sealed>(file["renewed"]["tokens"]["refresh"].clone())
        else {
            return Vec::new();
        };
        let key: ConnectionKey = serde_json::from_value(file["key"].clone()).unwrap();
        let opened = self
            .keys
            .open(&Aad::new(&key, Field::RefreshToken), &sealed);
        opened
            .map(|token| vec![token.danger_expose().clone()])
            .unwrap()
    }

    /// Starts the next process at `slot`.
    pub(crate) async fn start(self: &Arc<Self>, slot: usize) {
        let place = &self.slots[slot];
        let life = {
            let mut lives = place.lives.lock();
            *lives += 1;
            *lives
        };
        let who = Who { slot, life };
        let files = place.spool.lock().clone();
        let found: Vec<_> = files
            .values()
            .flat_map(|file| self.pairs_in(file))
            .collect();
        self.ledger.lock().inherits(slot, &found);
        let lifecycle = Lifecycle::new();
        let parts = Parts {
            config: self.config.clone(),
            store: Arc::new(Wire {
                who,
                world: Arc::clone(self),
                earlier: Mutex::default(),
            }),
            providers: vec![Arc::new(Line {
                name: self.provider.clone(),
                base: ApiBase::parse("https://api.example.org").unwrap(),
                who,
                world: Arc::clone(self),
            })],
            keys: Arc::clone(&self.keys),
            spool_dir: "nowhere".into(),
            clock: Arc::new(place.clock.clone()),
            random: Arc::new(SeededRandom::new(self.dice.next())),
            lifecycle: lifecycle.clone(),
            observer: Arc::new(Unobserved),
        };
        let disk = Arc::new(Shelf {
            who,
            world: Arc::clone(self),
        });
        let tokens = Tokens::start_on(disk, parts).await.unwrap();
        self.note(format_args!("{who:?} starts"));
        *place.running.lock() = Some(Running {
            who,
            tokens,
            lifecycle,
        });
    }

    /// Kills the process at `slot`.
    pub(crate) fn crash(&self, slot: usize, keeps_spool: bool) {
        let Some(running) = self.slots[slot].running.lock().take() else {
            return;
        };
        running.lifecycle.stop();
        if !keeps_spool {
            self.slots[slot].spool.lock().clear();
        }
        let mut ledger = self.ledger.lock();
        ledger.note(format_args!(
            "{:?} dies, keeps its spool: {keeps_spool}",
            running.who
        ));
        for life in 1..=running.who.life {
            ledger.died(Who { slot, life }, keeps_spool);
        }
        ledger.counts.add("crashes", 1);
    }

    /// Between two steps of a renewal: the process may stand still here, or die.
    pub(crate) async fn between_steps(self: &Arc<Self>, who: Who) {
        if self.is_healed() || !self.dice.in_thousand(self.plan.strikes) {
            return;
        }
        let now = Instant::now();
        if self.dice.in_thousand(600) {
            let until = now + self.dice.secs(1, 70);
            self.note(format_args!("{who:?} stands still between two steps"));
            let mut ledger = self.ledger.lock();
            ledger.counts.add("pauses between two steps", 1);
            ledger.disturb(Some(who.slot), until);
            ledger.trouble(&self.keys());
            drop(ledger);
            let mut paused = self.slots[who.slot].paused_until.lock();
            *paused = until.max(*paused);
            return;
        }
        let alive = self.slots[who.slot]
            .running
            .lock()
            .as_ref()
            .map(|it| it.who);
        if alive == Some(who) {
            let down = self.dice.secs(0, 40);
            self.ledger.lock().disturb(Some(who.slot), now + down);
            self.ledger.lock().counts.add("deaths between two steps", 1);
            self.crash(who.slot, !self.dice.in_thousand(250));
            self.restart_after(who.slot, down);
            std::future::pending::<()>().await;
        }
    }

    /// Another process takes the place of one that died.
    pub(crate) fn restart_after(self: &Arc<Self>, slot: usize, down: Duration) {
        let world = Arc::clone(self);
        tokio::spawn(async move {
            sleep(down).await;
            if world.slots[slot].running.lock().is_none() {
                world.start(slot).await;
            }
        });
    }

    /// A grant fresh from the provider.
    pub(crate) fn grant(&self, user: usize, clock: &MachineClock) -> Grant {
        let (access, refresh) = self.authority.lock().issue(user);
        let key = self.key(user);
        self.ledger.lock().issued(&key, &refresh);
        let expires_at = clock.now().saturating_add(self.plan.lifetime);
        Grant {
            key,
            account: self.account(user),
            tokens: Some(GrantTokens {
                access: Secret::from(access),
                refresh: Some(Secret::from(refresh)),
                expires_at: Some(expires_at),
                refresh_expires_at: None,
                issued_at: Some(clock.now()),
            }),
            scope: None,
            once: false,
        }
    }
}
