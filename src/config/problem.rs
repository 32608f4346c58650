//! What is wrong with a configuration, said so that it can be mended without asking.
//!
//! 1. Each finding says where (file and line, environment variable, flag), which key, and what was
//!    expected there.
//! 2. No finding repeats a value: the operator can look it up, and it may be a secret.

use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Origin {
    /// A line of the configuration file.
    File {
        /// Which file.
        #[serde(serialize_with = "shown")]
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag of the command line.
    Flag,
    /// Nowhere: the key is not set.
    Unset,
}

/// One thing that is wrong, or looks wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where it is.
    #[serde(flatten)]
    pub origin: Origin,
    /// The dotted path of the key, such as `refresh.buffer`; empty if it is about the whole file.
    pub key: String,
    /// What is wrong, and what was expected.
    pub message: String,
}

/// Why a configuration is refused: everything at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// What must be mended; never empty.
    pub problems: Vec<Finding>,
    /// What looks wrong beside it.
    pub warnings: Vec<Finding>,
}

/// As people see it: a path need not be Unicode, but JSON is.
fn shown<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

// === impl Finding ===

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.origin {
            Origin::File { path, line } => format!("{}:{line}", path.display()),
            Origin::Environment { variable } => format!("environment variable {variable}"),
            Origin::Flag => "command line".to_owned(),
            Origin::Unset => "not set".to_owned(),
        };
        match (&self.origin, self.key.as_str()) {
            (_, "") => f.write_str(&place)?,
            (Origin::Unset, key) => write!(f, "{key} ({place})")?,
            (_, key) => write!(f, "{place}: {key}")?,
        }
        write!(f, "\n    {}", self.message)
    }
}

// === impl Problems ===

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("the configuration has 1 problem")?,
            count => write!(f, "the configuration has {count} problems")?,
        }
        for problem in &self.problems {
            write!(f, "\n\n  {problem}")?;
        }
        for warning in &self.warnings {
            write!(f, "\n\n  warning: {warning}")?;
        }
        Ok(())
    }
}

impl Error for Problems {}
