//! What memory knows of one connection, and who is renewing it.
//!
//! 1. Readers look at [`Entry::held`], which is swapped whole: they never wait for a renewal.
//! 2. At most one flight per entry; whoever else needs a token waits for it. The flight is a task of
//!    its own, so that waiters come and go as they like.
//! 3. The lock is held for a few instructions, never across an await.
//! 4. News may overtake an answer of the store: what was read before the latest news is kept for those
//!    who asked before it, and is stale for everyone else. Whoever asks the store takes
//!    [`Entry::news`] first and hands it in with the answer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwapOption;
use futures_util::{FutureExt, future::Shared};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use super::{
    Bearer, Error,
    held::{Held, Need},
    refusals::Refusals,
};
use crate::base::ids::ConnectionKey;

/// One connection in memory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: ConnectionKey,
    held: ArcSwapOption<Held>,
    /// What the store holds may differ from what is held here.
    stale: AtomicBool,
    state: Mutex<State>,
}

/// How often an entry had been told that the store has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News(u64);

#[derive(Debug, Default)]
struct State {
    flight: Option<Flight>,
    news: News,
    /// A failure that answers everyone until its time is over; see [`Entry::block`].
    blocked: Option<(Instant, Error)>,
    /// Not to be renewed in the background before.
    quiet_until: Option<Instant>,
    refusals: Refusals,
}

/// A renewal under way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// What it was started for.
    pub(super) need: Need,
    outcome: Shared<oneshot::Receiver<Outcome>>,
}

/// How a flight ended.
pub(super) type Outcome = Result<Arc<Held>, Error>;

/// A caller's part in a flight.
pub(super) enum Ticket {
    /// It was under way already.
    Joined(Flight),
    /// The caller must start it, and tell the outcome through the sender.
    Started(Flight, oneshot::Sender<Outcome>),
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(key: ConnectionKey) -> Self {
        Self {
            key,
            held: ArcSwapOption::empty(),
            stale: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// The token in memory, whatever its age.
    pub(super) fn held(&self) -> Option<Arc<Held>> {
        self.held.load_full()
    }

    /// The token in memory if it can be used as it is, and whether it is due. Takes no lock.
    pub(super) fn usable(&self, now: Instant) -> Option<(Arc<Bearer>, bool)> {
        // Before and after: either may have been changed in between, see `Entry::hold`.
        let was_stale = self.is_stale();
        let held = self.held.load();
        let held = held.as_ref()?;
        let usable = held.meets(Need::Usable, now) && !was_stale && !self.is_stale();
        usable.then(|| (Arc::clone(&held.bearer), held.is_due(now)))
    }

    /// The token in memory if it is what the caller needs and the store is not known to differ.
    pub(super) fn meeting(&self, need: Need, now: Instant) -> Option<Arc<Held>> {
        let held = self.held()?;
        (held.meets(need, now) && !self.is_stale()).then_some(held)
    }

    /// What it has been told so far; to be taken before the store is asked.
    pub(super) fn news(&self) -> News {
        self.state.lock().news
    }

    /// The store has changed: answers that are on their way may be older than that, and a failure that
    /// stood may no longer stand. Memory is used until the store has been read.
    pub(super) fn tell(&self) {
        let mut state = self.state.lock();
        state.news = News(state.news.0.wrapping_add(1));
        state.blocked = None;
        state.quiet_until = None;
    }

    /// The store has changed, and is to be read before memory is used again.
    pub(super) fn mark_stale(&self) {
        self.tell();
        self.stale.store(true, Ordering::Release);
    }

    /// Takes a token that the store (or a commit) has shown to be the present one, asked after `news`.
    pub(super) fn hold(&self, held: Arc<Held>, news: News) {
        let mut state = self.state.lock();
        state.blocked = None;
        if state.news == news {
            self.held.store(Some(held));
            self.trust();
        } else {
            // In this order, lest somebody who asks now takes it for the present one.
            self.stale.store(true, Ordering::Release);
            self.held.store(Some(held));
        }
    }

    /// The store, asked after `news`, has no token newer than the one held.
    pub(super) fn confirm(&self, news: News) {
        if self.state.lock().news == news {
            self.trust();
        }
    }

    /// Forgets the token: the connection is gone, said the store, asked after `news`.
    pub(super) fn clear(&self, news: News) {
        let mut state = self.state.lock();
        state.blocked = None;
        if state.news == news {
            self.held.store(None);
            self.trust();
        } else {
            self.stale.store(true, Ordering::Release);
        }
    }

    /// Memory is used as it is, for want of anything better.
    pub(super) fn trust(&self) {
        self.stale.store(false, Ordering::Release);
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    /// Until `until`, `error` is the answer to whoever would need a renewal, unless the store has
    /// changed after `news`, which `error` follows from.
    pub(super) fn block(&self, until: Instant, error: Error, news: News) {
        let mut state = self.state.lock();
        if state.news == news {
            state.blocked = Some((until, error));
        }
    }

    /// The failure that stands, if one does.
    pub(super) fn blocked(&self, now: Instant) -> Option<Error> {
        let mut state = self.state.lock();
        match &state.blocked {
            Some((until, error)) if now < *until => Some(error.clone()),
            Some(_) => {
                state.blocked = None;
                None
            }
            None => None,
        }
    }

    /// Whether a background renewal may start now; if so, the next not before `next`.
    pub(super) fn may_renew_quietly(&self, now: Instant, next: Instant) -> bool {
        let mut state = self.state.lock();
        if state.flight.is_some() || state.quiet_until.is_some_and(|until| now < until) {
            return false;
        }
        state.quiet_until = Some(next);
        true
    }

    /// Whether one more renewal on a refused token is within its allowance.
    pub(super) fn admit_refusal(&self, now: Instant) -> bool {
        self.state.lock().refusals.admit(now)
    }

    /// Joins the flight under way, or begins one for `need`.
    pub(super) fn board(&self, need: Need) -> Ticket {
        let mut state = self.state.lock();
        if let Some(flight) = &state.flight {
            return Ticket::Joined(flight.clone());
        }
        let (sender, outcome) = oneshot::channel();
        let outcome = outcome.shared();
        let flight = Flight { need, outcome };
        state.flight = Some(flight.clone());
        Ticket::Started(flight, sender)
    }

    /// The flight is over: whoever comes now begins another.
    pub(super) fn land(&self) {
        self.state.lock().flight = None;
    }

    /// Whether a flight is under way.
    pub(super) fn in_flight(&self) -> bool {
        self.state.lock().flight.is_some()
    }
}

// === impl Flight ===

impl Flight {
    /// Waits for the end. Cancel safe: dropping it leaves the flight alone.
    pub(super) async fn outcome(self) -> Outcome {
        // A sender that is gone was dropped before its end, which only a process on its way down does.
        self.outcome.await.unwrap_or(Err(Error::ShuttingDown))
    }
}
