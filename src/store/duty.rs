//! Duties: jobs that one process at a time does for all that share a store.
//!
//! 1. A duty is taken for a while, taken again by its holder before that ends, and free afterwards: a
//!    holder that dies is relieved when its time is over.
//! 2. It spares work, it protects nothing: a holder that stood still for too long does the job beside
//!    its successor. What must not be done twice needs a fence of its own.
//! 3. Who is told that another has it is told for how long, and need not ask before.

use std::{fmt, sync::Arc, time::Duration};

use crate::base::ids::ProviderName;

/// A kind of job, named in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job(&'static str);

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

// === impl Job ===

impl Job {
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
    pub fn of(job: Job) -> Self {
        Self(job.0.into())
    }

    /// The part of `job` that concerns `provider`.
    pub fn at(job: Job, provider: &ProviderName) -> Self {
        Self(format!("{}:{provider}", job.0).into())
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

#[cfg(test)]
mod tests {
    use super::*;

    const SWEEP: Job = Job::new("keep-alive");

    #[test]
    fn a_duty_names_its_job_and_its_provider() {
        let provider = ProviderName::parse("calcom-eu").unwrap();
        assert_eq!(Duty::of(SWEEP).as_str(), "keep-alive");
        assert_eq!(Duty::at(SWEEP, &provider).as_str(), "keep-alive:calcom-eu");
    }
}
