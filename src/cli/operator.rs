//! Who runs a command, for the audit.

use rustix::{process::getuid, system::uname};

use super::Error;
use crate::{
    admin::audit::{Actor, Fault, Via},
    config::Environment,
};

/// `user@host`, as far as the process can tell: whoever can run commands here can also lie about it.
pub(super) fn of(environment: &Environment) -> Actor {
    let mut names = ["USER", "LOGNAME"].into_iter();
    let user = names.find_map(|name| environment.get(name));
    let user = user.map_or_else(|| format!("uid-{}", getuid().as_raw()), ToOwned::to_owned);
    let host = uname().nodename().to_string_lossy().into_owned();
    Actor::new(Via::Cli, &format!("{user}@{host}"))
}

/// A command says at length what went wrong; the audit says that it did.
impl Fault for Error {
    fn word(&self) -> &'static str {
        "command-failed"
    }

    fn is_failure(&self) -> bool {
        true
    }
}
