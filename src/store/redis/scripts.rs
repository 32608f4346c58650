//! The scripts, each sent by its digest, and loaded where the server does not know it.
//!
//! What several of them share is put before each: `prelude.lua` before those about connections,
//! `section.lua` and the section's own before those about what is kept beside them; and before either,
//! the schema that this version knows.

use std::sync::LazyLock;

use redis::Script;

use super::opening::SCHEMA;

/// A script that touches one connection, or several of one slot.
macro_rules! script {
    ($name:ident, $file:literal) => {
        #[doc = concat!("See `scripts/", $file, "`.")]
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(&format!(
                "local SCHEMA = {SCHEMA}\n{}{}",
                include_str!("scripts/prelude.lua"),
                include_str!(concat!("scripts/", $file))
            ))
        });
    };
}

/// A script about a section, with what it shares with others.
macro_rules! section {
    ($name:ident, $file:literal, $($shared:literal),+) => {
        #[doc = concat!("See `scripts/", $file, "`.")]
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            let shared = concat!(
                include_str!("scripts/section.lua"),
                $(include_str!(concat!("scripts/", $shared)),)+
                include_str!(concat!("scripts/", $file))
            );
            Script::new(&format!("local SCHEMA = {SCHEMA}\n{shared}"))
        });
    };
}

macro_rules! queue {
    ($name:ident, $file:literal) => {
        section!($name, $file, "claims.lua", "queue/queue.lua");
    };
}

macro_rules! jobs {
    ($name:ident, $file:literal) => {
        section!($name, $file, "claims.lua", "jobs/jobs.lua");
    };
}

macro_rules! meetings {
    ($name:ident, $file:literal) => {
        section!($name, $file, "meetings/meetings.lua");
    };
}

/// A script that shares nothing.
macro_rules! plain {
    ($name:ident, $file:literal) => {
        #[doc = concat!("See `scripts/", $file, "`.")]
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(include_str!(concat!("scripts/", $file))));
    };
}

script!(SAVE, "save.lua");
script!(REMOVE, "remove.lua");
script!(ACQUIRE, "acquire.lua");
script!(EXTEND, "extend.lua");
script!(RELEASE, "release.lua");
script!(TAKE_DUTY, "take_duty.lua");
script!(BEGIN, "begin.lua");
script!(COMMIT, "commit.lua");
script!(FAIL, "fail.lua");
script!(MARK, "mark.lua");
script!(IDENTIFY, "identify.lua");
script!(REINDEX, "reindex.lua");
script!(REINDEX_SOME, "reindex_some.lua");
plain!(OF_ACCOUNT, "of_account.lua");
plain!(MEND, "mend.lua");
script!(RESTORE, "restore.lua");
plain!(DUE, "due.lua");
plain!(TELL, "tell.lua");
plain!(OPEN, "open.lua");
plain!(PROBE, "probe.lua");
plain!(REHEARSE, "rehearse.lua");

plain!(RESEAL, "reseal.lua");

plain!(PUT, "records/put.lua");
plain!(TAKE, "records/take.lua");

queue!(ACCEPT, "queue/accept.lua");
queue!(CLAIM_LINES, "queue/claim.lua");
queue!(HOLD_LINE, "queue/hold.lua");
queue!(SETTLE, "queue/settle.lua");
queue!(REPLAY, "queue/replay.lua");
queue!(ADOPT, "queue/adopt.lua");
queue!(LIST_DELIVERIES, "queue/list.lua");
queue!(READ_DELIVERY, "queue/read.lua");
queue!(TALLY, "queue/tally.lua");
queue!(PRUNE_DELIVERIES, "queue/prune.lua");

jobs!(SCHEDULE, "jobs/schedule.lua");
jobs!(CLAIM_JOBS, "jobs/claim.lua");
jobs!(PROGRESS, "jobs/progress.lua");
jobs!(FINISH, "jobs/finish.lua");
jobs!(CANCEL, "jobs/cancel.lua");

meetings!(UPSERT_MEETINGS, "meetings/upsert.lua");
meetings!(LIST_MEETINGS, "meetings/list.lua");
meetings!(FORGET_MEETINGS, "meetings/forget.lua");
meetings!(PRUNE_MEETINGS, "meetings/prune.lua");
