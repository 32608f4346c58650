//! The one thread that writes: many operations, one durable commit.
//!
//! 1. Whatever is queued when the last commit returned goes into the next transaction, up to
//!    [`BATCH`] operations. Under load, one wait for the disk serves them all.
//! 2. Each operation has a savepoint: one that fails is undone alone.
//! 3. Nobody is answered before the commit returned. If it fails, everybody in it is told so.
//! 4. An operation that was queued is carried out, whether or not its caller still waits.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{desk::Desk, failure::Failure, schema};

/// Operations per transaction, at most. Beyond this the wait for the disk is well shared, and the
/// first of them should not wait for more.
const BATCH: usize = 256;

/// Operations that may queue before callers wait for room.
pub(super) const QUEUE: usize = 1024;

/// A queued operation.
pub(super) type Queued = Box<dyn Operation>;

/// Something to do within a transaction.
pub(super) trait Operation: Send {
    /// Does it; called once.
    fn run(&mut self, db: &Connection, desk: &Desk) -> Result<(), Failure>;

    /// Answers the caller: with what [`Self::run`] found if the transaction was committed.
    fn settle(self: Box<Self>, committed: Result<(), Failure>);
}

/// An operation whose caller waits for a `T`.
struct Asked<A, T> {
    act: Option<A>,
    outcome: Option<Result<T, Failure>>,
    answer: oneshot::Sender<Result<T, Failure>>,
}

/// Wraps `act` up for the queue, with the place where its answer arrives.
pub(super) fn asked<A, T>(act: A) -> (Queued, oneshot::Receiver<Result<T, Failure>>)
where
    A: FnOnce(&Connection, &Desk) -> Result<T, Failure> + Send + 'static,
    T: Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let operation = Asked {
        act: Some(act),
        outcome: None,
        answer,
    };
    (Box::new(operation), answered)
}

/// The thread's work: until the queue is closed and empty.
pub(super) fn write_all(
    db: Connection,
    desk: &Desk,
    mut queue: mpsc::Receiver<Queued>,
    changed: &Arc<Notify>,
) {
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        let committed = transact(&db, desk, &mut batch);
        for operation in batch {
            operation.settle(committed.clone());
        }
        // Also where that was undone: whoever looks finds nothing.
        if desk.take_noted() {
            changed.notify_waiters();
        }
    }
    if let Err((_db, error)) = db.close() {
        tracing::warn!(%error, "the store was not closed cleanly; nothing is lost");
    }
}

fn transact(db: &Connection, desk: &Desk, batch: &mut [Queued]) -> Result<(), Failure> {
    execute(db, "BEGIN IMMEDIATE")?;
    let done = schema::admits(db)
        .and_then(|()| run_each(db, desk, batch))
        .and_then(|()| execute(db, "COMMIT"));
    if done.is_err() && !db.is_autocommit() {
        execute(db, "ROLLBACK")?;
    }
    done
}

fn run_each(db: &Connection, desk: &Desk, batch: &mut [Queued]) -> Result<(), Failure> {
    for operation in batch {
        execute(db, "SAVEPOINT operation")?;
        if let Err(failure) = operation.run(db, desk) {
            // A full disk, for one, makes SQLite roll the whole transaction back by itself.
            if db.is_autocommit() {
                return Err(failure);
            }
            execute(db, "ROLLBACK TO operation")?;
        }
        execute(db, "RELEASE operation")?;
    }
    Ok(())
}

fn execute(db: &Connection, sql: &str) -> Result<(), Failure> {
    db.prepare_cached(sql)?.execute([])?;
    Ok(())
}

// === impl Asked ===

impl<A, T> Operation for Asked<A, T>
where
    A: FnOnce(&Connection, &Desk) -> Result<T, Failure> + Send,
    T: Send,
{
    fn run(&mut self, db: &Connection, desk: &Desk) -> Result<(), Failure> {
        let Some(act) = self.act.take() else {
            return Ok(());
        };
        let outcome = act(db, desk);
        let done = outcome.as_ref().map(|_| ()).map_err(Failure::clone);
        self.outcome = Some(outcome);
        done
    }

    fn settle(self: Box<Self>, committed: Result<(), Failure>) {
        let Self {
            outcome, answer, ..
        } = *self;
        let outcome = committed.and_then(|()| outcome.unwrap_or(Err(Failure::Ended)));
        // A caller that has left does not want to know.
        let _left = answer.send(outcome);
    }
}

#[cfg(test)]
mod tests;
