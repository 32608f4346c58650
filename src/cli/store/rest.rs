//! Whether stores are at rest: who serves from one writes a little to it every few seconds, which is felt.
//!
//! 1. Nobody is asked, for who does not answer may be paused, or cut off, and come back. It is waited for as
//!    long as two looks of a sidecar at its store are apart.
//! 2. Who is felt is told of at once, and not when the wait is over. What is waited for is said.

#![expect(
    clippy::future_not_send,
    reason = "a command runs on the thread that writes its answer"
)]

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::transfer::Transfer;
use crate::{
    cli::{Error, progress::rounded_up},
    store::{CHECKED_EVERY, Cursor},
};

/// Whoever serves is felt within this time.
pub(super) const REST: Duration = CHECKED_EVERY
    .saturating_mul(2)
    .saturating_add(Duration::from_secs(1));

/// Between two looks at whether somebody was felt.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The state of both stores at one moment, by which it shows whether anybody has used them since.
pub(super) struct Mark {
    at: Instant,
    pub(super) source: u64,
    target: u64,
    pub(super) cursor: Cursor,
}

// === impl Transfer ===

impl Transfer<'_, '_> {
    /// The state of both stores now.
    pub(super) async fn mark(&self) -> Result<Mark, Error> {
        Ok(Mark {
            at: Instant::now(),
            source: self.source.pulse().await?,
            target: self.target.pulse().await?,
            cursor: self.source.changes(None, Duration::ZERO).await?.cursor,
        })
    }

    /// Waits until whoever serves would have been felt since `mark`; refuses if somebody is.
    pub(super) async fn rest(&mut self, mark: &Mark) -> Result<(), Error> {
        let (source, target) = &self.names;
        let stores = format!("{source} or {target}");
        self.tell_of_wait(mark, &stores);
        self.must_be_unused(mark).await?;
        while self.waits(mark).await {
            self.must_be_unused(mark).await?;
        }
        let since = self
            .source
            .changes(Some(mark.cursor), Duration::ZERO)
            .await?;
        match since.keys {
            Some(keys) if keys.is_empty() => Ok(()),
            _ => Err(self.changed()),
        }
    }

    /// Waits likewise, for the source only; `false` as soon as somebody is felt there.
    pub(super) async fn source_rests(&mut self, mark: &Mark) -> Result<bool, Error> {
        let source = self.names.0.clone();
        self.tell_of_wait(mark, &source);
        while self.waits(mark).await {
            if self.source.pulse().await? != mark.source {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn changed(&self) -> Error {
        Error::Failed(format!(
            "connections of {} changed while they were copied, so something still uses it. Stop it and \
             run this again, which goes on from here; or run it with --follow",
            self.names.0,
        ))
    }

    /// Refuses if somebody has served from a store that is to be at rest since `mark`.
    pub(super) async fn must_be_unused(&self, mark: &Mark) -> Result<(), Error> {
        let (source, target) = &self.names;
        if self.target.pulse().await? != mark.target {
            return Err(Error::Failed(format!(
                "a sidecar serves from {target} already: tokens that it renews there would be renewed \
                 here, too, and one of both lost. Stop it, and run this again, which goes on from here",
            )));
        }
        if !self.rules.follow && self.source.pulse().await? != mark.source {
            return Err(Error::Failed(format!(
                "a sidecar serves from {source}: what it renews from now on would be lost. Stop every \
                 sidecar and run this again, which goes on from here; or run it with --follow, and \
                 stop them when all but the last changes are copied",
            )));
        }
        Ok(())
    }

    /// Says for whom it is waited, unless the work has taken long enough for everybody to be felt.
    fn tell_of_wait(&mut self, mark: &Mark, stores: &str) {
        let left = self.rules.rest.saturating_sub(mark.age());
        if left.is_zero() {
            return;
        }
        self.progress.say(&format!(
            "Waiting {} s for sidecars that may still serve from {stores}: each writes to its store every \
             {} s, so one that was not stopped shows by then.",
            rounded_up(left),
            CHECKED_EVERY.as_secs(),
        ));
        self.progress.begin_wait(left);
    }

    /// Waits a little; `false` if there is nothing left to wait for.
    async fn waits(&mut self, mark: &Mark) -> bool {
        let left = self.rules.rest.saturating_sub(mark.age());
        if left.is_zero() {
            self.progress.wait_on(left);
            return false;
        }
        sleep(left.min(LOOK_EVERY)).await;
        self.progress
            .wait_on(self.rules.rest.saturating_sub(mark.age()));
        true
    }
}

// === impl Mark ===

impl Mark {
    fn age(&self) -> Duration {
        Instant::now().saturating_duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_waited_long_enough_for_a_sidecar_that_missed_one_look() {
        assert!(REST > CHECKED_EVERY * 2);
    }
}
