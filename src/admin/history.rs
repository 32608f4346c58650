//! What this process remembers of its last half hour, for the status page.
//!
//! 1. Two rings of a fixed size, in memory only: the last renewals with what came of them, and the
//!    counters every ten seconds. A restart begins anew, and what sibling processes did is not here;
//!    the page says so.
//! 2. A note names the connection and the outcome. There is no token and no answer of a provider in it.
//! 3. The counters are those of `/metrics`: nothing is counted twice.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::{
    base::{
        clock::{SharedClock, Timestamp},
        ids::{ConnectionKey, ProviderName},
    },
    store::{ReauthReason, Redemption},
    telemetry::metrics::{
        Metrics, ProxyMetrics, TokenMetrics, WebhookMetrics,
        label::{Delivery, Outcome, Renewal as Counted},
    },
    token::{Renewal, RenewalOutcome},
};

/// How many renewals are remembered. A note is about 100 bytes, so all of them 50 KiB.
pub(super) const MAX_NOTES: usize = 512;

/// How often the counters are read.
pub(super) const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// How many readings are remembered: half an hour, and where it began.
pub(super) const MAX_SAMPLES: usize = 181;

/// What one process remembers. Clones share it.
#[derive(Clone)]
pub struct History(Arc<Inner>);

struct Inner {
    notes: Mutex<VecDeque<Note>>,
    samples: Mutex<Samples>,
    proxy: Vec<ProxyMetrics>,
    tokens: Vec<TokenMetrics>,
    webhooks: Vec<WebhookMetrics>,
    clock: SharedClock,
    since: Timestamp,
}

/// The readings, the oldest first, and when the last was made.
#[derive(Default)]
struct Samples {
    all: VecDeque<Totals>,
    at: Option<Instant>,
}

/// Something that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// When it was over.
    pub(super) at: Timestamp,
    /// To which.
    pub(super) key: ConnectionKey,
    /// What.
    pub(super) what: Happening,
}

/// What can happen to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// A call to the token endpoint of the provider.
    Renewal {
        /// How.
        redemption: Redemption,
        /// What came of it.
        outcome: RenewalOutcome,
        /// How long the provider took.
        took: Duration,
    },
    /// It was marked as needing its user.
    NeedsReauth(ReauthReason),
}

/// The counters at one moment, since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Requests of the app.
    pub(super) requests: Split,
    /// Calls to token endpoints.
    pub(super) renewals: Split,
    /// Tries to deliver an event.
    pub(super) deliveries: Split,
}

/// How many went well, and how many did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    /// Well.
    pub(super) fine: u64,
    /// Not well.
    pub(super) failed: u64,
}

// === impl History ===

impl History {
    /// Empty; the counters are read from `metrics`, for the providers of these names.
    pub fn new(metrics: &Metrics, names: &[ProviderName], clock: SharedClock) -> Self {
        let mut proxy: Vec<_> = names.iter().map(|name| metrics.proxy(name)).collect();
        proxy.push(metrics.unrouted());
        Self(Arc::new(Inner {
            notes: Mutex::default(),
            samples: Mutex::default(),
            proxy,
            tokens: names.iter().map(|name| metrics.token(name)).collect(),
            webhooks: names.iter().map(|name| metrics.webhook(name)).collect(),
            since: clock.now(),
            clock,
        }))
    }

    /// A renewal is over.
    pub fn renewed(&self, renewal: &Renewal<'_>) {
        self.note(
            renewal.key,
            Happening::Renewal {
                redemption: renewal.redemption,
                outcome: renewal.outcome,
                took: renewal.took,
            },
        );
    }

    /// A connection was marked as needing its user.
    pub fn needs_reauth(&self, key: &ConnectionKey, reason: ReauthReason) {
        self.note(key, Happening::NeedsReauth(reason));
    }

    /// Reads the counters from time to time, for ever.
    pub async fn keep_sampling(self) {
        loop {
            self.sample();
            sleep(SAMPLE_EVERY).await;
        }
    }

    /// Since when anything is remembered.
    pub(super) fn since(&self) -> Timestamp {
        self.0.since
    }

    /// The last `limit` notes that `fits`, the newest first.
    pub(super) fn notes(&self, limit: usize, fits: impl Fn(&Note) -> bool) -> Vec<Note> {
        let notes = self.0.notes.lock();
        let found = notes.iter().rev().filter(|note| fits(note));
        found.take(limit).cloned().collect()
    }

    /// The readings of the last half hour, the oldest first, and the counters as they are now; how
    /// long before now the last reading was.
    pub(super) fn samples(&self) -> (Vec<Totals>, Duration) {
        let samples = self.0.samples.lock();
        let mut all: Vec<_> = samples.all.iter().copied().collect();
        let age = samples.at.map_or(Duration::ZERO, |at| {
            Instant::now().saturating_duration_since(at)
        });
        drop(samples);
        all.push(self.totals());
        (all, age)
    }

    fn sample(&self) {
        let now = self.totals();
        let mut samples = self.0.samples.lock();
        if samples.all.len() >= MAX_SAMPLES {
            samples.all.pop_front();
        }
        samples.all.push_back(now);
        samples.at = Some(Instant::now());
    }

    fn note(&self, key: &ConnectionKey, what: Happening) {
        let note = Note {
            at: self.0.clock.now(),
            key: key.clone(),
            what,
        };
        let mut notes = self.0.notes.lock();
        if notes.len() >= MAX_NOTES {
            notes.pop_front();
        }
        notes.push_back(note);
    }

    fn totals(&self) -> Totals {
        let Inner {
            proxy,
            tokens,
            webhooks,
            ..
        } = &*self.0;
        let requests = |fine: bool| {
            let of = |one: &ProxyMetrics| one.requests(|outcome| is_fine(outcome) == fine);
            proxy.iter().map(of).sum()
        };
        let renewals = |fine: bool| {
            let of =
                |one: &TokenMetrics| one.renewals(|outcome| (outcome == Counted::Renewed) == fine);
            tokens.iter().map(of).sum()
        };
        let deliveries = |fine: bool| {
            let of = |one: &WebhookMetrics| {
                one.deliveries(|outcome| (outcome == Delivery::Delivered) == fine)
            };
            webhooks.iter().map(of).sum()
        };
        Totals {
            requests: Split::of(requests),
            renewals: Split::of(renewals),
            deliveries: Split::of(deliveries),
        }
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let notes = self.0.notes.lock().len();
        f.debug_struct("History")
            .field("notes", &notes)
            .finish_non_exhaustive()
    }
}

/// Whether the app got an answer that is not a fault of Daypass or the provider.
const fn is_fine(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Success
            | Outcome::Redirect
            | Outcome::ClientError
            | Outcome::CallerFault
            | Outcome::Aborted
    )
}

// === impl Split ===

impl Split {
    fn of(count: impl Fn(bool) -> u64) -> Self {
        Self {
            fine: count(true),
            failed: count(false),
        }
    }

    /// How many since `earlier`.
    pub(super) const fn since(self, earlier: Self) -> Self {
        Self {
            fine: self.fine.saturating_sub(earlier.fine),
            failed: self.failed.saturating_sub(earlier.failed),
        }
    }

    /// All of them.
    pub(super) const fn all(self) -> u64 {
        self.fine.saturating_add(self.failed)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::base::{clock::ManualClock, lifecycle::Lifecycle};

    fn history() -> (History, TokenMetrics, ProxyMetrics) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let metrics = Metrics::new(&*clock);
        let name = ProviderName::parse("calcom").unwrap();
        let history = History::new(&metrics, std::slice::from_ref(&name), clock);
        (history, metrics.token(&name), metrics.proxy(&name))
    }

    fn key(number: usize) -> ConnectionKey {
        ConnectionKey {
            provider: ProviderName::parse("calcom").unwrap(),
            user: format!("u{number}").parse().unwrap(),
        }
    }

    #[test]
    fn the_newest_notes_are_kept_and_shown_first() {
        let (history, ..) = history();
        for number in 0..MAX_NOTES + 3 {
            history.needs_reauth(&key(number), ReauthReason::GrantRefused);
        }
        let all = history.notes(usize::MAX, |_| true);
        assert_eq!(all.len(), MAX_NOTES);
        assert_eq!(all[0].key, key(MAX_NOTES + 2));
        assert_eq!(all[MAX_NOTES - 1].key, key(3));
        assert_eq!(history.notes(5, |note| note.key == key(7)).len(), 1);
        assert_eq!(history.notes(5, |note| note.key == key(1)).len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_counters_of_half_an_hour_are_kept() {
        use crate::telemetry::metrics::label::Redeem;

        let (history, tokens, proxy) = history();
        let lifecycle = Lifecycle::new();
        lifecycle.spawn_until_drain(history.clone().keep_sampling());
        tokio::task::yield_now().await;
        assert_eq!(history.samples().0, [Totals::default(); 2]);
        tokens.renewal(Redeem::Standard, Counted::Renewed, Duration::ZERO);
        tokens.renewal(Redeem::Force, Counted::RateLimited, Duration::ZERO);
        for outcome in [Outcome::Success, Outcome::ClientError, Outcome::NoToken] {
            proxy.request(outcome, Duration::ZERO, None);
        }
        let now = *history.samples().0.last().unwrap();
        assert_eq!((now.renewals.fine, now.renewals.failed), (1, 1));
        assert_eq!((now.requests.fine, now.requests.failed), (2, 1));
        for _ in 0..MAX_SAMPLES + 5 {
            advance(SAMPLE_EVERY).await;
            tokio::task::yield_now().await;
        }
        let (samples, age) = history.samples();
        assert!(age < SAMPLE_EVERY);
        assert_eq!(samples.len(), MAX_SAMPLES + 1);
        assert_eq!(samples[0], now, "the first readings are forgotten");
    }
}
