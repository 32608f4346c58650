//! Duties: jobs that one process at a time does for all that share a store.
//!
//! 1. A duty is taken for a while, taken again by its holder before that ends, and free afterwards: a
//!    holder that dies is relieved when its time is over.
//! 2. It spares work, it protects nothing: a holder that stood still for too long does the job beside
//!    its successor. What must not be done twice needs a fence of its own.
//! 3. Who is told that another has it is told for how long, and need not ask before.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Error, SharedStore};
use crate::base::ids::{OwnerId, ProviderName};

/// A kind of job, named in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DutyKind(&'static str);

/// A job, or the part of it that concerns one provider.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duty(Arc<str>);

/// The answer to asking for a duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is the asker's for the time that was asked for.
    Mine,
    /// It is another's, for this long unless it is taken again or given back.
    Anothers(Duration),
}

/// What one process has to do with a duty: asks for it, keeps it, gives it back.
#[derive(Debug)]
pub struct Post {
    store: SharedStore,
    duty: Duty,
    owner: OwnerId,
    turn: Duration,
    /// Until when the duty is this process's, by its own clock.
    mine_until: Option<Instant>,
}

// === impl DutyKind ===

impl DutyKind {
    /// A job called `name`: 1–40 characters of `a`–`z` and `-`.
    ///
    /// # Panics
    ///
    /// With another name; in a constant, as it is meant, that does not compile.
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 40);
        let mut left = bytes;
        while let [first, rest @ ..] = left {
            assert!(first.is_ascii_lowercase() || *first == b'-');
            left = rest;
        }
        Self(name)
    }
}

// === impl Duty ===

impl Duty {
    /// All of `job`.
    pub fn of(kind: DutyKind) -> Self {
        Self(kind.0.into())
    }

    /// The part of `job` that concerns `provider`.
    pub fn at(kind: DutyKind, provider: &ProviderName) -> Self {
        Self(format!("{}:{provider}", kind.0).into())
    }

    /// As stores have it: `keep-alive:calcom`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Post ===

impl Post {
    /// For `duty`, to be taken in turns of this length: so long a holder that dies is missed. `owner`
    /// is nobody else's.
    pub const fn new(store: SharedStore, duty: Duty, owner: OwnerId, turn: Duration) -> Self {
        Self {
            store,
            duty,
            owner,
            turn,
            mine_until: None,
        }
    }

    /// Which duty it is.
    pub const fn duty(&self) -> &Duty {
        &self.duty
    }

    /// Whether the duty was this process's when it asked last.
    pub const fn is_mine(&self) -> bool {
        self.mine_until.is_some()
    }

    /// Takes the duty for a turn, if nobody else has it.
    pub async fn take(&mut self) -> Result<Turn, Error> {
        let asked = Instant::now();
        let was_mine = self.mine_until.take().is_some();
        let taken = self.store.take_duty(&self.duty, self.owner, self.turn);
        let turn = taken.await?;
        self.mine_until = (turn == Turn::Mine).then(|| asked + self.turn);
        if was_mine != self.is_mine() {
            tracing::debug!(duty = %self.duty, ?turn, "a duty changes hands");
        }
        Ok(turn)
    }

    /// Whether this process may go on with what takes long; takes the duty again when half of the
    /// turn is over.
    pub async fn goes_on(&mut self) -> Result<bool, Error> {
        let half = Instant::now() + self.turn / 2;
        match self.mine_until {
            Some(until) if half < until => Ok(true),
            _ => Ok(self.take().await? == Turn::Mine),
        }
    }

    /// Gives the duty back, so that whoever asks next gets it.
    pub async fn leave(&mut self) -> Result<(), Error> {
        if self.mine_until.take().is_some() {
            self.store.leave_duty(&self.duty, self.owner).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWEEP: DutyKind = DutyKind::new("keep-alive");

    #[test]
    fn a_duty_names_its_job_and_its_provider() {
        let provider = ProviderName::parse("calcom-eu").unwrap();
        assert_eq!(Duty::of(SWEEP).as_str(), "keep-alive");
        assert_eq!(Duty::at(SWEEP, &provider).as_str(), "keep-alive:calcom-eu");
    }
}
