//! What memory knows of one connection, and who is renewing it.
//!
//! 1. Readers look at [`Entry::held`], which is swapped whole: they never wait for a renewal.
//! 2. At most one flight per entry; whoever else needs a token waits for it. The flight is a task of
//!    its own, so that waiters come and go as they like.
//! 3. The lock is held for a few instructions, never across an await.
//! 4. News may overtake an answer of the store: what was read before the latest news is kept for those
//!    who asked before it, and is stale for everyone else. Whoever asks the store takes
//!    [`Entry::news`] first and hands it in with the answer.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use futures_util::{FutureExt, future::Shared};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use super::{Bearer, Error, held::Need, queue::Place, refusals::Refusals};
use crate::{
    base::ids::ConnectionKey,
    telemetry::trace::{SpanContext, Trace},
};

/// One connection in memory.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: ConnectionKey,
    held: ArcSwapOption<Bearer>,
    state: Mutex<Known>,
}

/// How often an entry had been told that the store has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News(u32);

/// What is behind the lock.
#[derive(Debug, Default)]
struct Known {
    news: News,
    /// Only while there is something to say: most connections are at rest.
    state: Option<Box<State>>,
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
    /// Its span, if it is traced.
    pub(super) span: Option<SpanContext>,
    /// Where it stands if it has to wait for its turn.
    pub(super) place: Arc<Place>,
    outcome: Shared<oneshot::Receiver<Outcome>>,
}

/// How a flight ended.
pub(super) type Outcome = Result<Arc<Bearer>, Error>;

/// A caller's part in a flight.
pub(super) enum Ticket {
    /// It was under way already.
    Joined(Flight),
    /// The caller must start it.
    Started(Flight, Departure),
}

/// What a flight that is to be started needs.
pub(super) struct Departure {
    /// The outcome is to be told here.
    pub(super) announce: oneshot::Sender<Outcome>,
    /// What it is traced by.
    pub(super) trace: Option<Arc<Trace>>,
    /// Where it stands if it has to wait for its turn.
    pub(super) place: Arc<Place>,
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(key: ConnectionKey) -> Self {
        Self {
            key,
            held: ArcSwapOption::empty(),
            state: Mutex::default(),
        }
    }

    /// The token in memory, whatever its age.
    pub(super) fn held(&self) -> Option<Arc<Bearer>> {
        self.held.load_full()
    }

    /// The token in memory if it can be used as it is, and whether it is due. Takes no lock.
    pub(super) fn usable(&self, now: Instant) -> Option<(Arc<Bearer>, bool)> {
        let held = self.held.load();
        let held = held.as_ref()?;
        let usable = held.meets(Need::Usable, now) && !held.is_stale();
        usable.then(|| (Arc::clone(held), held.is_due(now)))
    }

    /// The token in memory if it is what the caller needs and the store is not known to differ.
    pub(super) fn meeting(&self, need: Need, now: Instant) -> Option<Arc<Bearer>> {
        let held = self.held()?;
        (held.meets(need, now) && !held.is_stale()).then_some(held)
    }

    /// What it has been told so far; to be taken before the store is asked.
    pub(super) fn news(&self) -> News {
        self.state.lock().news
    }

    /// The store has changed: answers that are on their way may be older than that, and a failure that
    /// stood may no longer stand. Memory is used until the store has been read.
    pub(super) fn tell(&self) {
        let mut known = self.state.lock();
        known.news = News(known.news.0.wrapping_add(1));
        known.unblock();
    }

    /// The store has changed, and is to be read before memory is used again.
    pub(super) fn mark_stale(&self) {
        self.tell();
        self.set_stale(true);
    }

    /// Takes a token that the store (or a commit) has shown to be the present one, asked after `news`.
    pub(super) fn hold(&self, held: Arc<Bearer>, news: News) {
        let mut known = self.state.lock();
        known.unblock();
        // Told of before it can be seen, lest somebody who asks now takes it for the present one.
        held.set_stale(known.news != news);
        self.held.store(Some(held));
    }

    /// The store, asked after `news`, has no token newer than the one held.
    pub(super) fn confirm(&self, news: News) {
        if self.state.lock().news == news {
            self.trust();
        }
    }

    /// Forgets the token: the connection is gone, said the store, asked after `news`.
    pub(super) fn clear(&self, news: News) {
        let mut known = self.state.lock();
        known.unblock();
        if known.news == news {
            self.held.store(None);
        } else {
            self.set_stale(true);
        }
    }

    /// Memory is used as it is, for want of anything better.
    pub(super) fn trust(&self) {
        self.set_stale(false);
    }

    pub(super) fn is_stale(&self) -> bool {
        self.held
            .load()
            .as_ref()
            .is_some_and(|held| held.is_stale())
    }

    fn set_stale(&self, stale: bool) {
        if let Some(held) = &*self.held.load() {
            held.set_stale(stale);
        }
    }

    /// Until `until`, `error` is the answer to whoever would need a renewal, unless the store has
    /// changed after `news`, which `error` follows from.
    pub(super) fn block(&self, until: Instant, error: Error, news: News) {
        let mut known = self.state.lock();
        if known.news == news {
            known.state.get_or_insert_default().blocked = Some((until, error));
        }
    }

    /// The failure that stands, if one does.
    pub(super) fn blocked(&self, now: Instant) -> Option<Error> {
        self.change(|state| {
            let stands = |blocked: &(Instant, Error)| now < blocked.0;
            state.blocked = state.blocked.take().filter(stands);
            state.blocked.as_ref().map(|(_, error)| error.clone())
        })
        .flatten()
    }

    /// Whether a background renewal may start now; if so, the next not before `next`.
    pub(super) fn may_renew_quietly(&self, now: Instant, next: Instant) -> bool {
        let mut known = self.state.lock();
        let state = known.state.get_or_insert_default();
        if state.flight.is_some() || state.quiet_until.is_some_and(|until| now < until) {
            return false;
        }
        state.quiet_until = Some(next);
        true
    }

    /// Whether one more renewal on a refused token is within its allowance.
    pub(super) fn admit_refusal(&self, now: Instant) -> bool {
        let mut known = self.state.lock();
        known.state.get_or_insert_default().refusals.admit(now)
    }

    /// Joins the flight under way, or begins one for `need`, which `trace` traces.
    pub(super) fn board(&self, need: Need, trace: impl FnOnce() -> Option<Arc<Trace>>) -> Ticket {
        let mut known = self.state.lock();
        let state = known.state.get_or_insert_default();
        if let Some(flight) = &state.flight {
            return Ticket::Joined(flight.clone());
        }
        let (sender, outcome) = oneshot::channel();
        let outcome = outcome.shared();
        let trace = trace();
        let place = Place::new(need.is_asked());
        let flight = Flight {
            need,
            span: trace.as_ref().map(|trace| trace.context()),
            place: Arc::clone(&place),
            outcome,
        };
        state.flight = Some(flight.clone());
        let departure = Departure {
            announce: sender,
            trace,
            place,
        };
        Ticket::Started(flight, departure)
    }

    /// The flight is over: whoever comes now begins another.
    pub(super) fn land(&self) {
        self.change(|state| state.flight = None);
    }

    /// The flight under way, if there is one.
    pub(super) fn flight(&self) -> Option<Flight> {
        let known = self.state.lock();
        known.state.as_ref()?.flight.clone()
    }

    /// Whether a flight is under way.
    pub(super) fn in_flight(&self) -> bool {
        let known = self.state.lock();
        let state = known.state.as_ref();
        state.is_some_and(|state| state.flight.is_some())
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.state.lock().change(change)
    }
}

// === impl Known ===

impl Known {
    /// Changes the state if there is one, and lets it go when it says nothing any more.
    fn change<T>(&mut self, change: impl FnOnce(&mut State) -> T) -> Option<T> {
        let changed = self.state.as_mut().map(|state| change(state));
        if self.state.as_ref().is_some_and(|state| state.is_blank()) {
            self.state = None;
        }
        changed
    }

    /// A failure that stood may no longer stand.
    fn unblock(&mut self) {
        self.change(|state| (state.blocked, state.quiet_until) = (None, None));
    }
}

// === impl State ===

impl State {
    fn is_blank(&self) -> bool {
        self.flight.is_none()
            && self.blocked.is_none()
            && self.quiet_until.is_none()
            && self.refusals.are_none()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{ProviderName, UserId};

    fn entry() -> Entry {
        Entry::new(ConnectionKey {
            provider: ProviderName::parse("calcom").unwrap(),
            user: UserId::parse("u1").unwrap(),
        })
    }

    #[test]
    fn what_every_connection_costs_fills_the_pieces_that_the_allocator_hands_out() {
        // Of glibc: eight bytes of its own, in steps of sixteen. Two counts before what is shared.
        let piece = |size: usize| (size + 8).next_multiple_of(16);
        let entry = piece(16 + size_of::<Entry>());
        let bearer = piece(16 + size_of::<Bearer>());
        assert!(entry <= 96, "{entry}");
        assert!(bearer <= 128, "{bearer}");
        // A user id of up to 23 characters is in the entry; the token's text is all else there is.
        assert_eq!(size_of::<UserId>(), 24);
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_at_rest_keeps_no_more_than_its_token() {
        let (entry, now) = (entry(), Instant::now());
        assert!(entry.may_renew_quietly(now, now + std::time::Duration::from_secs(5)));
        let Ticket::Started(..) = entry.board(Need::Fresh, || None) else {
            panic!("nobody else flies");
        };
        entry.hold(Bearer::for_tests("t", 1), entry.news());
        assert!(
            entry.state.lock().state.is_some(),
            "the flight is under way"
        );
        entry.land();
        assert!(entry.state.lock().state.is_none());
        entry.block(now, Error::ShuttingDown, entry.news());
        assert!(entry.blocked(now).is_none());
        assert!(entry.state.lock().state.is_none(), "its time was over");
    }
}
