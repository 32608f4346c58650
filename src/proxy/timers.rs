//! Timers of one length, which hardly ever run out.
//!
//! To set a timer of the runtime and to take it back costs as much as routing a request. So one that is no
//! longer needed stays set and is lent again: it wakes too early then, and goes on for what is left. One
//! that lies idle may wake a task once for nothing.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};

/// How many lie idle at most. Each keeps a little memory of the task that had it last.
const IDLE: usize = 64;

/// Timers of one length; see the [module docs](self). Clones share the idle ones.
#[derive(Clone)]
pub(super) struct Timers {
    limit: Duration,
    idle: Arc<Mutex<Vec<Pin<Box<Sleep>>>>>,
}

/// One of them, running.
#[derive(Debug)]
pub(super) struct Timer {
    timers: Timers,
    due: Instant,
    /// Lent at the first poll: who need not wait needs none.
    sleep: Option<Pin<Box<Sleep>>>,
}

// === impl Timers ===

impl Timers {
    /// Timers that run out after `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            idle: Arc::default(),
        }
    }

    /// A timer that begins now.
    pub(super) fn begin(&self) -> Timer {
        Timer {
            timers: self.clone(),
            due: Instant::now() + self.limit,
            sleep: None,
        }
    }

    /// One that is set for `due` or earlier.
    fn lend(&self, due: Instant) -> Pin<Box<Sleep>> {
        let idle = self.idle.lock().pop();
        idle.unwrap_or_else(|| Box::pin(sleep_until(due)))
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

// === impl Timer ===

impl Timer {
    /// Ready when it has run out.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (timers, due) = (&self.timers, self.due);
        let sleep = self.sleep.get_or_insert_with(|| timers.lend(due));
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }

    /// Begins anew.
    pub(super) fn begin_anew(&mut self) {
        self.due = Instant::now() + self.timers.limit;
    }

    /// How long it runs.
    pub(super) const fn limit(&self) -> Duration {
        self.timers.limit
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(sleep) = self.sleep.take() else {
            return;
        };
        let mut idle = self.timers.idle.lock();
        if idle.len() < IDLE {
            idle.push(sleep);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{advance, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    async fn took(timer: &mut Timer) -> Duration {
        let since = Instant::now();
        poll_fn(|cx| timer.poll(cx)).await;
        Instant::now().saturating_duration_since(since)
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_lent_before_runs_as_long_as_a_new_one() {
        let timers = Timers::new(LIMIT);
        for before in [1, 29, 31, 100] {
            let mut first = timers.begin();
            let unused = timeout(Duration::from_millis(1), took(&mut first)).await;
            assert!(unused.is_err());
            drop(first);
            assert_eq!(timers.idle.lock().len(), 1);
            advance(Duration::from_secs(before)).await;
            let mut second = timers.begin();
            assert_eq!(took(&mut second).await, LIMIT, "{before} s later");
            assert!(timers.idle.lock().is_empty(), "it is the same one");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_begins_anew_runs_once_more() {
        let timers = Timers::new(LIMIT);
        let mut timer = timers.begin();
        assert_eq!(took(&mut timer).await, LIMIT);
        timer.begin_anew();
        assert_eq!(took(&mut timer).await, LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_lie_idle_and_no_more() {
        let timers = Timers::new(LIMIT);
        let mut all: Vec<Timer> = (0..2 * IDLE).map(|_| timers.begin()).collect();
        for timer in &mut all {
            assert!(timeout(Duration::ZERO, took(timer)).await.is_err());
        }
        drop(all);
        assert_eq!(timers.idle.lock().len(), IDLE);
    }
}
