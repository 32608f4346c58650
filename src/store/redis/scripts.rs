//! The scripts, each sent by its digest, and loaded where the server does not know it.

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

/// A script that touches none.
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
script!(BEGIN, "begin.lua");
script!(COMMIT, "commit.lua");
script!(FAIL, "fail.lua");
script!(MARK, "mark.lua");
script!(RESTORE, "restore.lua");
plain!(DUE, "due.lua");
plain!(TELL, "tell.lua");
plain!(OPEN, "open.lua");
plain!(PROBE, "probe.lua");
plain!(REHEARSE, "rehearse.lua");
