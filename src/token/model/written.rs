//! How a state is written down.
//!
//! 1. It takes five words, so that millions of states fit into memory, whole: no two are ever taken for
//!    one because of a hash.
//! 2. Sidecars are alike: two states that differ in the order of the sidecars only are one.

use super::state::{At, Mark, Pair, Row, Sidecar, State};

/// A state, written down.
pub(super) type Written = [u64; 5];

const AT: [At; 16] = [
    At::Idle,
    At::Loaded,
    At::Acquire,
    At::Waiting,
    At::Leased,
    At::Begun,
    At::Sent,
    At::Accepted,
    At::Denied,
    At::Minted,
    At::Committed,
    At::Spooling,
    At::Looking,
    At::Marking,
    At::Failing,
    At::Releasing,
];

const MARKS: [Mark; 4] = [Mark::None, Mark::Refused, Mark::Lost, Mark::None];

/// Writes small numbers into a word.
struct Pen {
    word: u64,
    used: u32,
}

impl Pen {
    const fn new() -> Self {
        Self { word: 0, used: 0 }
    }

    fn put(&mut self, value: u8, bits: u32) {
        debug_assert!(u32::from(value) < 1 << bits, "{value} in {bits} bits");
        self.word |= u64::from(value) << self.used;
        self.used += bits;
    }

    fn flag(&mut self, value: bool) {
        self.put(u8::from(value), 1);
    }

    fn row(&mut self, row: Row) {
        self.put(row.id, 2);
        self.put(row.generation, 3);
        self.put(row.pair, 3);
        self.put(row.mark as u8, 2);
        self.put(row.attempts, 3);
    }
}

/// Reads them back, in the same order.
struct Eye(u64);

impl Eye {
    /// The next `bits`, up to eight.
    const fn take(&mut self, bits: u32) -> u8 {
        let value = self.0.to_le_bytes()[0] & ((1 << bits) - 1);
        self.0 >>= bits;
        value
    }

    const fn flag(&mut self) -> bool {
        self.take(1) == 1
    }

    fn row(&mut self) -> Row {
        Row {
            id: self.take(2),
            generation: self.take(3),
            pair: self.take(3),
            mark: MARKS[usize::from(self.take(2))],
            attempts: self.take(3),
        }
    }
}

impl Sidecar {
    fn write(self) -> u64 {
        let mut pen = Pen::new();
        pen.put(self.at as u8, 4);
        pen.row(self.read);
        pen.put(self.new, 3);
        pen.put(self.need, 3);
        pen.put(self.spool, 3);
        pen.put(self.memory, 3);
        pen.put(self.feed, 3);
        for flag in [
            self.holds,
            self.believes,
            self.stale,
            self.told,
            self.overtaken,
            self.feed_overtaken,
        ] {
            pen.flag(flag);
        }
        pen.word
    }

    fn read(word: u64) -> Self {
        let mut eye = Eye(word);
        Self {
            at: AT[usize::from(eye.take(4))],
            read: eye.row(),
            new: eye.take(3),
            need: eye.take(3),
            spool: eye.take(3),
            memory: eye.take(3),
            feed: eye.take(3),
            holds: eye.flag(),
            believes: eye.flag(),
            stale: eye.flag(),
            told: eye.flag(),
            overtaken: eye.flag(),
            feed_overtaken: eye.flag(),
        }
    }
}

impl State {
    /// Writes it down, whatever the order of the sidecars.
    pub(super) fn write(&self) -> Written {
        let [a, b, c] = self.sidecars;
        let (mut a, mut b, mut c) = (a.write(), b.write(), c.write());
        if a > b {
            (a, b) = (b, a);
        }
        if b > c {
            (b, c) = (c, b);
        }
        if a > b {
            (a, b) = (b, a);
        }
        let (mut pairs, mut rest) = (Pen::new(), Pen::new());
        for pair in self.pairs {
            pairs.put(pair.id, 2);
            pairs.put(pair.generation, 3);
            pairs.put(pair.parent, 3);
            pairs.flag(pair.live);
            pairs.flag(pair.delivered);
            rest.flag(pair.replaced);
            rest.flag(pair.died);
            rest.flag(pair.let_go);
        }
        pairs.put(self.flights, 3);
        rest.row(self.row);
        rest.flag(self.orphan);
        rest.put(self.issued, 3);
        rest.put(self.late_requests, 6);
        rest.put(self.late_commits, 6);
        rest.put(self.late_mark.0, 3);
        rest.put(self.late_mark.1 as u8, 2);
        rest.put(self.faults, 3);
        rest.put(self.wasted, 3);
        rest.put(self.connects, 2);
        rest.put(self.disconnects, 2);
        rest.put(self.ids, 2);
        [a, b, c, pairs.word, rest.word]
    }

    /// Reads it back.
    pub(super) fn read(written: Written) -> Self {
        let [a, b, c, pairs, rest] = written;
        let (mut pairs, mut rest) = (Eye(pairs), Eye(rest));
        Self {
            sidecars: [Sidecar::read(a), Sidecar::read(b), Sidecar::read(c)],
            pairs: std::array::from_fn(|_| Pair {
                id: pairs.take(2),
                generation: pairs.take(3),
                parent: pairs.take(3),
                live: pairs.flag(),
                delivered: pairs.flag(),
                replaced: rest.flag(),
                died: rest.flag(),
                let_go: rest.flag(),
            }),
            flights: pairs.take(3),
            row: rest.row(),
            orphan: rest.flag(),
            issued: rest.take(3),
            late_requests: rest.take(6),
            late_commits: rest.take(6),
            late_mark: (rest.take(3), MARKS[usize::from(rest.take(2))]),
            faults: rest.take(3),
            wasted: rest.take(3),
            connects: rest.take(2),
            disconnects: rest.take(2),
            ids: rest.take(2),
        }
    }
}
