//! Where settings come from: the environment, and the file.
//!
//! The only reader of the process's environment. Everything else is given an [`Environment`], which
//! tests fill themselves.
//!
//! The file is the first of: the one that was named, `DAYPASS_CONFIG`, `./daypass.toml`,
//! `/etc/daypass/daypass.toml`. A named one must exist; the usual places may be empty.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::problem::{Finding, Origin};

/// The variable that names the file.
pub const FILE_VARIABLE: &str = "DAYPASS_CONFIG";

/// Where a file is looked for when none is named.
const USUAL_PLACES: [&str; 2] = ["daypass.toml", "/etc/daypass/daypass.toml"];

/// Environment variables; those that are set but empty count as not set.
#[derive(Clone, Default)]
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Environment(BTreeMap<String, String>);

/// A configuration file that was read.
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) text: Zeroizing<String>,
}

// === impl Environment ===

impl Environment {
    /// What this process was started with. Variables that are not Unicode are left out.
    pub fn of_process() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one reader of the environment"
        )]
        let variables = std::env::vars_os();
        variables
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of `name`, unless it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// The names of all variables that are set and not empty.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let set = self.0.iter().filter(|(_, value)| !value.is_empty());
        set.map(|(name, _)| name.as_str())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let owned = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        Self(owned.collect())
    }
}

/// Finds and reads the file; `None` if none was named and the usual places are empty.
pub(super) fn find_file(
    named: Option<&Path>,
    environment: &Environment,
) -> Result<Option<SourceFile>, Finding> {
    if let Some(path) = named {
        return read(path)
            .map(Some)
            .map_err(|error| unreadable(path, &error, Origin::Flag));
    }
    if let Some(path) = environment.get(FILE_VARIABLE) {
        let variable = FILE_VARIABLE.to_owned();
        return read(Path::new(path)).map(Some).map_err(|error| {
            unreadable(Path::new(path), &error, Origin::Environment { variable })
        });
    }
    for place in USUAL_PLACES.map(Path::new) {
        match read(place) {
            Ok(file) => return Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = place.to_owned();
                return Err(unreadable(place, &error, Origin::File { path, line: 1 }));
            }
        }
    }
    Ok(None)
}

fn read(path: &Path) -> io::Result<SourceFile> {
    Ok(SourceFile {
        path: path.to_owned(),
        text: Zeroizing::new(fs::read_to_string(path)?),
    })
}

fn unreadable(path: &Path, error: &io::Error, origin: Origin) -> Finding {
    Finding {
        origin,
        key: String::new(),
        message: format!(
            "the configuration file {} cannot be read: {error}",
            path.display()
        ),
    }
}
