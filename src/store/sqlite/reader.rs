//! A thread that reads, on a connection of its own: it waits for no writer.
//!
//! The connection is opened on the thread, at the same time as the rest of the process starts; if
//! that fails, each question tries again and is told why not.

use std::path::Path;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Options, failure::Failure, file, schema};

/// Questions that may queue before callers wait for room.
pub(super) const QUEUE: usize = 1024;

/// A queued question.
pub(super) type Question = Box<dyn FnOnce(Result<&Connection, Failure>) + Send>;

/// Wraps `ask` up for the queue, with the place where its answer arrives.
pub(super) fn question<A, T>(ask: A) -> (Question, oneshot::Receiver<Result<T, Failure>>)
where
    A: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    T: Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let question = Box::new(move |db: Result<&Connection, Failure>| {
        // A caller that has left does not want to know.
        let _left = answer.send(db.and_then(ask));
    });
    (question, answered)
}

/// The thread's work: until the queue is closed and empty.
pub(super) fn answer_all(path: &Path, options: &Options, mut queue: mpsc::Receiver<Question>) {
    let mut opened = file::open_reader(path, options);
    while let Some(question) = queue.blocking_recv() {
        if opened.is_err() {
            opened = file::open_reader(path, options);
        }
        let db = opened.as_ref().map_err(Failure::clone);
        question(db.and_then(|db| schema::admits(db).map(|()| db)));
    }
}
