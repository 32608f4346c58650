//! Panics as log lines: each is a bug, and is to be seen wherever the log goes.
//!
//! A task that panics ends alone; the process goes on serving. The message is told only where it is
//! a constant: a formatted one may hold whatever the task held, a token too.

use std::panic::{self, PanicHookInfo};

/// Logs every panic from now on.
pub fn log_them() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(
            message = "panicked: this is a bug in Daypass",
            place = place.unwrap_or_default(),
            what = constant(panic).unwrap_or("not told, for it may hold a secret"),
        );
    }));
}

fn constant(panic: &PanicHookInfo<'_>) -> Option<&'static str> {
    panic.payload().downcast_ref::<&'static str>().copied()
}
