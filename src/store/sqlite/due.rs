//! What waits for a time, when the clock was set back: nothing is due later than in the time that it was
//! put off for, and no claim lasts longer than it was made for.
//!
//! The clock is the machine's, which may have been wrong when a claim was made. What was then set shows by
//! its `since`, which lies in the future. An index has that, so that looking in vain is one step and writes
//! nothing.

use rusqlite::Connection as Db;

use super::failure::Failure;
use crate::base::clock::Timestamp;

/// At most so many at a time: whoever asks next does the others.
pub(super) const LINES: &str = "\
    UPDATE lines SET due_at = ?1 + (due_at - since), since = ?1 \
    WHERE user IN (SELECT user FROM lines INDEXED BY lines_by_since WHERE since > ?1 LIMIT 10000)";

pub(super) const JOBS: &str = "\
    UPDATE jobs SET due_at = ?1 + (due_at - since), wanted_at = ?1 + (wanted_at - since), since = ?1 \
    WHERE (kind, provider, user) IN (SELECT kind, provider, user FROM jobs INDEXED BY jobs_by_since \
        WHERE due_at IS NOT NULL AND since > ?1 LIMIT 10000)";

/// Counts from `now` what was set later than that, of what `sql` says: [`LINES`] or [`JOBS`].
pub(super) fn catch_up(db: &Db, sql: &str, now: Timestamp) -> Result<(), Failure> {
    db.prepare_cached(sql)?.execute([now.as_millis()])?;
    Ok(())
}
