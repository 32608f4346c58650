//! What came of an import, for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    cli::{
        import::{Entry, ImportRow, LineProblem},
        known,
    },
    config::Settings,
};

/// How many bad lines are told one by one. A file of a million of them is not worth a gigabyte.
const MAX_TOLD: usize = 1000;

/// What came of an import.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Nothing is written.
    pub(super) dry_run: bool,
    pub(super) created: usize,
    pub(super) replaced: usize,
    pub(super) unchanged: usize,
    pub(super) skipped: usize,
    /// Good lines of a dry run.
    pub(super) good: usize,
    pub(super) bad: usize,
    /// The first of them.
    pub(super) problems: Vec<LineProblem>,
}

// === impl Counts ===

impl Counts {
    /// Counts what is not to be imported; gives back what is.
    pub(super) fn sort(
        &mut self,
        entry: Result<Entry, LineProblem>,
        settings: &Settings,
    ) -> Option<ImportRow> {
        let problem = match entry {
            Ok(Entry::Row(row)) if known::is_provider(&row.provider, settings) => {
                return Some(row);
            }
            Ok(Entry::Row(row)) => LineProblem {
                line: row.line,
                reason: known::unknown(&row.provider, settings),
            },
            Ok(Entry::Skipped { .. }) => {
                self.skipped += 1;
                return None;
            }
            Err(problem) => problem,
        };
        self.bad += 1;
        if self.problems.len() < MAX_TOLD {
            self.problems.push(problem);
        }
        None
    }

    /// What was written.
    pub(super) fn as_line(&self) -> String {
        format!(
            "{} created, {} replaced, {} unchanged",
            self.created, self.replaced, self.unchanged
        )
    }

    /// For people: the figures, then the bad lines.
    pub(super) fn as_text(&self) -> String {
        let mut text = if self.dry_run {
            format!("Nothing was imported: {} good", self.good)
        } else {
            self.as_line()
        };
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            ", {} skipped (not active, or never connected), {} bad.",
            self.skipped, self.bad
        );
        for problem in &self.problems {
            let _written = writeln!(text, "  {problem}");
        }
        match self.bad - self.problems.len() {
            0 => {}
            untold => {
                let _written = writeln!(text, "  and {untold} more.");
            }
        }
        text
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        let problems: Vec<_> = self
            .problems
            .iter()
            .map(|problem| json!({ "line": problem.line, "reason": problem.reason }))
            .collect();
        let mut answer = json!({
            "dry_run": self.dry_run,
            "skipped": self.skipped,
            "bad": self.bad,
            "problems": problems,
        });
        let figures = if self.dry_run {
            vec![("good", self.good)]
        } else {
            vec![
                ("created", self.created),
                ("replaced", self.replaced),
                ("unchanged", self.unchanged),
            ]
        };
        if let Value::Object(fields) = &mut answer {
            fields.extend(
                figures
                    .into_iter()
                    .map(|(name, count)| (name.to_owned(), count.into())),
            );
        }
        answer
    }
}
