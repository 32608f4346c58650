//! `daypass openapi`: the description of the API for operators, for those who make programs from it.

use std::io::Write;

use super::{Outcome, write};
use crate::admin;

/// Writes the document, which is JSON with and without `--json`.
pub(super) fn run(out: &mut dyn Write) -> Outcome {
    write(out, admin::description())
}
