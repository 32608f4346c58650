//! What the world of the model is at one moment.
//!
//! Pairs of tokens are numbers from 1, in the order in which the provider issued them; 0 is none. So is
//! everything else that is numbered.

/// How many sidecars there are.
pub(super) const SIDECARS: usize = 3;

/// How many pairs can be told apart.
pub(super) const PAIRS: usize = 6;

/// Where a flight is: what it does next, or what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// There is no flight.
    Idle,
    /// `load` was asked; the answer is in hand.
    Loaded,
    /// Takes the lease next.
    Acquire,
    /// Somebody else holds the lease.
    Waiting,
    /// Has the lease, and the connection as read under it.
    Leased,
    /// The intent is recorded.
    Begun,
    /// The refresh token is on its way.
    Sent,
    /// The provider has accepted it: the answer is on its way.
    Accepted,
    /// The provider has refused it: the answer is on its way.
    Denied,
    /// Has new tokens.
    Minted,
    /// The answer to the commit is in hand.
    Committed,
    /// The store took no commit.
    Spooling,
    /// Was refused, and looks at the store again.
    Looking,
    /// Was refused, and the store has nothing newer.
    Marking,
    /// Nothing was spent.
    Failing,
    /// Gives the lease back next.
    Releasing,
}

/// The status of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Not marked.
    None,
    /// `grant-refused`.
    Refused,
    /// `lost-rotation`.
    Lost,
}

/// A connection as the store has it, or as somebody has read it. `id` 0: there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: u8,
    pub(super) generation: u8,
    pub(super) pair: u8,
    pub(super) mark: Mark,
    /// Attempts whose end is not known.
    pub(super) attempts: u8,
}

/// A refresh token, and the access token that was issued with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Pair {
    /// The connection it was minted or connected for.
    pub(super) id: u8,
    /// The generation that it has, or would have, in the store.
    pub(super) generation: u8,
    /// What was redeemed for it.
    pub(super) parent: u8,
    /// The provider would accept it.
    pub(super) live: bool,
    /// Somebody has had it in an answer.
    pub(super) delivered: bool,
    /// Its user has connected anew, or disconnected, since.
    pub(super) replaced: bool,
    /// Who had it died before either of its two writes, or its machine died with the spool.
    pub(super) died: bool,
    /// Superseded by its user's reconnect, and forgotten.
    pub(super) let_go: bool,
}

/// One process, its flight, and its spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Sidecar {
    pub(super) at: At,
    /// The connection as the flight has read it.
    pub(super) read: Row,
    /// What the flight has minted, or is about to get.
    pub(super) new: u8,
    /// The flight is for something newer than this.
    pub(super) need: u8,
    pub(super) spool: u8,
    /// Holds the lease, says the store.
    pub(super) holds: bool,
    /// Holds the lease, says its own clock.
    pub(super) believes: bool,
    /// The token in memory.
    pub(super) memory: u8,
    /// Memory is to be read again before it is used.
    pub(super) stale: bool,
    /// News of a change is on its way.
    pub(super) told: bool,
    /// News has come since the flight asked the store.
    pub(super) overtaken: bool,
    /// What it reads because of the news: a pair, or [`NOTHING`].
    pub(super) feed: u8,
    /// News has come since that was asked.
    pub(super) feed_overtaken: bool,
}

/// The news was read, and the connection was gone.
pub(super) const NOTHING: u8 = 7;

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) row: Row,
    /// The lease is held by a flight that is no more.
    pub(super) orphan: bool,
    pub(super) sidecars: [Sidecar; SIDECARS],
    pub(super) pairs: [Pair; PAIRS],
    pub(super) issued: u8,
    /// Refresh tokens that are still on their way, sent by who waits no longer; a bit each.
    pub(super) late_requests: u8,
    /// Pairs whose commit the store has still to do, though nobody waits for it; a bit each.
    pub(super) late_commits: u8,
    /// The pair that the store has still to mark, though nobody waits for it, and as what.
    pub(super) late_mark: (u8, Mark),
    /// What went wrong so far.
    pub(super) faults: u8,
    /// How often the provider got a token that was spent.
    pub(super) wasted: u8,
    pub(super) connects: u8,
    pub(super) disconnects: u8,
    /// Connections so far.
    pub(super) ids: u8,
    /// Flights so far, if they are counted.
    pub(super) flights: u8,
}

impl Row {
    pub(super) const NONE: Self = Self {
        id: 0,
        generation: 0,
        pair: 0,
        mark: Mark::None,
        attempts: 0,
    };

    pub(super) const fn is_there(self) -> bool {
        self.id != 0
    }

    /// Whether a write that was read from `self` finds `now` as it was. Names of grants would tell nothing
    /// more: this store loses nothing, so it gives out each generation once.
    pub(super) const fn fences(self, now: Self) -> bool {
        self.id == now.id && self.generation == now.generation
    }
}

impl Pair {
    pub(super) const NONE: Self = Self {
        id: 0,
        generation: 0,
        parent: 0,
        live: false,
        delivered: false,
        replaced: false,
        died: false,
        let_go: false,
    };
}

impl Sidecar {
    pub(super) const IDLE: Self = Self {
        at: At::Idle,
        read: Row::NONE,
        new: 0,
        need: 0,
        spool: 0,
        holds: false,
        believes: false,
        memory: 0,
        stale: false,
        told: false,
        overtaken: false,
        feed: 0,
        feed_overtaken: false,
    };
}

impl State {
    /// One connection, with the first pair, and sidecars that have it in memory, if they have one.
    pub(super) fn first(memory: bool) -> Self {
        let mut first = Self {
            row: Row {
                id: 1,
                generation: 1,
                pair: 1,
                mark: Mark::None,
                attempts: 0,
            },
            orphan: false,
            sidecars: [Sidecar::IDLE; SIDECARS],
            pairs: [Pair::NONE; PAIRS],
            issued: 1,
            late_requests: 0,
            late_commits: 0,
            late_mark: (0, Mark::None),
            faults: 0,
            wasted: 0,
            connects: 0,
            disconnects: 0,
            ids: 1,
            flights: 0,
        };
        if memory {
            for car in &mut first.sidecars {
                car.memory = 1;
            }
        }
        *first.pair_mut(1) = Pair {
            id: 1,
            generation: 1,
            live: true,
            delivered: true,
            ..Pair::NONE
        };
        first
    }

    pub(super) fn pair(&self, number: u8) -> Pair {
        match number {
            0 => Pair::NONE,
            number => self.pairs[usize::from(number) - 1],
        }
    }

    pub(super) fn pair_mut(&mut self, number: u8) -> &mut Pair {
        &mut self.pairs[usize::from(number) - 1]
    }
}
