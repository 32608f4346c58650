//! What is wrong with a configuration, said so that it can be mended without asking.
//!
//! 1. Each finding says where (file and line, environment variable, flag), which key, and what was
//!    expected there.
//! 2. No finding repeats a value: the operator can look it up, and it may be a secret.

use std::{error::Error, fmt, path::PathBuf};

use serde::Serialize;

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Origin {
    /// A line of the configuration file.
    File {
        /// Which file.
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

// === impl Finding ===

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File { path, line } => write!(f, "{}:{line}", path.display())?,
            Origin::Environment { variable } => write!(f, "environment variable {variable}")?,
            Origin::Flag => f.write_str("command line")?,
            Origin::Unset => f.write_str("not set")?,
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
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
