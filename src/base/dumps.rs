//! What others may see of this process's memory: no core dump, no debugger of the same user.
//!
//! Linux only. Root still can, and whoever may load into the kernel; and what has been swapped out is on
//! the disk. Elsewhere nothing is done.

use std::io;

/// Forbids core dumps, and other processes of this user to look into this one, for as long as it runs.
///
/// With `PR_SET_DUMPABLE` off (prctl(2)) the kernel writes no dump, also where `core_pattern` is a program,
/// which no limit stops; and it gives `/proc/PID` to root, so that `mem`, `maps` and `environ` are closed
/// and nobody attaches (ptrace(2)). The limit (setrlimit(2)) says the same to whoever looks.
#[cfg(target_os = "linux")]
pub fn forbid() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// See above.
#[cfg(not(target_os = "linux"))]
pub const fn forbid() -> io::Result<()> {
    Ok(())
}
