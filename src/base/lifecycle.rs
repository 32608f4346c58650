//! The only spawner: everything that runs on its own was started here, and ends here.
//!
//! 1. Shutdown has two steps. *Drain*: take no new work, finish what was begun; a signal that tasks
//!    watch. *Stop*: whoever is still running is dropped where it waits. Before both, a process may
//!    *part*: it works as ever, and asks those it serves to look for another.
//! 2. A task that must finish whatever its callers do (a refresh whose answer may carry the only
//!    copy of a token) is spawned here and merely awaited by them.
//! 3. [`Lifecycle::drain`] waits for every task, up to a limit.
//! 4. A task is put in a box before it is spawned. What tokio has around a task is some kilobytes of
//!    code for each type of future and each kind of runtime; so it is there once for each type of result.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};
use tokio_util::task::TaskTracker;

use super::signal::Signal;

/// Starts tasks and sees them to their end. Clones share the same tasks and signals.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    tasks: TaskTracker,
    parting: Parting,
    draining: Signal,
    stopped: Signal,
}

/// Whether those who are served should look for another. Clones are one flag.
#[derive(Clone, Debug, Default)]
pub struct Parting(Arc<AtomicBool>);

/// A task of whatever type.
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every task ended by itself.
    Clean,
    /// Some were still running at the limit and were stopped.
    Cut,
}

// === impl Parting ===

impl Parting {
    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Lifecycle ===

impl Lifecycle {
    /// Starts with no task.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` to its end on the runtime, whoever drops the handle. `None` if it was stopped.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.spawn_boxed(Box::pin(task))
    }

    fn spawn_boxed<T: Send + 'static>(&self, task: Boxed<T>) -> JoinHandle<Option<T>> {
        self.tasks.spawn(self.stopped.until(task))
    }

    /// Runs `task` until it ends or the drain begins, whichever is first; for loops that wait for
    /// work. `task` may be dropped at any of its await points.
    pub fn spawn_until_drain<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.spawn(self.draining.until(task)));
    }

    /// Starts a named thread for blocking work. It is not waited for: its owner ends it.
    pub fn spawn_thread<F>(name: &str, body: F) -> io::Result<thread::JoinHandle<()>>
    where
        F: FnOnce() + Send + 'static,
    {
        thread::Builder::new().name(name.to_owned()).spawn(body)
    }

    /// Asks those who are served to look for another; everything works as ever.
    pub fn begin_parting(&self) {
        self.parting.0.store(true, Ordering::Relaxed);
    }

    /// Tells whether those who are served are asked to look for another.
    pub fn parting(&self) -> Parting {
        self.parting.clone()
    }

    /// Resolves when no new work should be taken.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + 'static {
        self.draining.wait()
    }

    /// Whether no new work should be taken.
    pub fn is_draining(&self) -> bool {
        self.draining.is_raised()
    }

    /// Resolves when unfinished work is dropped.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        self.stopped.wait()
    }

    /// Runs `task` beside the work that counts: a drain does not wait for it, and drops it at its end.
    /// For what serves others and has no end of its own, such as an idle connection.
    pub fn spawn_unwatched<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_unwatched_boxed(Box::pin(task));
    }

    fn spawn_unwatched_boxed(&self, task: Boxed<()>) {
        #[expect(clippy::disallowed_methods, reason = "the one owner of spawning")]
        drop(tokio::spawn(self.stopped.until(task)));
    }

    /// Drops every task where it waits, at once and for good: what a crash does, for tests.
    pub fn stop(&self) {
        self.stopped.raise();
    }

    /// Tells everyone to take no new work.
    pub fn begin_drain(&self) {
        self.begin_parting();
        self.draining.raise();
    }

    /// Drains: no new work, at most `limit` for the old, then the stop signal.
    pub async fn drain(&self, limit: Duration) -> Drained {
        self.begin_drain();
        self.tasks.close();
        let outcome = match timeout(limit, self.tasks.wait()).await {
            Ok(()) => Drained::Clean,
            Err(_) => Drained::Cut,
        };
        self.stopped.raise();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_work_that_was_begun() {
        let lifecycle = Lifecycle::new();
        let done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&done);
        drop(lifecycle.spawn(async move {
            sleep(Duration::from_secs(5)).await;
            flag.store(true, Ordering::SeqCst);
        }));
        assert_eq!(
            lifecycle.drain(Duration::from_secs(9)).await,
            Drained::Clean
        );
        assert!(done.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_is_cut_at_its_limit() {
        let lifecycle = Lifecycle::new();
        let task = lifecycle.spawn(sleep(Duration::from_hours(1)));
        assert_eq!(lifecycle.drain(Duration::from_secs(9)).await, Drained::Cut);
        assert_eq!(task.await.unwrap(), None, "it was stopped, not finished");
    }

    #[tokio::test(start_paused = true)]
    async fn loops_end_when_the_drain_begins() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn_until_drain(std::future::pending());
        assert_eq!(
            lifecycle.drain(Duration::from_secs(1)).await,
            Drained::Clean
        );
    }
}
