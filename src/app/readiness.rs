//! Looks after the parts that readiness speaks of, and the figures that are counted from the store.
//!
//! 1. Thousands of sidecars look after one store, so a look is cheap, and not at the same time as
//!    those of the others. It writes, unless something wrote just before.
//! 2. A store that fails elsewhere is told of at once, and then looked at, by a write. So the store of
//!    a busy sidecar shows its failure in the moment that it matters, and that of an idle one within
//!    [`LOOK_EVERY`], and the time that a look may take.
//!    That it is back shows within [`RETRY_EVERY`] or so.
//! 3. The connections are counted by one sidecar for all, as counting reads them all.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::Core;
use crate::{
    admin::{Check, Readiness},
    base::{
        ids::{OwnerId, ProviderName},
        random::{OsRandom, SharedRandom},
    },
    store::{self, Census, Duty, DutyKind, Post, Turn},
    telemetry::metrics::{Metrics, TokenMetrics, label::Status},
    token::{Health, Waiting},
};

/// How soon a store that fails, or is about to, shows at a sidecar that does not use it just then.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Reading is enough for so long after a write. Shorter than the pause between two looks, so that each
/// writes: others tell by it that somebody serves ([`store::CHECKED_EVERY`]).
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// How soon a store that came back shows.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// How soon it shows what memory knows: a spool that fills, a provider in trouble.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// From how long a wait on a queue of renewals is worth telling.
const CROWDED: Duration = Duration::from_secs(10);

/// The least time between two looks, whatever fails elsewhere.
const REST: Duration = Duration::from_secs(1);

const CENSUS: DutyKind = DutyKind::new("census");

/// Counting a million rows takes a moment.
const COUNT_EVERY: Duration = Duration::from_secs(30);

/// For how long nobody counts if the one who did dies.
const TURN: Duration = Duration::from_secs(75);

/// How long a process that goes down waits for its duties to be taken back.
const PARTING: Duration = Duration::from_secs(1);

/// Rung whenever an operation of the store fails.
#[derive(Debug)]
pub(super) struct Alarm {
    store: Check,
    rung: Notify,
}

/// The checks of one sidecar.
pub(super) struct Checks {
    keys: Check,
    spool: Check,
    providers: Check,
    queues: Vec<(ProviderName, TokenMetrics)>,
    alarm: Arc<Alarm>,
    random: SharedRandom,
    /// Until when reading is enough; `None` while the store fails.
    sound_until: Option<Instant>,
}

/// Counts the connections of one provider, or leaves that to another.
struct Count {
    post: Post,
    provider: ProviderName,
    recorder: TokenMetrics,
    /// When to ask for the duty.
    ask_at: Instant,
}

// === impl Alarm ===

impl Alarm {
    pub(super) fn new(readiness: &Readiness) -> Self {
        Self {
            store: readiness.check("store"),
            rung: Notify::new(),
        }
    }

    pub(super) fn ring(&self, error: &store::Error) {
        // A look may take as long as the store's own limit, and one row that cannot be read says
        // nothing of the others.
        if matches!(error, store::Error::Unavailable { .. }) {
            self.store.degraded(error.to_string());
        }
        self.rung.notify_one();
    }
}

// === impl Checks ===

impl Checks {
    pub(super) fn new(
        readiness: &Readiness,
        alarm: Arc<Alarm>,
        metrics: &Metrics,
        core: &Core,
    ) -> Self {
        let queue = |name: &ProviderName| (name.clone(), metrics.token(name));
        Self {
            queues: core.providers.iter().map(|it| queue(it.name())).collect(),
            keys: readiness.check("keys"),
            spool: readiness.check("spool"),
            providers: readiness.check("providers"),
            alarm,
            random: Arc::new(OsRandom),
            sound_until: None,
        }
    }

    /// Looks once; the parts are ready before the first probe can ask.
    pub(super) async fn look(&mut self, core: &Core) {
        let now = Instant::now();
        let looked = if self.sound_until.is_some_and(|until| now < until) {
            core.store.ping().await
        } else {
            // Spread, so that sidecars that started together do not go on to write together.
            let spread = self.random.up_to(CHECK_EVERY / 2);
            self.sound_until = Some(now + CHECK_EVERY / 2 + spread);
            core.store.check().await
        };
        if looked.is_err() {
            self.sound_until = None;
        }
        self.tell_store(looked.err().as_ref());
        self.tell_memory(core);
    }

    /// Looks again and again.
    pub(super) async fn keep_looking(mut self, core: Core) {
        loop {
            if self.sound_until.is_none() {
                sleep(RETRY_EVERY + self.random.up_to(RETRY_EVERY / 2)).await;
            } else {
                sleep(REST).await;
                let pause = LOOK_EVERY / 2 + self.random.up_to(LOOK_EVERY / 2);
                if self.hears_of_failure(pause, &core).await {
                    self.sound_until = None;
                }
            }
            self.look(&core).await;
        }
    }

    /// Whether the store fails within `pause`. What memory knows is told meanwhile: it costs nothing.
    async fn hears_of_failure(&self, pause: Duration, core: &Core) -> bool {
        let end = Instant::now() + pause;
        while Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            let heard = timeout(left.min(TELL_EVERY), self.alarm.rung.notified()).await;
            if heard.is_ok() {
                return true;
            }
            self.tell_memory(core);
        }
        false
    }

    fn tell_memory(&self, core: &Core) {
        self.tell_keys(&core.keys.missed());
        self.tell_tokens(&core.tokens.health());
    }

    fn tell_keys(&self, missed: &[String]) {
        if missed.is_empty() {
            self.keys.ready();
            return;
        }
        let missed: Vec<_> = missed.iter().map(|id| format!("{id:?}")).collect();
        self.keys.degraded(format!(
            "some of what is stored is sealed with a key that is not configured: {}; add it to \
             encryption.keys, and restart",
            missed.join(", ")
        ));
    }

    fn tell_store(&self, error: Option<&store::Error>) {
        match error {
            None => self.alarm.store.ready(),
            // Tokens in memory go on being used: the sidecar is of use, and its app is not to be
            // restarted for it.
            Some(error) => self.alarm.store.degraded(error.to_string()),
        }
    }

    fn tell_tokens(&self, health: &Health) {
        match health.spooled {
            0 => self.spool.ready(),
            waiting => self
                .spool
                .degraded(format!("{waiting} renewals wait for the store")),
        }
        let troubles = [
            (&health.misconfigured, "refuses the client credentials"),
            (
                &health.in_trouble,
                "answers no token calls: tokens in memory are used while they live",
            ),
        ];
        let told = troubles.into_iter().flat_map(|(names, trouble)| {
            let told = names.iter().map(move |name| format!("{name} {trouble}"));
            told.collect::<Vec<_>>()
        });
        let crowded = health.waiting.iter().filter_map(crowd);
        let told: Vec<_> = told.chain(crowded).collect();
        for (name, recorder) in &self.queues {
            let waiting = health.waiting.iter().find(|it| it.provider == *name);
            let (renewals, oldest) =
                waiting.map_or((0, Duration::ZERO), |it| (it.renewals, it.oldest));
            recorder.waiting(renewals, oldest);
        }
        if told.is_empty() {
            self.providers.ready();
        } else {
            self.providers.degraded(told.join("; "));
        }
    }
}

/// What is to be told of a queue in which requests wait for longer than a moment.
fn crowd(waiting: &Waiting) -> Option<String> {
    let is_crowded = waiting.asked > 0 && waiting.turn_in > CROWDED;
    is_crowded.then(|| {
        format!(
            "{} takes no more token calls: {} renewals wait for their turn, the first for {} s, and \
             whoever comes now for {} s; tokens in memory are used while they live",
            waiting.provider,
            waiting.renewals,
            waiting.oldest.as_secs(),
            waiting.turn_in.as_secs(),
        )
    })
}

/// Counts the connections again and again, while it is this sidecar's to do so.
pub(super) async fn keep_counting(core: Core, metrics: Arc<Metrics>) {
    let random: SharedRandom = Arc::new(OsRandom);
    let count = |name: &ProviderName| Count {
        post: Post::new(
            Arc::clone(&core.store),
            Duty::at(CENSUS, name),
            OwnerId::random(&*random),
            TURN,
        ),
        provider: name.clone(),
        recorder: metrics.token(name),
        ask_at: Instant::now(),
    };
    let mut counts: Vec<Count> = core.providers.iter().map(|p| count(p.name())).collect();
    let draining = core.lifecycle.draining();
    tokio::select! {
        () = draining => {}
        () = count_for_ever(&core, &mut counts, &random) => {}
    }
    for count in &mut counts {
        // Whoever asks next gets it at once. If this fails, at the end of the turn.
        let _late = timeout(PARTING, count.post.leave()).await;
    }
}

async fn count_for_ever(core: &Core, counts: &mut [Count], random: &SharedRandom) {
    loop {
        let mut due = Vec::new();
        for count in counts.iter_mut() {
            if count.is_due(random).await {
                due.push(count);
            }
        }
        // A store that fails is told of by the checks.
        if !due.is_empty()
            && let Ok(census) = core.store.census().await
        {
            for count in due {
                count.tell(&census);
            }
        }
        sleep(COUNT_EVERY).await;
    }
}

// === impl Count ===

impl Count {
    /// Whether this sidecar is to count now.
    async fn is_due(&mut self, random: &SharedRandom) -> bool {
        if Instant::now() < self.ask_at {
            return false;
        }
        match self.post.take().await {
            Ok(Turn::Mine) => return true,
            Ok(Turn::Anothers(left)) => {
                self.ask_at = Instant::now() + left.min(TURN) + random.up_to(COUNT_EVERY);
            }
            // Told of by the checks.
            Err(_) => {}
        }
        // Another tells them: the sum over all sidecars is the number that there are.
        self.tell(&[]);
        false
    }

    fn tell(&self, census: &[Census]) {
        for (status, marked) in [(Status::Active, false), (Status::NeedsReauth, true)] {
            let line =
                |line: &&Census| line.provider == self.provider && line.needs_reauth == marked;
            let count = census.iter().find(line).map_or(0, |line| line.count);
            self.recorder.connections(status, count);
        }
    }
}
