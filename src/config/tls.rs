//! `[tls]`: whom to trust beside the platform's roots.

use std::path::PathBuf;

use super::section::Section;

pub(super) fn read(section: &Section<'_>) -> Option<PathBuf> {
    let ca_file = section.optional_path("ca_file")?;
    if !ca_file.is_file() {
        section.problem(
            "ca_file",
            format!("{} is not there, or not a file", ca_file.display()),
        );
        return None;
    }
    Some(ca_file)
}
