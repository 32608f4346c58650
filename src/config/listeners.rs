//! The listeners together: no two may want the same address.

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
