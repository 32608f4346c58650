//! `[tls]`: whom to trust beside the platform's roots.

use std::{path::PathBuf, sync::Arc};

use super::section::Section;
use crate::http::tls;

pub(super) fn read(section: &Section<'_>) -> Option<PathBuf> {
    let ca_file = section.optional_path("ca_file")?;
    if !ca_file.is_file() {
        section.problem(
            "ca_file",
            format!("{} is not there, or not a file", ca_file.display()),
        );
        return None;
    }
    let path = ca_file.clone();
    let take = move |pem: &str| tls::replace(&path, pem).map_err(|error| error.to_string());
    section.watch("ca_file", ca_file.clone(), Arc::new(take));
    Some(ca_file)
}
