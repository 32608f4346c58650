//! What must never be so: the invariants of `docs/refresh-protocol.md`, as far as they need no clock.

use super::state::{At, Mark, SIDECARS, Sidecar, State};

/// An invariant that is broken, in words.
pub(super) type Law = &'static str;

// Of steps.
pub(super) const LEASE: Law = "1: a token is sent after its sender's lease has run out";
pub(super) const NAMED: Law = "1: what is sent is not what the store holds at the intent";
pub(super) const KNOWN: Law = "1: a token is sent by who has had the answer to it";
pub(super) const FENCE: Law = "2: a commit replaces something else than what it was minted from";
pub(super) const GROWS: Law = "2: a generation does not grow by one with each writing of tokens";
pub(super) const REASON: Law = "7: a lost rotation is called a refused grant";
pub(super) const TOLD: Law =
    "7: somebody is told to connect again although the store has something newer";

// Of states.
const WASTED: Law = "1: a spent token is sent again more often than anything went wrong";
const ALONE: Law = "1: two sidecars redeem at once, and each believes to hold the lease";
const KEPT: Law = "2: a pair that somebody has had is nowhere";
const OTHERS: Law = "3: a connection has the tokens of another";
const MARKED: Law = "7: a connection is marked whose token the provider would take";
const NEWS: Law = "8: memory differs from the store, and no news of it is on its way";

// Of states in which nothing more happens by itself.
const ENDED: Law = "4: a wait does not end";
const EMPTY: Law = "2: a spool is not emptied";
const FREE: Law = "4: a lease is never given back";
const REVOKED: Law = "3: tokens of a removed connection are still good, and nobody will use them";

/// Waits that go round in a circle, see [`super::explore`].
pub(super) const CIRCLE: Law = "4: steps go round in a circle";

/// All of them.
pub(crate) const LAWS: [Law; 18] = [
    LEASE, NAMED, KNOWN, FENCE, GROWS, REASON, TOLD, WASTED, ALONE, KEPT, OTHERS, MARKED, NEWS,
    ENDED, EMPTY, FREE, REVOKED, CIRCLE,
];

/// Whether `pair` was redeemed, and nobody has what it was redeemed for, or will.
pub(super) fn rotation_is_lost(state: &State, pair: u8) -> bool {
    for child in 1..=state.issued {
        let born = state.pair(child);
        if born.parent != pair || born.delivered {
            continue;
        }
        let mut awaited = false;
        for car in &state.sidecars {
            awaited |= car.at == At::Accepted && car.new == child;
        }
        if !awaited {
            return true;
        }
    }
    false
}

/// What is wrong with going from `before` to `after`.
pub(super) fn broken_by(before: &State, after: &State) -> Option<Law> {
    let (old, new) = (before.row, after.row);
    let grows = if !old.is_there() || !new.is_there() {
        // What was removed does not come back: the next connection is another.
        !new.is_there() || new.id > before.ids
    } else if old.pair == new.pair {
        old.fences(new)
    } else {
        old.id == new.id && old.generation + 1 == new.generation
    };
    (!grows).then_some(GROWS)
}

/// What is wrong with `state`, whatever led to it.
pub(super) fn broken(state: &State) -> Option<Law> {
    // A disconnect may kill one that is on its way.
    if state.wasted > state.faults + state.disconnects {
        return Some(WASTED);
    }
    let cars = &state.sidecars;
    for i in 0..SIDECARS {
        for j in 0..i {
            // A lease goes with its connection: another may be taken for the next.
            let same = cars[i].read.id == cars[j].read.id;
            if same && redeems(cars[i]) && redeems(cars[j]) {
                return Some(ALONE);
            }
        }
    }
    let row = state.row;
    if row.is_there() && state.pair(row.pair).id != row.id {
        return Some(OTHERS);
    }
    if row.mark != Mark::None && state.pair(row.pair).live {
        return Some(MARKED);
    }
    for number in 1..=state.issued {
        let pair = state.pair(number);
        let excused = pair.replaced || pair.died;
        if pair.live && pair.delivered && !excused && !is_somewhere(state, number) {
            return Some(KEPT);
        }
    }
    for car in cars {
        let usable = car.memory != 0 && !car.stale;
        let memory = state.pair(car.memory);
        let older = memory.id != row.id || memory.generation < row.generation;
        if usable && older && !car.told && car.feed == 0 {
            return Some(NEWS);
        }
    }
    None
}

const fn redeems(car: Sidecar) -> bool {
    let redeems = matches!(car.at, At::Begun | At::Sent | At::Accepted | At::Denied);
    car.believes && redeems
}

fn is_somewhere(state: &State, number: u8) -> bool {
    if state.row.pair == number {
        return true;
    }
    for car in &state.sidecars {
        let in_hand = car.new == number && matches!(car.at, At::Minted | At::Spooling);
        if in_hand || car.spool == number {
            return true;
        }
    }
    false
}

/// What is wrong with `state` if nothing more happens in it by itself.
pub(super) fn unfinished(state: &State) -> Option<Law> {
    if state.orphan {
        return Some(FREE);
    }
    for car in &state.sidecars {
        if car.at != At::Idle {
            return Some(ENDED);
        }
        if car.spool != 0 {
            return Some(EMPTY);
        }
        if car.holds {
            return Some(FREE);
        }
    }
    for number in 1..=state.issued {
        let pair = state.pair(number);
        let unused = pair.id != state.row.id && !pair.died && !pair.let_go;
        if pair.live && pair.delivered && unused {
            return Some(REVOKED);
        }
    }
    None
}
