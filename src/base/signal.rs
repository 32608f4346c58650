//! Something that happens once and that many wait for beside other work.
//!
//! A connection's task is woken several times a request and would ask each time whether the drain has
//! begun. Asking a `CancellationToken` takes the one lock that all of its waiters share; here, asking
//! again is a look at a flag.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Clones are one signal.
#[derive(Clone, Debug, Default)]
pub(super) struct Signal {
    raised: Arc<AtomicBool>,
    token: CancellationToken,
}

pin_project! {
    /// Resolves when the signal is raised.
    pub(super) struct Raised {
        flag: Arc<AtomicBool>,
        // Who is woken by `waiting`.
        waker: Option<Waker>,
        #[pin]
        waiting: WaitForCancellationFutureOwned,
    }
}

pin_project! {
    /// Runs a future until the signal is raised: `None` if it was first.
    pub(super) struct Until<F> {
        #[pin]
        raised: Raised,
        #[pin]
        task: F,
    }
}

// === impl Signal ===

impl Signal {
    /// Raises it; raising it again changes nothing.
    pub(super) fn raise(&self) {
        // Before anybody is woken, so that whoever is woken sees it.
        self.raised.store(true, Ordering::Release);
        self.token.cancel();
    }

    pub(super) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    pub(super) fn wait(&self) -> Raised {
        Raised {
            flag: Arc::clone(&self.raised),
            waker: None,
            waiting: self.token.clone().cancelled_owned(),
        }
    }

    /// Drops `task` where it waits when the signal is raised.
    pub(super) fn until<F: Future>(&self, task: F) -> Until<F> {
        Until {
            raised: self.wait(),
            task,
        }
    }
}

// === impl Raised ===

impl Future for Raised {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let known = this
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        if known && !this.flag.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        if !known {
            *this.waker = Some(cx.waker().clone());
        }
        this.waiting.poll(cx)
    }
}

impl fmt::Debug for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raised").finish_non_exhaustive()
    }
}

// === impl Until ===

impl<F: Future> Future for Until<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The task first: what is done must not count as stopped.
        if let Poll::Ready(output) = this.task.poll(cx) {
            return Poll::Ready(Some(output));
        }
        this.raised.poll(cx).map(|()| None)
    }
}

impl<F> fmt::Debug for Until<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Until").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio_test::{assert_pending, assert_ready, assert_ready_eq, task};

    use super::*;

    #[test]
    fn whoever_waits_is_woken() {
        let signal = Signal::default();
        let mut waiting = task::spawn(signal.wait());
        assert_pending!(waiting.poll());
        assert_pending!(waiting.poll());
        assert!(!signal.is_raised());
        signal.raise();
        assert!(waiting.is_woken() && signal.is_raised());
        assert_ready!(waiting.poll());
        assert_ready!(task::spawn(signal.wait()).poll());
    }

    #[test]
    fn the_one_who_asked_last_is_woken() {
        let signal = Signal::default();
        let mut raised = Box::pin(signal.wait());
        assert_pending!(task::spawn(raised.as_mut()).poll());
        let mut second = task::spawn(raised.as_mut());
        assert_pending!(second.poll());
        signal.raise();
        assert!(second.is_woken());
        assert_ready!(second.poll());
    }

    #[test]
    fn a_task_runs_until_the_signal() {
        let signal = Signal::default();
        let mut running = task::spawn(signal.until(pending::<u8>()));
        assert_pending!(running.poll());
        signal.raise();
        assert!(running.is_woken());
        assert_ready_eq!(running.poll(), None);
        let mut done = task::spawn(signal.until(async { 7 }));
        assert_ready_eq!(done.poll(), Some(7));
    }
}
