//! What one step does to the store, the provider and a memory: the pieces that steps are made of.

use super::{
    Protection, Scope,
    laws::{self, Law},
    seen,
    state::{At, Mark, NOTHING, Pair, Row, Sidecar, State},
};

/// A step that is being made: the state after it, and what was to be seen on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft<'a> {
    pub(super) state: State,
    pub(super) seen: u32,
    pub(super) broken: Option<Law>,
    scope: &'a Scope,
    without: Option<Protection>,
}

/// The answer to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Committed {
    Stored,
    Superseded,
    Gone,
}

impl<'a> Draft<'a> {
    pub(super) const fn of(state: State, scope: &'a Scope, without: Option<Protection>) -> Self {
        Self {
            state,
            seen: 0,
            broken: None,
            scope,
            without,
        }
    }

    pub(super) fn lacks(&self, protection: Protection) -> bool {
        self.without == Some(protection)
    }

    pub(super) const fn saw(&mut self, what: u32) {
        self.seen |= what;
    }

    pub(super) fn breaks(&mut self, law: Law) {
        self.broken.get_or_insert(law);
    }

    pub(super) const fn car(&mut self, i: usize) -> &mut Sidecar {
        &mut self.state.sidecars[i]
    }

    // --- memory ---

    /// Whether memory is part of the model.
    pub(super) const fn follows_memory(&self) -> bool {
        self.scope.memory
    }

    /// What `row` has to offer to `i`: what waits in its spool for that row is newer.
    pub(super) fn offered(&self, i: usize, row: Row) -> u8 {
        let spool = self.state.sidecars[i].spool;
        let spooled = self.state.pair(spool);
        let fits = spool != 0 && spooled.id == row.id && spooled.generation == row.generation + 1;
        if fits { spool } else { row.pair }
    }

    /// Whether `pair` is newer than what was asked for.
    pub(super) fn is_newer(&self, pair: u8, than: u8) -> bool {
        let (pair, than) = (self.state.pair(pair), self.state.pair(than));
        pair.id != than.id || pair.generation > than.generation
    }

    /// Takes what `row` offers into the memory of `i`.
    pub(super) fn adopt(&mut self, i: usize, row: Row, overtaken: bool) {
        if !self.scope.memory {
            return;
        }
        let overtaken = overtaken && !self.lacks(Protection::News);
        let offered = if row.is_there() {
            self.offered(i, row)
        } else {
            0
        };
        let newer = offered == 0 || self.is_newer(offered, self.state.sidecars[i].memory);
        let car = self.car(i);
        if newer && (offered != 0 || !overtaken) {
            car.memory = offered;
        }
        if overtaken {
            car.stale |= newer;
        } else {
            car.stale = false;
        }
    }

    /// Everybody will hear that the row has changed.
    fn tell(&mut self) {
        if self.scope.memory {
            for car in &mut self.state.sidecars {
                car.told = true;
            }
        }
    }

    /// `i` hears of a change: whatever it has asked for may be older.
    pub(super) fn overtake(&mut self, i: usize) {
        let car = self.car(i);
        car.overtaken = !matches!(car.at, At::Idle | At::Acquire | At::Waiting | At::Releasing);
        car.feed_overtaken = car.feed != 0;
    }

    /// `i` begins to read what it was told of.
    pub(super) fn hear(&mut self, i: usize) {
        self.car(i).told = false;
        self.overtake(i);
        let row = self.state.row;
        self.car(i).feed = if row.is_there() { row.pair } else { NOTHING };
    }

    /// `i` has read it.
    pub(super) fn heard(&mut self, i: usize) {
        let (pair, overtaken) = {
            let car = self.car(i);
            (car.feed, car.feed_overtaken)
        };
        let mut row = Row::NONE;
        if pair != NOTHING {
            row.id = self.state.pair(pair).id;
            row.generation = self.state.pair(pair).generation;
            row.pair = pair;
        }
        self.adopt(i, row, overtaken);
        let car = self.car(i);
        (car.feed, car.feed_overtaken) = (0, false);
    }

    // --- the flight ---

    /// Goes on with `next`.
    pub(super) const fn go(&mut self, i: usize, next: At) {
        self.car(i).at = next;
    }

    /// The flight is over, but for the lease. Giving back what one no longer has changes nothing, and is
    /// left out where that holds.
    pub(super) fn finish(&mut self, i: usize) {
        let releases = self.lacks(Protection::LeaseOwner);
        let car = self.car(i);
        let had = !matches!(car.at, At::Loaded | At::Acquire | At::Waiting);
        let has = car.believes || car.holds || releases && had;
        car.read = Row::NONE;
        (car.new, car.need, car.overtaken) = (0, 0, false);
        car.at = if has { At::Releasing } else { At::Idle };
    }

    /// Gives the lease back.
    pub(super) fn release(&mut self, i: usize) {
        if self.lacks(Protection::LeaseOwner) {
            for car in &mut self.state.sidecars {
                car.holds = false;
            }
        }
        let car = self.car(i);
        (car.holds, car.believes) = (false, false);
        car.at = At::Idle;
    }

    // --- the store ---

    pub(super) fn acquire(&mut self, i: usize) {
        for car in &mut self.state.sidecars {
            car.holds = false;
        }
        self.state.orphan = false;
        let row = self.state.row;
        let stale_read = self.lacks(Protection::ReadUnderLease);
        let car = self.car(i);
        (car.holds, car.believes, car.overtaken) = (true, true, false);
        if !stale_read {
            car.read = row;
        }
        car.at = At::Leased;
    }

    /// Records the intent of `i`; whether it was recorded.
    pub(super) fn begin(&mut self, i: usize) -> bool {
        let car = self.state.sidecars[i];
        let unfenced = self.lacks(Protection::FencedIntent);
        let fits = car.holds && car.read.fences(self.state.row);
        if !(fits || unfenced && self.state.row.is_there()) {
            return false;
        }
        if car.read.pair != self.state.row.pair {
            self.breaks(laws::NAMED);
        }
        if !self.lacks(Protection::Intent) {
            self.state.row.attempts += 1;
        }
        true
    }

    /// Takes an attempt back: nothing was spent by it.
    pub(super) fn take_back(&mut self, i: usize) {
        if self.state.sidecars[i].read.fences(self.state.row) {
            self.state.row.attempts = self.state.row.attempts.saturating_sub(1);
        }
    }

    /// Commits `pair`, which was minted from the generation before its own.
    pub(super) fn commit(&mut self, pair: u8, holds: bool) -> Committed {
        let (new, row) = (self.state.pair(pair), self.state.row);
        if !row.is_there() {
            return Committed::Gone;
        }
        let next = new.generation == row.generation + 1;
        let fits = new.id == row.id && (next || self.lacks(Protection::FencedCommit));
        let refused = !holds && self.lacks(Protection::CommitWithoutLease)
            || row.mark != Mark::None && self.lacks(Protection::CommitOverMark);
        if !fits || refused {
            return Committed::Superseded;
        }
        if new.parent != row.pair {
            self.breaks(laws::FENCE);
        }
        self.saw(seen::RENEWED);
        if row.mark != Mark::None {
            self.saw(seen::OVERRULED);
        }
        if !holds {
            self.saw(seen::LATE_COMMIT);
        }
        self.state.row = Row {
            generation: row.generation + 1,
            pair,
            mark: Mark::None,
            attempts: 0,
            ..row
        };
        self.tell();
        Committed::Stored
    }

    /// What follows from the answer to a commit of `pair` by `i`.
    pub(super) fn committed(&mut self, answer: Committed, pair: u8) {
        let same = self.state.pair(pair).id == self.state.row.id;
        match answer {
            Committed::Stored => {}
            Committed::Superseded if same => {
                self.saw(seen::SUPERSEDED);
                if self.state.row.pair != pair {
                    self.state.pair_mut(pair).let_go = true;
                }
            }
            Committed::Superseded | Committed::Gone => {
                self.saw(seen::ORPHANED);
                if !self.lacks(Protection::Revoke) {
                    self.state.pair_mut(pair).live = false;
                }
            }
        }
    }

    /// Offers the spool of `i` to the store.
    pub(super) fn unspool(&mut self, i: usize) {
        let (pair, holds) = (self.state.sidecars[i].spool, self.state.sidecars[i].holds);
        let answer = self.commit(pair, holds);
        if answer == Committed::Stored {
            self.saw(seen::UNSPOOLED);
        }
        self.committed(answer, pair);
        self.car(i).spool = 0;
    }

    /// Marks the row, read as `read`; whether it is marked now.
    pub(super) fn mark(&mut self, read: Row, mark: Mark) -> bool {
        let row = self.state.row;
        let unfenced = self.lacks(Protection::FencedMark) && read.id == row.id;
        if !row.is_there() || !(read.fences(row) || unfenced) {
            return false;
        }
        if row.mark == Mark::None {
            self.state.row.mark = mark;
            self.saw(if mark == Mark::Lost {
                seen::LOST
            } else {
                seen::REFUSED
            });
            if mark == Mark::Refused && laws::rotation_is_lost(&self.state, row.pair) {
                self.breaks(laws::REASON);
            }
            self.tell();
        }
        true
    }

    // --- provider and user ---

    /// The provider issues a pair; its number, if there is room for it.
    pub(super) fn issue(&mut self, pair: Pair) -> Option<u8> {
        if self.state.issued >= self.scope.pairs {
            return None;
        }
        self.state.issued += 1;
        let number = self.state.issued;
        *self.state.pair_mut(number) = Pair { live: true, ..pair };
        Some(number)
    }

    /// The provider gets the refresh token of `sent`, for one who would commit it after `read`.
    pub(super) fn redeem(&mut self, sent: u8, generation: u8) -> Option<u8> {
        let old = self.state.pair(sent);
        let new = self.issue(Pair {
            id: old.id,
            generation: generation + 1,
            parent: sent,
            replaced: old.replaced,
            ..Pair::NONE
        })?;
        self.state.pair_mut(sent).live = false;
        Some(new)
    }

    /// The user connects, again or anew.
    pub(super) fn connect(&mut self) -> bool {
        let row = self.state.row;
        let (id, generation) = if row.is_there() {
            (row.id, row.generation + 1)
        } else {
            (self.state.ids + 1, 1)
        };
        let pair = Pair {
            id,
            generation,
            delivered: true,
            ..Pair::NONE
        };
        let before = self.state.issued;
        let Some(pair) = self.issue(pair) else {
            return false;
        };
        for old in 1..=before {
            self.state.pair_mut(old).replaced = true;
        }
        if row.is_there() {
            // The one that it had is good at the provider for as long as it lives.
            self.state.pair_mut(row.pair).let_go = true;
        } else {
            self.state.ids += 1;
        }
        self.state.row = Row {
            id,
            generation,
            pair,
            mark: Mark::None,
            attempts: 0,
        };
        self.state.connects += 1;
        self.tell();
        true
    }

    /// The connection is removed, and the tokens that it had are revoked. The lease goes with it.
    pub(super) fn disconnect(&mut self) {
        for number in 1..=self.state.issued {
            self.state.pair_mut(number).replaced = true;
        }
        let row = self.state.row;
        self.state.pair_mut(row.pair).live = false;
        self.state.row = Row::NONE;
        self.state.orphan = false;
        for car in &mut self.state.sidecars {
            car.holds = false;
        }
        self.state.disconnects += 1;
        self.tell();
    }
}
