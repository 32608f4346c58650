//! What a check has found, and how it is told.

use serde::Serialize;
use serde_json::{Value, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Warning,
    /// It does not work, or users will be lost.
    Error,
}

/// One thing that was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    /// By which check.
    pub(super) check: &'static str,
    pub(super) severity: Severity,
    /// How it is.
    pub(super) what: String,
    /// What comes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mend: Option<String>,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Finding>);

// === impl Finding ===

impl Finding {
    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            check,
            severity: Severity::Ok,
            what: what.into(),
            why: None,
            mend: None,
        }
    }

    pub(super) fn warning(
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            why: Some(why.into()),
            mend: Some(mend.into()),
            ..Self::ok(check, what)
        }
    }

    pub(super) fn error(
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            ..Self::warning(check, what, why, mend)
        }
    }
}

// === impl Severity ===

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

// === impl Report ===

impl Report {
    pub(super) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.0.extend(findings);
    }

    /// How many findings are this bad.
    pub(super) fn count(&self, severity: Severity) -> usize {
        let found = self.0.iter().filter(|found| found.severity == severity);
        found.count()
    }

    /// For people: a line for each finding, below it why it matters and how to mend it.
    pub(super) fn as_text(&self) -> String {
        let mut text = String::new();
        for finding in &self.0 {
            let Finding {
                check,
                severity,
                what,
                why,
                mend,
            } = finding;
            let severity = severity.as_str();
            text = format!("{text}{severity:<8} {check:<14} {what}\n");
            for (name, more) in [("why", why), ("mend", mend)] {
                if let Some(more) = more {
                    let indent = "";
                    text = format!("{text}{indent:<23} {name}: {more}\n");
                }
            }
        }
        text
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        let worst = self.0.iter().map(|finding| finding.severity).max();
        json!({
            "verdict": worst.unwrap_or(Severity::Ok).as_str(),
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "findings": self.0,
        })
    }
}
