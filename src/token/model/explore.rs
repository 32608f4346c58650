//! Looks at every state that follows from the first, the nearest first.
//!
//! 1. Every state is kept, whole, in the order in which it was found; what is looked at next is the next
//!    in that order. So the way to whatever is found is a shortest one.
//! 2. A state in which nothing happens by itself is looked at for what is left unfinished.
//! 3. When all are found, the steps that happen by themselves are followed once more: if they could go
//!    round in a circle, some wait might never end.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{
    Protection, Scope,
    flight::Moves,
    laws::{self, Law},
    state::State,
    written::Written,
};

/// Why a step happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// By itself.
    Own,
    /// Something goes wrong.
    Fault,
    /// Somebody asks for it.
    User,
}

/// One thing that may happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Which sidecar; [`super::state::SIDECARS`] for none of them.
    pub(super) who: usize,
    pub(super) what: &'static str,
    pub(super) sort: Sort,
    pub(super) to: State,
    pub(super) seen: u32,
    pub(super) broken: Option<Law>,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    /// The length of the longest shortest way.
    pub(crate) depth: u32,
    /// See [`super::seen`].
    pub(crate) seen: u32,
    /// What steps are called.
    pub(crate) names: BTreeSet<&'static str>,
    /// A law that is broken, and how.
    pub(crate) broken: Option<(Law, String)>,
}

/// Every state, found by what it is.
struct Found {
    states: Vec<Written>,
    /// From which each was found; how far from the first it is.
    from: Vec<(u32, u32)>,
    /// Places in `states`, from 1; the length is a power of two.
    places: Vec<u32>,
}

impl Found {
    fn new() -> Self {
        Self {
            states: Vec::new(),
            from: Vec::new(),
            places: vec![0; 1 << 16],
        }
    }

    /// Where `state` is, and whether it is new.
    fn place(&mut self, state: Written, from: u32, depth: u32) -> (u32, bool) {
        if self.states.len() * 2 > self.places.len() {
            self.grow();
        }
        let at = self.slot(&state);
        if self.places[at] != 0 {
            return (self.places[at] - 1, false);
        }
        let place = u32::try_from(self.states.len()).unwrap();
        self.states.push(state);
        self.from.push((from, depth));
        self.places[at] = place + 1;
        (place, true)
    }

    /// Where `state` is entered, or would be.
    fn slot(&self, state: &Written) -> usize {
        let mask = self.places.len() - 1;
        let mut at = usize::try_from(mixed(state) >> 20).unwrap() & mask;
        loop {
            let place = self.places[at];
            if place == 0 || self.states[place as usize - 1] == *state {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        self.places = vec![0; self.places.len() * 2];
        for place in 0..self.states.len() {
            let at = self.slot(&self.states[place]);
            self.places[at] = u32::try_from(place + 1).unwrap();
        }
    }
}

/// Spreads the words of a state over one.
fn mixed(state: &Written) -> u64 {
    let mut mixed = 0_u64;
    for word in state {
        mixed = (mixed ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }
    mixed
}

/// Looks at everything within `scope`, with the protocol as it is or without one protection. Ends early
/// if a law is broken.
pub(crate) fn explore(scope: &Scope, without: Option<Protection>) -> Explored {
    let mut found = Found::new();
    let mut result = Explored {
        states: 0,
        steps: 0,
        depth: 0,
        seen: 0,
        names: BTreeSet::new(),
        broken: None,
    };
    let (mut next, mut steps) = (0, Vec::new());
    // How many steps that happen by themselves lead to each.
    let mut leads: Vec<u32> = vec![0];
    found.place(State::first(scope.memory).write(), 0, 0);
    while next < found.states.len() && result.broken.is_none() {
        let here = u32::try_from(next).unwrap();
        let (_, depth) = found.from[next];
        let state = State::read(found.states[next]);
        debug_assert_eq!(state.write(), found.states[next]);
        let moves = |steps| Moves {
            scope,
            without,
            steps,
        };
        steps.clear();
        moves(&mut steps).all(&state);
        result.steps += steps.len();
        let mut rests = true;
        for step in &steps {
            result.seen |= step.seen;
            let (place, new) = found.place(step.to.write(), here, depth + 1);
            if new {
                leads.push(0);
                result.names.insert(step.what);
                result.depth = depth + 1;
            }
            let own = step.sort == Sort::Own;
            rests &= !own;
            leads[place as usize] += u32::from(own);
            let by_step = step.broken.or_else(|| laws::broken_by(&state, &step.to));
            let broken = by_step.or_else(|| new.then(|| laws::broken(&step.to))?);
            if let Some(law) = broken {
                let way = way(&found, scope, without, here, step.to.write());
                result.broken = Some((law, way));
                break;
            }
        }
        if let Some(law) = laws::unfinished(&state).filter(|_| rests && result.broken.is_none()) {
            let way = way(&found, scope, without, here, found.states[next]);
            result.broken = Some((law, way));
        }
        next += 1;
    }
    result.states = found.states.len();
    if result.broken.is_none() && goes_round(&found, leads, scope, without) {
        result.broken = Some((laws::CIRCLE, String::new()));
    }
    result
}

/// Whether steps that happen by themselves can go on for ever: takes away, again and again, what no such
/// step leads to; what is left goes round.
fn goes_round(
    found: &Found,
    mut leads: Vec<u32>,
    scope: &Scope,
    without: Option<Protection>,
) -> bool {
    let mut free: Vec<usize> = (0..leads.len()).filter(|at| leads[*at] == 0).collect();
    let (mut left, mut steps) = (leads.len(), Vec::new());
    while let Some(at) = free.pop() {
        left -= 1;
        steps.clear();
        let state = State::read(found.states[at]);
        let mut moves = Moves {
            scope,
            without,
            steps: &mut steps,
        };
        moves.all(&state);
        for step in steps.iter().filter(|step| step.sort == Sort::Own) {
            let slot = found.slot(&step.to.write());
            let to = found.places[slot] as usize - 1;
            leads[to] -= 1;
            if leads[to] == 0 {
                free.push(to);
            }
        }
    }
    left > 0
}

/// The way to `last` by `place`, in words. Sidecars keep their numbers on it.
fn way(
    found: &Found,
    scope: &Scope,
    without: Option<Protection>,
    place: u32,
    last: Written,
) -> String {
    let mut path = vec![last];
    let mut place = place;
    while place != 0 {
        path.push(found.states[place as usize]);
        place = found.from[place as usize].0;
    }
    let (mut state, mut words) = (State::first(scope.memory), String::new());
    while let Some(next) = path.pop() {
        let mut steps = Vec::new();
        let mut moves = Moves {
            scope,
            without,
            steps: &mut steps,
        };
        moves.all(&state);
        let Some(step) = steps.iter().find(|step| step.to.write() == next) else {
            break;
        };
        let who = ["A", "B", "C", "-"][step.who];
        write!(words, "\n  {who} {}", step.what).unwrap();
        state = step.to;
    }
    words
}
