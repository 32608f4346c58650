//! Moving connections from one store to another.
//!
//! 1. The source is never written to. What the target has is only replaced by a later state of the same
//!    connection.
//! 2. Nothing is remembered elsewhere: what is left to do is what the stores differ in. So a run that
//!    was killed is repeated, and goes on from there.
//! 3. Nobody may serve from the target meanwhile, nor, unless it is followed, from the source: whoever
//!    serves is felt in the pulse ([`Archive::pulse`]), and whoever writes, in the feed of changes.
//! 4. It is done when both stores were gone through once more at rest, and every connection was found
//!    to be the same.

#![expect(
    clippy::future_not_send,
    reason = "a command runs on the thread that writes its answer"
)]

use std::time::Duration;

use futures_util::future::try_join_all;

use super::{
    odd::Odd,
    rest::Mark,
    walk::{PAGE, Pair, Standing, Walk},
};
use crate::{
    app::Signals,
    base::ids::ConnectionKey,
    cli::{Error, progress::Progress},
    store::{self, Archive, Changes, Cursor, Found, Record, Restored},
};

/// How long one question for changes waits.
const FOLLOW_FOR: Duration = Duration::from_secs(2);

/// What to do where the stores are not what was expected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Go on with the changes of a source that is in use, until told to stop.
    pub(super) follow: bool,
    /// Leave alone what is newer in the target, instead of refusing to begin.
    pub(super) keep_newer: bool,
    /// Remove from the target what the source does not have, instead of refusing to begin.
    pub(super) prune: bool,
    /// For how long nobody must be felt before a store counts as one that nobody serves from.
    pub(super) rest: Duration,
}

/// One migration.
pub(super) struct Transfer<'a, 'o> {
    pub(super) source: &'a dyn Archive,
    pub(super) target: &'a dyn Archive,
    /// As messages call them.
    pub(super) names: (String, String),
    pub(super) rules: Rules,
    pub(super) progress: Progress<'o>,
    pub(super) moved: Moved,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    /// Connections that were written, some perhaps more than once.
    pub(super) copied: u64,
    /// Connections that were removed from the target.
    pub(super) removed: u64,
}

/// What is to be written of some pairs.
#[derive(Default)]
struct Work {
    seen: usize,
    restore: Vec<Record>,
    remove: Vec<ConnectionKey>,
}

// === impl Transfer ===

impl Transfer<'_, '_> {
    /// Copies, until both stores are the same as far as is known; since when nobody may have used
    /// them.
    pub(super) async fn copy_all(&mut self, signals: &mut Signals) -> Result<Mark, Error> {
        let mark = self.mark().await?;
        let is_empty = count(self.target).await? == 0;
        if !is_empty {
            self.compare().await?;
        }
        self.copy(&mark, is_empty).await?;
        if self.rules.follow {
            return self.follow(&mark, signals).await;
        }
        Ok(mark)
    }

    /// Goes through both stores, and refuses to begin where something would be lost or mixed up.
    async fn compare(&mut self) -> Result<(), Error> {
        let total = count(self.source).await?;
        self.progress.begin("comparing", total);
        let mut walk = Walk::of(self.source, self.target);
        let (mut foreign, mut newer, mut broken) = (Odd::default(), Odd::default(), Odd::default());
        loop {
            let pairs = walk.next().await?;
            if pairs.is_empty() {
                break;
            }
            for pair in &pairs {
                match pair.standing() {
                    Standing::Extra | Standing::Other => foreign.add(pair),
                    Standing::Newer => newer.add(pair),
                    Standing::TargetBroken => broken.add(pair),
                    Standing::Same
                    | Standing::Missing
                    | Standing::Behind
                    | Standing::SourceBroken => {}
                }
            }
            self.progress.advance(pairs.len());
        }
        self.judge(&foreign, &newer, &broken)
    }

    fn judge(&self, foreign: &Odd, newer: &Odd, broken: &Odd) -> Result<(), Error> {
        let (source, target) = &self.names;
        if foreign.count > 0 && !self.rules.prune {
            return Err(Error::Failed(format!(
                "{target} has {foreign} that {source} does not have, so it is in use for something \
                 else; nothing was copied. Name another target, or remove what is only there with \
                 --prune",
            )));
        }
        if newer.count > 0 && !self.rules.keep_newer {
            return Err(Error::Failed(format!(
                "{target} has newer tokens than {source} for {newer}, so it has been in use since they \
                 were copied; nothing was copied. Migrate the other way round, or leave those as they \
                 are with --keep-newer",
            )));
        }
        if broken.count > 0 {
            return Err(Error::Failed(format!(
                "{target} has {broken} that cannot be read; nothing was copied. Remove them with \
                 `daypass connections revoke`, and run this again",
            )));
        }
        Ok(())
    }

    /// Goes through both stores, and writes what the target lacks.
    async fn copy(&mut self, mark: &Mark, is_empty: bool) -> Result<(), Error> {
        let total = count(self.source).await?;
        self.progress.begin("copying", total);
        let mut walk = if is_empty {
            Walk::into_empty(self.source, self.target)
        } else {
            Walk::of(self.source, self.target)
        };
        let mut pairs = walk.next().await?;
        while !pairs.is_empty() {
            let work = self.work(pairs);
            let seen = work.seen;
            // Written while the next ones are read.
            let (written, next) = tokio::join!(self.write(work), walk.next());
            self.moved.add(written?);
            pairs = next?;
            self.progress.advance(seen);
            self.must_be_unused(mark).await?;
        }
        Ok(())
    }

    /// Copies what changes in the source, until it is told to stop and the source is at rest.
    async fn follow(&mut self, mark: &Mark, signals: &mut Signals) -> Result<Mark, Error> {
        self.progress.say(&format!(
            "Following the changes of {}. Stop every sidecar, then end this with Ctrl-C or SIGTERM: \
             it copies the rest and verifies all of it.",
            self.names.0
        ));
        let mut cursor = mark.cursor;
        loop {
            let asked = self.source.changes(Some(cursor), FOLLOW_FOR);
            let Some(changes) = signals.unless(asked).await else {
                break;
            };
            cursor = self.catch_up(changes?, mark).await?;
        }
        loop {
            let mut mark = self.mark().await?;
            let Some(is_at_rest) = signals.unless(self.source_rests(&mark)).await else {
                return Err(Error::Failed(
                    "stopped by a second signal before all was verified; run this again, which goes \
                     on from here"
                        .to_owned(),
                ));
            };
            let is_at_rest = is_at_rest?;
            let changes = self.source.changes(Some(cursor), Duration::ZERO).await?;
            cursor = self.catch_up(changes, &mark).await?;
            if is_at_rest && self.source.pulse().await? == mark.source {
                // From here on it is a source at rest like any other.
                self.rules.follow = false;
                mark.cursor = cursor;
                return Ok(mark);
            }
            self.progress.say(&format!(
                "A sidecar still serves from {}: stop it. This goes on when it has stopped.",
                self.names.0
            ));
        }
    }

    /// Copies what changed; where to go on from.
    async fn catch_up(&mut self, changes: Changes, mark: &Mark) -> Result<Cursor, Error> {
        let Some(keys) = changes.keys else {
            self.progress
                .say("Too many changes at once to be told one by one: comparing everything.");
            self.copy(mark, false).await?;
            return Ok(changes.cursor);
        };
        for keys in keys.chunks(PAGE) {
            let pairs = try_join_all(keys.iter().map(async |key| {
                let (source, target) =
                    tokio::try_join!(self.source.record(key), self.target.record(key))?;
                Ok::<_, store::Error>(Pair { source, target })
            }));
            let work = self.work(pairs.await?);
            let done = self.write(work).await?;
            self.moved.add(done);
        }
        self.must_be_unused(mark).await?;
        Ok(changes.cursor)
    }

    fn work(&self, pairs: Vec<Pair>) -> Work {
        // What is only in the target was not there at the beginning, so the source had it meanwhile.
        let removes = self.rules.prune || self.rules.follow;
        let mut work = Work {
            seen: pairs.len(),
            ..Work::default()
        };
        for pair in pairs {
            match (pair.standing(), pair.source, pair.target) {
                (Standing::Missing | Standing::Behind, Some(Found::Whole { record, .. }), _) => {
                    work.restore.push(*record);
                }
                (Standing::Other, Some(Found::Whole { record, .. }), _) if removes => {
                    work.remove.push(record.connection.key.clone());
                    work.restore.push(*record);
                }
                (Standing::Extra, _, Some(found)) if removes => {
                    work.remove.push(found.key().clone());
                }
                _ => {}
            }
        }
        work
    }

    async fn write(&self, work: Work) -> Result<Moved, Error> {
        let mut moved = Moved::default();
        for key in &work.remove {
            let gone = self.target.remove(key).await?;
            moved.removed += u64::from(gone.is_some());
        }
        if !work.restore.is_empty() {
            let done = self.target.restore(work.restore).await?;
            let written = done.iter().filter(|done| **done == Restored::Written);
            moved.copied = u64::try_from(written.count()).unwrap_or(u64::MAX);
        }
        Ok(moved)
    }
}

/// How many connections there are.
pub(super) async fn count(store: &dyn Archive) -> Result<u64, store::Error> {
    let lines = store.census().await?;
    Ok(lines.iter().map(|line| line.count).sum())
}

/// So many connections, in words.
pub(super) fn some(count: u64) -> String {
    match count {
        1 => "1 connection".to_owned(),
        count => format!("{count} connections"),
    }
}

// === impl Moved ===

impl Moved {
    const fn add(&mut self, more: Self) {
        self.copied = self.copied.saturating_add(more.copied);
        self.removed = self.removed.saturating_add(more.removed);
    }
}
