//! The connections of one origin that can take a request.
//!
//! 1. What was used last is used next, so that those that are too many grow old.
//! 2. Idle connections are closed after [`IDLE_TIMEOUT`]. That, and whether one has closed by itself, is
//!    looked for in rounds, a few seconds apart; no request reads a clock or starts a timer for it.
//! 3. A connection of HTTP/2 stays in the pool while it is used. When none has room there is another
//!    one, up to [`MAX_SHARED`]; beyond that, requests wait on the one with the fewest.
//! 4. A request that was refused on one takes another. Others go on to use it: that it refused one says
//!    nothing about the next.

use std::{mem, time::Duration};

use super::{
    http1::Http1,
    http2::{Http2, Slot, Which},
};

/// Below the 75 s after which common front ends close a quiet connection.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// How far two looks at the idle connections are apart.
pub(super) const ROUND: Duration = Duration::from_secs(5);
/// How many rounds make up [`IDLE_TIMEOUT`].
const ROUNDS: u32 = 12;
/// As many as requests can be under way by default.
const MAX_IDLE: usize = 1024;
/// With 64 streams on each, room for as many.
const MAX_SHARED: usize = 16;

/// See the [module docs](self).
#[derive(Default)]
pub(super) struct Pool {
    /// In the order of when they became idle.
    idle: Vec<Idle>,
    shared: Vec<Shared>,
    round: u32,
    /// Whether somebody goes the rounds.
    pub(super) is_watched: bool,
}

struct Idle {
    connection: Box<Http1>,
    /// The round in which it became idle.
    since: u32,
}

struct Shared {
    connection: Http2,
    ever_opened: usize,
    /// The last round in which it was used.
    used: u32,
}

/// What was taken out of the pool; dropped outside of its lock, because that closes sockets.
#[derive(Default)]
#[must_use = "drop it when the lock is free"]
pub(super) struct TakenOut(
    #[expect(dead_code, reason = "held until it is dropped")] (Vec<Idle>, Vec<Shared>),
);

// === impl Pool ===

impl Pool {
    /// The connection that was used last.
    pub(super) fn take_idle(&mut self) -> Option<Box<Http1>> {
        self.idle.pop().map(|idle| idle.connection)
    }

    /// Keeps an idle connection for the next request; gives it back if there are too many.
    pub(super) fn put_back(&mut self, connection: Box<Http1>) -> Option<Box<Http1>> {
        if self.idle.len() >= MAX_IDLE {
            return Some(connection);
        }
        let since = self.round;
        self.idle.push(Idle { connection, since });
        None
    }

    /// Shares `connection`, and takes the first place on it.
    pub(super) fn share(&mut self, connection: Http2) -> Slot {
        let mut others = self.shared.iter().map(|shared| &shared.connection);
        if let Some(other) = others.find(|other| other.allowed_streams() > 0) {
            connection.expect_allowed(other.allowed_streams());
        }
        let slot = connection.slot();
        self.shared.push(Shared {
            connection,
            ever_opened: 0,
            used: self.round,
        });
        slot
    }

    /// A place on a connection with room that is not the one to `avoid`; `None` if a new connection is
    /// the better way.
    pub(super) fn slot(&mut self, avoid: Option<&Which>) -> Option<Slot> {
        self.shared.retain(|shared| !shared.connection.has_ended());
        let others = || {
            let shared = self.shared.iter().map(|shared| &shared.connection);
            shared.filter(|connection| !avoid.is_some_and(|which| which.is(connection)))
        };
        if let Some(connection) = others().find(|connection| connection.has_room()) {
            return Some(connection.slot());
        }
        if self.shared.len() < MAX_SHARED {
            return None;
        }
        let emptiest = others().min_by_key(|connection| connection.open_streams());
        emptiest.map(Http2::slot)
    }

    /// One round: takes out what has ended, and what was idle for too long.
    pub(super) fn go_round(&mut self) -> TakenOut {
        self.round = self.round.wrapping_add(1);
        let round = self.round;
        let is_old = |since: u32| round.wrapping_sub(since) > ROUNDS;
        let ended = self.idle.extract_if(.., |idle| {
            idle.connection.look();
            !idle.connection.is_idle() || is_old(idle.since)
        });
        let ended = ended.collect();
        let unused = self.shared.extract_if(.., |shared| {
            let ever_opened = shared.connection.ever_opened();
            let is_used = shared.connection.open_streams() > 0;
            if is_used || mem::replace(&mut shared.ever_opened, ever_opened) != ever_opened {
                shared.used = round;
            }
            shared.connection.has_ended() || is_old(shared.used)
        });
        TakenOut((ended, unused.collect()))
    }

    /// Whether there is nothing to go the rounds for.
    pub(super) const fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.shared.is_empty()
    }
}
