//! What is due at a time, when the clock was set back: nothing is due later than in the time that it
//! was put off for, and no claim lasts longer than it was made for.
//!
//! The clock is the machine's, which may have been wrong when a claim was made. Looking costs a reading
//! of all lines and jobs, so it is done when the clock shows less than it did, and once at first.

use rusqlite::Connection as Db;

use super::{desk::Desk, failure::Failure};
use crate::base::clock::Timestamp;

/// Does nothing unless the clock was set back.
pub(super) fn catch_up(db: &Db, desk: &Desk, now: Timestamp) -> Result<(), Failure> {
    if !desk.was_set_back(now) {
        return Ok(());
    }
    for sql in [
        "UPDATE lines SET due_at = ?1 + (due_at - since), since = ?1 WHERE since > ?1",
        "UPDATE jobs SET due_at = ?1 + (due_at - since), since = ?1 WHERE since > ?1",
    ] {
        db.prepare_cached(sql)?.execute([now.as_millis()])?;
    }
    Ok(())
}
