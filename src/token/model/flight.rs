//! The steps of a flight, while nothing goes wrong: `renewal.rs`, and what is under way beside it.

use super::{
    Protection, Scope,
    explore::{Sort, Step},
    laws, seen,
    state::{At, Mark, Row, SIDECARS, State},
    store::Draft,
};

/// Everything that may happen next.
pub(super) struct Moves<'a> {
    pub(super) scope: &'a Scope,
    pub(super) without: Option<Protection>,
    pub(super) steps: &'a mut Vec<Step>,
}

impl Moves<'_> {
    pub(super) fn draft(&self, state: &State) -> Draft<'_> {
        Draft::of(*state, self.scope, self.without)
    }

    pub(super) fn lacks(&self, protection: Protection) -> bool {
        self.without == Some(protection)
    }

    /// `what` may happen by itself.
    pub(super) fn may(
        &mut self,
        who: usize,
        what: &'static str,
        state: &State,
        change: impl FnOnce(&mut Draft<'_>),
    ) {
        self.step(who, what, Sort::Own, state, change);
    }

    pub(super) fn step(
        &mut self,
        who: usize,
        what: &'static str,
        sort: Sort,
        state: &State,
        change: impl FnOnce(&mut Draft<'_>),
    ) {
        let mut draft = self.draft(state);
        change(&mut draft);
        let step = Step {
            who,
            what,
            sort,
            to: draft.state,
            seen: draft.seen,
            broken: draft.broken,
        };
        self.steps.push(step);
    }

    /// All that may happen in `state`.
    pub(super) fn all(&mut self, state: &State) {
        for i in 0..SIDECARS {
            self.flight(state, i);
            self.beside(state, i);
            self.trouble_of_flight(state, i);
            self.trouble_of_process(state, i);
        }
        self.late(state);
        self.users(state);
    }

    /// The next step of the flight of `i`.
    fn flight(&mut self, state: &State, i: usize) {
        let car = state.sidecars[i];
        match car.at {
            At::Idle => self.start(state, i),
            At::Loaded => self.may(i, "consider", state, |it| {
                let row = it.state.sidecars[i].read;
                consider(it, i, row, |it| it.go(i, At::Acquire));
            }),
            At::Acquire => self.acquire(state, i),
            At::Waiting => self.wait(state, i),
            At::Leased => self.leased(state, i),
            At::Begun => self.begun(state, i),
            At::Sent => self.provider(state, i),
            At::Accepted => self.may(i, "redeem: the answer", state, |it| {
                let new = it.state.sidecars[i].new;
                it.state.pair_mut(new).delivered = true;
                it.go(i, At::Minted);
            }),
            At::Denied => {
                self.may(i, "redeem: the refusal", state, |it| it.go(i, At::Looking));
            }
            At::Minted => self.may(i, "commit", state, |it| commit(it, i)),
            At::Committed => self.may(i, "adopt", state, |it| {
                let car = it.state.sidecars[i];
                it.adopt(i, car.read, car.overtaken);
                it.finish(i);
            }),
            At::Spooling => self.may(i, "spool", state, |it| spool(it, i)),
            At::Looking => self.look(state, i),
            At::Marking => self.mark(state, i),
            At::Failing => self.may(i, "fail: the attempt is taken back", state, |it| {
                it.take_back(i);
                it.finish(i);
            }),
            At::Releasing => self.may(i, "release", state, |it| it.release(i)),
        }
    }

    /// Somebody needs a newer token than the process has.
    fn start(&mut self, state: &State, i: usize) {
        let row = state.row;
        let counted = self.scope.flights > 0;
        if counted && state.flights >= self.scope.flights {
            return;
        }
        if self.scope.memory {
            return self.step(i, "load", Sort::User, state, |it| {
                it.state.flights += u8::from(counted);
                let car = it.car(i);
                car.need = if car.stale { 0 } else { car.memory };
                (car.read, car.at) = (row, At::Loaded);
            });
        }
        // Who has an older token would find this one and be content: what follows is the same for
        // everyone whose token is the present one.
        if row.is_there() && row.mark == Mark::None {
            self.step(i, "load", Sort::User, state, |it| {
                let need = it.offered(i, row);
                let car = it.car(i);
                (car.need, car.read, car.at) = (need, row, At::Acquire);
            });
        }
    }

    fn acquire(&mut self, state: &State, i: usize) {
        let held = state.orphan || state.sidecars.iter().any(|car| car.holds);
        self.may(i, "acquire", state, |it| {
            if !it.state.row.is_there() {
                it.adopt(i, Row::NONE, false);
                it.finish(i);
            } else if held && !it.lacks(Protection::Lease) {
                it.go(i, At::Waiting);
            } else {
                it.acquire(i);
            }
        });
    }

    /// It is told, or looks now and then: the store is read again. Only what changes something counts, so
    /// that a wait for what never comes is seen.
    fn wait(&mut self, state: &State, i: usize) {
        let (car, row) = (state.sidecars[i], state.row);
        let held = state.orphan || state.sidecars.iter().any(|car| car.holds);
        let draft = self.draft(state);
        let newer = draft.is_newer(draft.offered(i, row), car.need);
        if held && !newer && row.mark == Mark::None && row.is_there() {
            return;
        }
        self.may(i, "load, while it waits", state, |it| {
            let car = it.car(i);
            car.overtaken = false;
            if !it.lacks(Protection::ReadUnderLease) {
                it.car(i).read = row;
            }
            if it.follows_memory() {
                return it.go(i, At::Loaded);
            }
            consider(it, i, row, |it| it.go(i, At::Acquire));
        });
    }

    fn leased(&mut self, state: &State, i: usize) {
        let car = state.sidecars[i];
        if car.spool != 0 && !self.lacks(Protection::SpoolFirst) {
            return self.may(i, "unspool, under the lease", state, |it| {
                it.unspool(i);
                it.car(i).overtaken = false;
                it.car(i).read = it.state.row;
                if !it.state.row.is_there() {
                    it.adopt(i, Row::NONE, false);
                    it.finish(i);
                }
            });
        }
        self.may(i, "begin", state, |it| {
            consider(it, i, car.read, |it| {
                if it.begin(i) {
                    it.go(i, At::Begun);
                } else {
                    it.finish(i);
                }
            });
        });
    }

    fn begun(&mut self, state: &State, i: usize) {
        let car = state.sidecars[i];
        if !car.believes && !self.lacks(Protection::OwnClock) {
            return self.may(i, "fail: the lease has run out", state, |it| {
                it.saw(seen::TAKEN_BACK);
                it.take_back(i);
                it.finish(i);
            });
        }
        self.may(i, "redeem", state, |it| {
            if !car.believes {
                it.breaks(laws::LEASE);
            }
            send(it, i);
        });
    }

    /// The provider gets the request of `i`.
    fn provider(&mut self, state: &State, i: usize) {
        let car = state.sidecars[i];
        self.may(i, "redeem: the provider", state, |it| {
            if !it.state.pair(car.read.pair).live {
                it.state.wasted = (it.state.wasted + 1).min(7);
                return it.go(i, At::Denied);
            }
            match it.redeem(car.read.pair, car.read.generation) {
                Some(new) => {
                    it.car(i).new = new;
                    it.go(i, At::Accepted);
                }
                None => it.go(i, At::Failing),
            }
        });
    }

    fn look(&mut self, state: &State, i: usize) {
        self.may(i, "load, after the refusal", state, |it| {
            let row = it.state.row;
            let read = it.state.sidecars[i].read;
            if it.lacks(Protection::SecondLook) {
                return it.go(i, At::Marking);
            }
            if read.fences(row) {
                if !it.lacks(Protection::LateIntents) {
                    // Without its own.
                    it.car(i).read.attempts = row.attempts.saturating_sub(1);
                }
                return it.go(i, At::Marking);
            }
            it.saw(seen::SECOND_LOOK);
            it.adopt(i, row, false);
            it.finish(i);
        });
    }

    fn mark(&mut self, state: &State, i: usize) {
        self.may(i, "mark", state, |it| mark(it, i));
    }

    /// What is under way beside the flight.
    fn beside(&mut self, state: &State, i: usize) {
        let car = state.sidecars[i];
        if car.spool != 0 {
            self.may(i, "unspool", state, |it| {
                it.unspool(i);
                let row = it.state.row;
                it.adopt(i, row, false);
            });
        }
        if car.told && car.feed == 0 {
            self.may(i, "hear of a change", state, |it| it.hear(i));
        }
        if car.feed != 0 {
            self.may(i, "read what has changed", state, |it| it.heard(i));
        }
    }
}

/// Adopts what `row` offers; goes on with `otherwise` if that is not what is needed, and a renewal may
/// be tried.
fn consider(it: &mut Draft<'_>, i: usize, row: Row, otherwise: impl FnOnce(&mut Draft<'_>)) {
    let car = it.state.sidecars[i];
    it.adopt(i, row, car.overtaken);
    if !row.is_there() {
        return it.finish(i);
    }
    let offered = it.offered(i, row);
    if it.is_newer(offered, car.need) {
        it.saw(seen::ADOPTED);
        return it.finish(i);
    }
    if row.mark != Mark::None {
        return it.finish(i);
    }
    otherwise(it);
}

/// The refresh token leaves the process.
pub(super) fn send(it: &mut Draft<'_>, i: usize) {
    let car = it.state.sidecars[i];
    if it.state.pair(car.spool).parent == car.read.pair {
        it.breaks(laws::KNOWN);
    }
    if !it.state.pair(car.read.pair).live {
        it.saw(seen::AGAIN);
    }
    it.go(i, At::Sent);
}

/// Commits what `i` has minted, and goes on by the answer.
fn commit(it: &mut Draft<'_>, i: usize) {
    let car = it.state.sidecars[i];
    let answer = it.commit(car.new, car.holds);
    it.committed(answer, car.new);
    let row = it.state.row;
    it.car(i).read = row;
    it.car(i).new = 0;
    it.car(i).overtaken = false;
    // The answer to it is on its way, and news may overtake that; without a memory it does not matter.
    if it.follows_memory() {
        return it.go(i, At::Committed);
    }
    it.finish(i);
}

fn spool(it: &mut Draft<'_>, i: usize) {
    let car = it.state.sidecars[i];
    if !it.lacks(Protection::Spool) {
        it.car(i).spool = car.new;
    }
    // What was read under the lease may have been overtaken meanwhile.
    it.adopt(i, car.read, car.overtaken);
    it.finish(i);
}

/// Marks what was refused, or finds that somebody has done better.
pub(super) fn mark(it: &mut Draft<'_>, i: usize) {
    let read = it.state.sidecars[i].read;
    let reason = if read.attempts > 0 {
        Mark::Lost
    } else {
        Mark::Refused
    };
    if !it.mark(read, reason) {
        if it.lacks(Protection::SecondLook) && it.state.row.is_there() {
            it.breaks(laws::TOLD);
        }
        let row = it.state.row;
        it.adopt(i, row, false);
    }
    it.finish(i);
}
