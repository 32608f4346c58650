//! The feed: what changed, by whatever process, in the order in which this one learned of it.
//!
//! 1. The truth is the log in the database. [`Feed::apply`] takes what a look at it has shown.
//! 2. Entries become visible when their transaction commits, not in the order of their numbers. So
//!    each look begins at the *horizon*: the oldest transaction that was still running at the last
//!    one. What was seen beyond it is remembered by number, so that nothing is told twice.
//! 3. Notifications and writes of this process are told at once ([`Feed::tell`]), before the next
//!    look would find them.
//! 4. If entries beyond the horizon were dropped since the last look, or the server came back with an
//!    older state, then anything may have changed, and everybody is told so, once.
//!
//! A cursor is a place in this process's order.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_postgres::{Row, types::Type};

use super::{desk::Desk, failure::Failure, rows};
use crate::{
    base::ids::{ConnectionKey, ProviderName, UserId},
    store::{Changes, Cursor},
};

const LOOK: &str = "\
    SELECT now.xmin, now.pruned, now.min_reader, now.started, c.seq, c.xid, c.provider, c.user_id, \
        now.pruning \
    FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int8 AS xmin, \
            (SELECT pruned FROM daypass.feed) AS pruned, \
            (SELECT f.xmin::text::int8 FROM daypass.feed f) AS pruning, \
            (SELECT max(min_reader) FROM daypass.schema_versions) AS min_reader, \
            (extract(epoch FROM pg_postmaster_start_time()) * 1000)::int8 AS started) now \
    LEFT JOIN daypass.changes c ON c.xid >= coalesce($1, now.xmin) ORDER BY c.seq";

/// What this process knows of the log.
pub(super) struct Feed {
    keep: usize,
    state: Mutex<State>,
    /// One look at a time: their snapshots follow each other.
    looking: tokio::sync::Mutex<()>,
    /// Somebody was told something, or should look.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct State {
    /// `None` until the first look.
    horizon: Option<i64>,
    /// Which transaction had last dropped entries, at the last look.
    pruning: i64,
    /// Numbers and transactions of the entries beyond the horizon that were told.
    told: BTreeMap<i64, i64>,
    /// The newest keys told, oldest first.
    keys: VecDeque<ConnectionKey>,
    /// The cursor before the first of `keys`.
    first: u64,
    /// When the server was started, and how many connections had been lost, at the last look.
    server: (i64, u64),
    /// When the last look that did not fail was begun.
    looked: Option<Instant>,
    /// The last look failed.
    failed: bool,
    /// Notifications arrive.
    heard: bool,
    /// Something was announced without saying what.
    look: bool,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) seq: i64,
    pub(super) xid: i64,
    pub(super) key: ConnectionKey,
}

/// What a look has shown.
struct Seen {
    xmin: i64,
    pruned: i64,
    pruning: i64,
    server: (i64, u64),
    entries: Vec<Noted>,
}

// === impl Feed ===

impl Feed {
    pub(super) fn new(keep: u32) -> Self {
        Self {
            keep: usize::try_from(keep.max(1)).unwrap_or(usize::MAX),
            state: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// What was told after `cursor`; see [`Store::changes`](crate::store::Store::changes).
    pub(super) fn after(&self, cursor: Option<Cursor>) -> Changes {
        let state = self.state.lock();
        let keys = match cursor {
            None => Some(Vec::new()),
            Some(Cursor(at)) if at < state.first || at > state.end() => None,
            Some(Cursor(at)) => {
                let skip = usize::try_from(at.saturating_sub(state.first)).unwrap_or(usize::MAX);
                Some(each_once(state.keys.iter().skip(skip)))
            }
        };
        let cursor = Cursor(state.end());
        Changes { cursor, keys }
    }

    /// Takes an entry that a write or a notification brought.
    pub(super) fn tell(&self, entry: Noted) {
        if self.state.lock().tell(entry, self.keep) {
            self.changed.notify_waiters();
        }
    }

    /// Has whoever waits look at the log.
    pub(super) fn ask_for_look(&self) {
        self.state.lock().look = true;
        self.changed.notify_waiters();
    }

    /// Whether somebody asked for a look since the last call.
    pub(super) fn is_look_due(&self) -> bool {
        std::mem::take(&mut self.state.lock().look)
    }

    /// How long ago the log was looked at; for ever, if it never was or that failed.
    pub(super) fn looked_ago(&self) -> Duration {
        let state = self.state.lock();
        let looked = state.looked.filter(|_| !state.failed);
        looked.map_or(Duration::MAX, |at| {
            Instant::now().saturating_duration_since(at)
        })
    }

    /// Whether notifications arrive.
    pub(super) fn is_heard(&self) -> bool {
        self.state.lock().heard
    }

    pub(super) fn set_heard(&self, heard: bool) {
        self.state.lock().heard = heard;
    }

    fn apply(&self, seen: Seen) {
        let mut state = self.state.lock();
        let before = state.end();
        state.apply(seen, self.keep);
        if state.end() != before {
            self.changed.notify_waiters();
        }
    }
}

/// Looks at the log.
pub(super) async fn look(desk: &Desk) -> Result<(), Failure> {
    let _turn = desk.feed.looking.lock().await;
    let horizon = desk.feed.state.lock().horizon;
    let lost = desk.pool.lost();
    let begun = Instant::now();
    let rows = desk.query(LOOK, &[(&horizon, Type::INT8)]).await;
    let rows = rows.inspect_err(|_failure| desk.feed.state.lock().failed = true)?;
    let Some(row) = rows.first() else {
        return Err(Failure::Unfit("the server shows no state of its own"));
    };
    desk.asked_for(row.try_get(2)?)?;
    let entries: Result<Vec<_>, Failure> = rows
        .iter()
        .filter_map(|row| entry(row).transpose())
        .collect();
    desk.feed.apply(Seen {
        xmin: row.try_get(0)?,
        pruned: row.try_get(1)?,
        pruning: row.try_get(8)?,
        server: (row.try_get(3)?, lost),
        entries: entries?,
    });
    desk.feed.state.lock().looked = Some(begun);
    Ok(())
}

fn entry(row: &Row) -> Result<Option<Noted>, Failure> {
    let seq: Option<i64> = row.try_get(4)?;
    let Some(seq) = seq else {
        return Ok(None);
    };
    Ok(Some(Noted {
        seq,
        xid: row.try_get(5)?,
        key: rows::read_key(row, 6)?,
    }))
}

/// Without repetitions, each at the place of its last change.
fn each_once<'k>(keys: impl DoubleEndedIterator<Item = &'k ConnectionKey>) -> Vec<ConnectionKey> {
    let mut met = HashSet::new();
    let mut found: Vec<_> = keys.rev().filter(|key| met.insert(*key)).cloned().collect();
    found.reverse();
    found
}

// === impl State ===

impl State {
    fn end(&self) -> u64 {
        self.first
            .saturating_add(u64::try_from(self.keys.len()).unwrap_or(u64::MAX))
    }

    /// Whether that was news.
    fn tell(&mut self, entry: Noted, keep: usize) -> bool {
        // Before the horizon, everything has been seen.
        if self.horizon.is_none_or(|horizon| entry.xid < horizon) {
            return false;
        }
        if self.told.insert(entry.seq, entry.xid).is_some() {
            return false;
        }
        self.keys.push_back(entry.key);
        if self.keys.len() > keep {
            self.keys.pop_front();
            self.first = self.first.saturating_add(1);
        }
        true
    }

    fn apply(&mut self, seen: Seen, keep: usize) {
        let missed = match self.horizon {
            None => false,
            Some(horizon) => {
                self.failed
                    || seen.server != self.server
                    || seen.xmin < horizon
                    || (seen.pruning != self.pruning && seen.pruned >= horizon)
            }
        };
        if missed {
            self.first = self.end().saturating_add(1);
            self.keys.clear();
        }
        if missed || self.horizon.is_none() {
            self.told = seen
                .entries
                .iter()
                .map(|entry| (entry.seq, entry.xid))
                .collect();
        } else {
            for entry in seen.entries {
                self.tell(entry, keep);
            }
        }
        self.horizon = Some(seen.xmin);
        self.pruning = seen.pruning;
        self.told.retain(|_seq, xid| *xid >= seen.xmin);
        (self.server, self.failed) = (seen.server, false);
    }
}

// === impl Noted ===

impl Noted {
    /// As it is announced. Keys have no spaces.
    pub(super) fn line(&self) -> String {
        let (provider, user) = (&self.key.provider, &self.key.user);
        format!("{} {} {provider} {user}", self.seq, self.xid)
    }

    /// The reverse of [`Self::line`].
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let entry = Self {
            seq: words.next()?.parse().ok()?,
            xid: words.next()?.parse().ok()?,
            key: ConnectionKey {
                provider: ProviderName::parse(words.next()?).ok()?,
                user: UserId::parse(words.next()?).ok()?,
            },
        };
        words.next().is_none().then_some(entry)
    }
}

#[cfg(test)]
mod tests;
