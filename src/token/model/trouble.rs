//! What may go wrong between the steps of a flight, and what users do.

use super::{
    Protection,
    explore::Sort,
    flight::{Moves, mark, send},
    seen,
    state::{At, Mark, Row, SIDECARS, Sidecar, State},
    store::Draft,
};

impl Moves<'_> {
    /// `what` may go wrong.
    fn fault(
        &mut self,
        who: usize,
        what: &'static str,
        state: &State,
        change: impl FnOnce(&mut Draft<'_>),
    ) {
        if state.faults < self.scope.faults {
            self.step(who, what, Sort::Fault, state, |it| {
                it.state.faults += 1;
                change(it);
            });
        }
    }

    /// What may go wrong with the next step of the flight of `i`.
    pub(super) fn trouble_of_flight(&mut self, state: &State, i: usize) {
        match state.sidecars[i].at {
            At::Acquire if state.row.is_there() => self.lost_acquire(state, i),
            At::Leased => self.lost_begin(state, i),
            At::Begun => self.fault(i, "it stands still before the call", state, |it| {
                // Its look at the clock was before that.
                (it.car(i).believes, it.car(i).holds) = (false, false);
                send(it, i);
            }),
            At::Sent => self.lost_requests(state, i),
            At::Accepted | At::Denied => {
                self.fault(i, "the provider's answer is lost", state, |it| {
                    it.car(i).new = 0;
                    it.finish(i);
                });
            }
            At::Minted => self.lost_commits(state, i),
            At::Marking => self.lost_marks(state, i),
            At::Failing => {
                self.fault(i, "fail: the store does not answer", state, |it| {
                    it.finish(i);
                });
            }
            At::Releasing if state.sidecars[i].holds => {
                self.fault(i, "release: the store does not answer", state, |it| {
                    it.state.orphan = true;
                    it.release(i);
                });
            }
            _ => {}
        }
    }

    fn lost_acquire(&mut self, state: &State, i: usize) {
        let held = state.orphan || state.sidecars.iter().any(|car| car.holds);
        if !held {
            self.fault(i, "acquire: done, and the answer lost", state, |it| {
                it.state.orphan = true;
                it.finish(i);
            });
        }
    }

    fn lost_begin(&mut self, state: &State, i: usize) {
        self.fault(i, "begin: done, and the answer lost", state, |it| {
            let _recorded = it.begin(i);
            it.finish(i);
        });
        if state.sidecars[i].spool != 0 {
            self.fault(i, "unspool: the store takes nothing", state, |it| {
                it.finish(i);
            });
            self.fault(i, "unspool: done, and the answer lost", state, |it| {
                let pair = it.state.sidecars[i].spool;
                let _answer = it.commit(pair, true);
                it.finish(i);
            });
        }
    }

    fn lost_requests(&mut self, state: &State, i: usize) {
        self.fault(i, "redeem: not sent", state, |it| it.go(i, At::Failing));
        self.fault(i, "redeem: lost on its way", state, |it| it.finish(i));
        self.fault(i, "redeem: too late for an answer", state, |it| {
            let pair = it.state.sidecars[i].read.pair;
            it.state.late_requests |= 1 << (pair - 1);
            it.finish(i);
        });
    }

    fn lost_commits(&mut self, state: &State, i: usize) {
        self.fault(i, "commit: refused", state, |it| it.go(i, At::Spooling));
        self.fault(i, "commit: done, and the answer lost", state, |it| {
            let car = it.state.sidecars[i];
            let _answer = it.commit(car.new, car.holds);
            it.go(i, At::Spooling);
        });
        self.fault(i, "commit: too late for an answer", state, |it| {
            let new = it.state.sidecars[i].new;
            it.state.late_commits |= 1 << (new - 1);
            it.go(i, At::Spooling);
        });
    }

    fn lost_marks(&mut self, state: &State, i: usize) {
        self.fault(i, "mark: refused", state, |it| it.finish(i));
        self.fault(i, "mark: done, and the answer lost", state, |it| {
            mark(it, i);
        });
        if state.late_mark.0 == 0 {
            self.fault(i, "mark: too late for an answer", state, |it| {
                let read = it.state.sidecars[i].read;
                let reason = if read.attempts > 0 {
                    Mark::Lost
                } else {
                    Mark::Refused
                };
                it.state.late_mark = (read.pair, reason);
                it.finish(i);
            });
        }
    }

    /// What may befall the process `i` as a whole.
    pub(super) fn trouble_of_process(&mut self, state: &State, i: usize) {
        let car = state.sidecars[i];
        if car.holds {
            self.fault(i, "the lease runs out", state, |it| {
                (it.car(i).holds, it.car(i).believes) = (false, false);
            });
        }
        if car.at == At::Idle && car.spool == 0 {
            return;
        }
        if car.at != At::Idle || car.spool != 0 {
            self.fault(i, "dies", state, |it| die(it, i, true));
        }
        if car.spool != 0 || matches!(car.at, At::Minted | At::Spooling) {
            self.fault(i, "dies, and its machine with it", state, |it| {
                die(it, i, false);
            });
        }
        if car.at == At::Sent {
            self.fault(i, "dies, and its request lives on", state, |it| {
                let pair = it.state.sidecars[i].read.pair;
                it.state.late_requests |= 1 << (pair - 1);
                die(it, i, true);
            });
        }
    }

    /// What nobody waits for any longer.
    pub(super) fn late(&mut self, state: &State) {
        if state.orphan {
            self.may(SIDECARS, "a lease without an owner runs out", state, |it| {
                it.state.orphan = false;
            });
        }
        for pair in 1..=state.issued {
            let bit = 1 << (pair - 1);
            if state.late_requests & bit != 0 {
                self.may(SIDECARS, "the provider gets a late request", state, |it| {
                    it.state.late_requests &= !bit;
                    if it.state.pair(pair).live {
                        let generation = it.state.pair(pair).generation;
                        let _unheard = it.redeem(pair, generation);
                    } else {
                        it.state.wasted = (it.state.wasted + 1).min(7);
                    }
                });
            }
            if state.late_commits & bit != 0 {
                self.may(SIDECARS, "the store does a late commit", state, |it| {
                    it.state.late_commits &= !bit;
                    let _unheard = it.commit(pair, false);
                });
            }
        }
        let (pair, reason) = state.late_mark;
        if pair != 0 {
            self.may(SIDECARS, "the store does a late mark", state, |it| {
                it.state.late_mark = (0, Mark::None);
                let refused = it.state.pair(pair);
                let read = Row {
                    id: refused.id,
                    generation: refused.generation,
                    pair,
                    ..Row::NONE
                };
                let _unheard = it.mark(read, reason);
            });
        }
    }

    /// What users do, and operators for them.
    pub(super) fn users(&mut self, state: &State) {
        if state.connects < self.scope.connects && state.issued < self.scope.pairs {
            self.step(SIDECARS, "the user connects", Sort::User, state, |it| {
                let _connected = it.connect();
            });
        }
        if state.disconnects < self.scope.disconnects && state.row.is_there() {
            let what = "the user disconnects";
            self.step(SIDECARS, what, Sort::User, state, |it| {
                it.disconnect();
            });
            if self.scope.memory {
                for i in 0..SIDECARS {
                    self.step(i, what, Sort::User, state, |it| {
                        it.disconnect();
                        it.overtake(i);
                        it.adopt(i, Row::NONE, false);
                    });
                }
            }
        }
        if state.row.is_there() && state.pair(state.row.pair).live {
            self.fault(SIDECARS, "the user revokes the app", state, |it| {
                let pair = it.state.row.pair;
                it.state.pair_mut(pair).live = false;
            });
        }
    }
}

/// The process dies, and another takes its place.
fn die(it: &mut Draft<'_>, i: usize, keeps_spool: bool) {
    let car = it.state.sidecars[i];
    let row = it.state.row;
    let mut lost = [0, 0];
    if matches!(car.at, At::Minted | At::Spooling) {
        lost[0] = car.new;
    }
    if !keeps_spool {
        lost[1] = car.spool;
    }
    for pair in lost {
        if pair != 0 && row.pair != pair {
            it.state.pair_mut(pair).died = true;
        }
    }
    it.state.orphan |= car.holds;
    let spool = if keeps_spool { car.spool } else { 0 };
    if spool != 0 && !it.lacks(Protection::Spool) {
        it.saw(seen::RESTARTED);
    }
    *it.car(i) = Sidecar {
        spool,
        ..Sidecar::IDLE
    };
}
