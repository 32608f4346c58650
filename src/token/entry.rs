//! What memory knows of one connection, and who is renewing it.
//!
//! 1. Readers look at [`Entry::held`], which is swapped whole: they never wait for a renewal.
//! 2. At most one flight per entry; whoever else needs a token waits for it. The flight is a task of
//!    its own, so that waiters come and go as they like.
//! 3. The lock is held for a few instructions, never across an await.

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

#[derive(Debug, Default)]
struct State {
    flight: Option<Flight>,
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
        let held = self.held.load();
        let held = held.as_ref()?;
        let usable = held.meets(Need::Usable, now) && !self.stale.load(Ordering::Acquire);
        usable.then(|| (Arc::clone(&held.bearer), held.is_due(now)))
    }

    /// The token in memory if it is what the caller needs and the store is not known to differ.
    pub(super) fn meeting(&self, need: Need, now: Instant) -> Option<Arc<Held>> {
        let held = self.held()?;
        (held.meets(need, now) && !self.is_stale()).then_some(held)
    }

    /// Takes a token that the store (or a commit) has just shown to be the present one.
    pub(super) fn hold(&self, held: Arc<Held>) {
        self.state.lock().blocked = None;
        self.held.store(Some(held));
        self.confirm();
    }

    /// The store has no token newer than the one held.
    pub(super) fn confirm(&self) {
        self.stale.store(false, Ordering::Release);
    }

    /// Forgets the token: the connection is gone.
    pub(super) fn clear(&self) {
        self.state.lock().blocked = None;
        self.held.store(None);
        self.confirm();
    }

    /// The store may hold something else than memory does.
    pub(super) fn mark_stale(&self) {
        self.stale.store(true, Ordering::Release);
        let mut state = self.state.lock();
        state.blocked = None;
        state.quiet_until = None;
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    /// The store has changed: a failure that stood may no longer stand.
    pub(super) fn unblock(&self) {
        let mut state = self.state.lock();
        state.blocked = None;
        state.quiet_until = None;
    }

    /// Until `until`, `error` is the answer to whoever would need a renewal.
    pub(super) fn block(&self, until: Instant, error: Error) {
        self.state.lock().blocked = Some((until, error));
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
