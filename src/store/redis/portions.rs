//! Work that is done in portions, so that no script keeps the server for long.

/// How much one script changes or looks at: a few milliseconds of the server's time.
pub(super) const PORTION: usize = 200;

/// Goes on until the limit, or until a step finds less to do than it might have done.
#[derive(Debug)]
pub(super) struct Portions {
    limit: usize,
    done: u64,
    /// How much the step under way may do; zero once nothing is left.
    most: usize,
}

// === impl Portions ===

impl Portions {
    pub(super) const fn up_to(limit: usize) -> Self {
        Self {
            limit,
            done: 0,
            most: PORTION,
        }
    }

    /// How much the next step may do.
    pub(super) fn next(&mut self) -> Option<usize> {
        let done = usize::try_from(self.done).unwrap_or(usize::MAX);
        self.most = self.most.min(self.limit.saturating_sub(done));
        (self.most > 0).then_some(self.most)
    }

    /// Notes how much it did.
    pub(super) fn add(&mut self, count: u64) {
        self.done = self.done.saturating_add(count);
        if usize::try_from(count).is_ok_and(|count| count < self.most) {
            self.most = 0;
        }
    }

    pub(super) const fn done(&self) -> u64 {
        self.done
    }
}
