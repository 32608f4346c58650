//! Lets hyper start its connection tasks through [`Lifecycle`], so that a drain waits for them.

use std::future::Future;

use crate::base::lifecycle::Lifecycle;

/// Spawns on behalf of hyper.
#[derive(Clone, Debug)]
pub(super) struct Executor(pub(super) Lifecycle);

// === impl Executor ===

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, task: F) {
        drop(self.0.spawn(task));
    }
}
