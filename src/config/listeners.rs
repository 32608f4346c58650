//! Where listeners listen: how an address is written, and that no two want the same one.

use std::{borrow::Cow, net::SocketAddr, path::PathBuf};

use http::Uri;

use super::section::Section;
use crate::http::Listen;

/// Checks the `listen` of a section against those of sections that were read before.
pub(super) fn check(section: &Section<'_>, listen: &Listen, taken: &[(&str, Option<Listen>)]) {
    if matches!(listen, Listen::Tcp(address) if address.port() == 0) {
        return;
    }
    for (key, other) in taken {
        if other.as_ref() == Some(listen) {
            section.problem("listen", format!("is the same address as {key}"));
        }
    }
}

/// Reads `address:port`, `localhost:port` or `unix:/path`.
pub(super) fn parse(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.strip_prefix('/') {
            Some(rest) if !rest.is_empty() => Ok(Listen::Unix(PathBuf::from(path))),
            _ => Err("a unix socket needs an absolute path: \"unix:/run/daypass.sock\"".to_owned()),
        };
    }
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => Cow::Owned(format!("127.0.0.1:{port}")),
        None => Cow::Borrowed(text),
    };
    match numeric.parse::<SocketAddr>() {
        Ok(address) => Ok(Listen::Tcp(address)),
        Err(_) if numeric.parse::<Uri>().is_ok_and(|uri| uri.port().is_some()) => Err(
            "host names are not looked up here: expected a numeric address such as \
             \"127.0.0.1:7420\", \"[::]:7420\" or \"unix:/run/daypass.sock\""
                .to_owned(),
        ),
        Err(_) => Err(
            "expected an address and a port such as \"127.0.0.1:7420\", or \
             \"unix:/run/daypass.sock\""
                .to_owned(),
        ),
    }
}
