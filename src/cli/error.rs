//! Why a command did not do what it was asked, for people and for programs.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde_json::{Value, json};

use crate::{app::StartError, config::Problems};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Error {
    /// The configuration is wrong.
    #[error("{0}")]
    Configuration(Problems),
    /// The command line asks for what there is not.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong, and the answer has said so.
    #[error("the configuration is wrong")]
    Told,
    /// Something could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no log.
    #[error("the log cannot be set up")]
    Log(#[from] crate::telemetry::log::Error),
    /// There is no usable key.
    #[error(transparent)]
    Keys(#[from] crate::app::KeysError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// There is no token.
    #[error(transparent)]
    Token(#[from] crate::token::Error),
    /// A connection could not be ended.
    #[error(transparent)]
    Connect(#[from] crate::connect::Error),
    /// Reading or writing failed.
    #[error("{what}")]
    Io {
        /// What was read or written.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It was done, and the answer is no.
    #[error("{0}")]
    Failed(String),
}

// === impl Error ===

impl Error {
    /// 2 if the configuration or the command line is wrong, else 1.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Configuration(_) | Self::Usage(_) | Self::Told => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        causes
    }

    fn as_json(&self) -> Value {
        match self {
            Self::Configuration(problems) => json!({
                "error": "the configuration is wrong",
                "problems": problems.problems,
                "warnings": problems.warnings,
            }),
            _ => json!({ "error": self.to_string(), "causes": self.causes() }),
        }
    }
}

/// Prints an error and what caused it: one line each, or one JSON object.
pub(super) fn explain(error: &Error, json: bool) -> io::Result<()> {
    let mut err = io::stderr().lock();
    if matches!(error, Error::Told) {
        return Ok(());
    }
    if json {
        return writeln!(err, "{:#}", error.as_json());
    }
    writeln!(err, "daypass: {error}")?;
    for cause in error.causes() {
        writeln!(err, "  because: {cause}")?;
    }
    Ok(())
}
