//! Flights and their turns: how one gets from its need to its end, with or without a wait in the queue.
//!
//! 1. A flight looks first, whatever the queue: what the store has already takes no turn.
//! 2. If it takes a call, the flight gets a turn or a place in the [`Queue`]. There it is no task, and has
//!    no lease: those come with the turn.
//! 3. Callers wait for a flight's end, but not for a turn that comes later than `queue_wait`, nor if too many
//!    wait already: they are told when it will be. Whoever has a token that lives waits for no turn at all. The flight keeps its place
//!    in any case, so that it has been renewed when they come again.
//! 4. When the drain begins, turns within `queue_wait` are still served.

use std::{pin::pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{
    Error,
    engine::Engine,
    entry::{Departure, Entry, Flight, Outcome},
    held::{Need, Reason},
    queue::{Entered, Next, Place, Queue, Turn},
    renewal::{Flown, Looked, Renewal},
    spans,
};
use crate::{
    base::ids::OwnerId,
    telemetry::trace::{self, Trace},
};

/// How long background work waits for its turn before it goes on with the next. The renewal keeps its
/// place.
const BACKGROUND_WAIT: Duration = Duration::from_mins(1);

/// Whose turn comes so soon takes nobody's place: a request that is short of a token waits as long for its
/// own renewal.
const SOON: Duration = Duration::from_secs(3);

/// A flight on its way, or waiting for its turn.
pub(super) struct Flying {
    pub(super) entry: Arc<Entry>,
    pub(super) need: Need,
    pub(super) place: Arc<Place>,
    announce: oneshot::Sender<Outcome>,
    trace: Option<Arc<Trace>>,
    landing: Landing,
}

/// Ends a flight even if it is dropped or panics, so that the next caller can begin another.
struct Landing(Arc<Entry>);

/// What a caller got of a flight.
pub(super) enum Awaited {
    /// Its end.
    Over(Outcome),
    /// It waits for its turn, for longer than the caller would.
    Later(Error),
}

/// Gives the turns of `queue` to those who wait in it, until the drain begins, and then to those whose turn
/// comes soon.
pub(super) async fn serve(engine: Arc<Engine>, queue: Arc<Queue>) {
    let mut draining = pin!(engine.lifecycle.draining());
    let mut is_draining = false;
    loop {
        let until = match queue.next() {
            Next::Go(flying, turn) => {
                engine.fly(flying, turn, &queue);
                continue;
            }
            Next::Empty if is_draining => return,
            Next::At(instant) => Some(instant),
            Next::Rung | Next::Empty => None,
        };
        let ready = async {
            match until {
                Some(instant) => sleep_until(instant).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ready => {}
            () = queue.rung() => {}
            () = &mut draining, if !is_draining => {
                is_draining = true;
                queue.close(engine.config.queue_wait);
            }
        }
    }
}

impl Engine {
    /// Starts the flight that `departure` is for.
    pub(super) fn launch(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        queue: &Arc<Queue>,
        need: Need,
        departure: Departure,
    ) {
        let Departure {
            announce,
            trace,
            place,
        } = departure;
        let flying = Flying {
            entry: Arc::clone(entry),
            need,
            place,
            announce,
            trace,
            landing: Landing(Arc::clone(entry)),
        };
        self.look(flying, queue, false);
    }

    /// A flight that waits at `place` looks once more whether it takes a renewal.
    pub(super) fn look_anew(self: &Arc<Self>, place: &Place, queue: &Arc<Queue>) {
        if let Some(flying) = queue.lift(place) {
            self.look(flying, queue, true);
        }
    }

    /// The connection of `entry` has changed in the store: a flight that waits to renew it may be over.
    pub(super) fn recall(self: &Arc<Self>, entry: &Arc<Entry>) {
        let Some(flight) = entry.flight() else {
            return;
        };
        let Some(queue) = self.queues.get(&entry.key.provider) else {
            return;
        };
        self.look_anew(&flight.place, queue);
    }

    /// Looks in a task of its own, and goes on if there is a turn.
    fn look(self: &Arc<Self>, flying: Flying, queue: &Arc<Queue>, anew: bool) {
        let (engine, queue) = (Arc::clone(self), Arc::clone(queue));
        let trace = flying.trace.clone();
        let leg = async move {
            let looked = engine.renewal(&flying, &queue, None).look(anew).await;
            match looked {
                Looked::Over(outcome) => flying.land(outcome),
                Looked::Renew => engine.take_turn(flying, &queue).await,
            }
        };
        drop(self.lifecycle.spawn(trace::within(trace, leg)));
    }

    /// It is the turn of `flying`: renews, in a task of its own.
    fn fly(self: &Arc<Self>, flying: Flying, turn: Turn, queue: &Arc<Queue>) {
        let (engine, queue) = (Arc::clone(self), Arc::clone(queue));
        let trace = flying.trace.clone();
        let leg = async move {
            if let Some(flying) = engine.renew(flying, turn, &queue).await {
                engine.take_turn(flying, &queue).await;
            }
        };
        drop(self.lifecycle.spawn(trace::within(trace, leg)));
    }

    /// Renews if there is a turn; otherwise the queue has the flight.
    async fn take_turn(&self, flying: Flying, queue: &Arc<Queue>) {
        let mut flying = flying;
        loop {
            match queue.enter(flying) {
                Entered::Waits => return,
                Entered::Full(flying, wait) => {
                    let error = later(&flying.entry, wait);
                    return flying.land(Err(error));
                }
                Entered::Go(gone, turn) => match self.renew(gone, turn, queue).await {
                    Some(back) => flying = back,
                    None => return,
                },
            }
        }
    }

    /// Renews; the flight comes back if its call was one too many.
    async fn renew(&self, flying: Flying, turn: Turn, queue: &Arc<Queue>) -> Option<Flying> {
        let flown = self.renewal(&flying, queue, Some(&turn)).run().await;
        drop(turn);
        match flown {
            Flown::Over(outcome) => {
                flying.land(outcome);
                None
            }
            Flown::Back => Some(flying),
        }
    }

    fn renewal<'a>(
        &'a self,
        flying: &'a Flying,
        queue: &'a Arc<Queue>,
        turn: Option<&'a Turn>,
    ) -> Renewal<'a> {
        Renewal {
            engine: self,
            entry: &flying.entry,
            provider: &queue.provider,
            queue,
            turn,
            need: flying.need,
            owner: OwnerId::random(&*self.random),
            leased: Mutex::new(Instant::now()),
            asked_after: Mutex::new(flying.entry.news()),
        }
    }

    /// Waits for the end of `flight`, or until it is known that its turn comes too late for the caller.
    pub(super) async fn wait_for(
        &self,
        flight: Flight,
        entry: &Entry,
        queue: &Queue,
        need: Need,
    ) -> Awaited {
        let place = Arc::clone(&flight.place);
        let patience = match need {
            Need::NewerThan(_, Reason::KeepAlive) => BACKGROUND_WAIT,
            _ => self.config.queue_wait,
        };
        let deadline = Instant::now() + patience;
        let mut outcome = pin!(flight.outcome());
        let mut seat = None;
        loop {
            let told = place.told();
            let Some(wait) = queue.wait_of(&place, need.is_asked()) else {
                tokio::select! {
                    biased;
                    outcome = &mut outcome => return Awaited::Over(outcome),
                    () = told => continue,
                }
            };
            let takes_place = need.is_asked() && wait > SOON;
            if seat.is_none() && takes_place {
                seat = self.queue_places.try_acquire().ok();
            }
            let is_full = seat.is_none() && takes_place;
            let now = Instant::now();
            let lives = need == Need::Usable && entry.held().is_some_and(|held| held.is_alive(now));
            if lives || is_full || now >= deadline || now + wait > deadline {
                if !lives && need.is_asked() {
                    queue.turned_away(wait);
                }
                return Awaited::Later(later(entry, wait));
            }
            tokio::select! {
                biased;
                outcome = &mut outcome => return Awaited::Over(outcome),
                () = told => {}
                () = sleep_until(deadline) => {}
            }
        }
    }
}

fn later(entry: &Entry, wait: Duration) -> Error {
    Error::RefreshFailed {
        key: entry.key.clone(),
        retry_after: wait,
        what: "the provider takes only so many token calls, and others are before it".into(),
    }
}

// === impl Flying ===

impl Flying {
    /// Tells everybody who waits.
    fn land(self, outcome: Outcome) {
        if let Some(trace) = &self.trace {
            spans::finish(trace, &self.entry.key, &outcome);
        }
        drop(self.landing);
        // Fails if nobody waits, which is as well.
        let _unheard = self.announce.send(outcome);
    }
}

// === impl Landing ===

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.land();
    }
}
