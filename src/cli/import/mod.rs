//! Reads exported connections, one at a time, from JSON Lines or CSV of any length.
//!
//! 1. One object or record is one connection. Columns are known by name, whatever their case and
//!    underscores; unknown ones are ignored. See [`row`] for the names.
//! 2. A bad line is a [`LineProblem`], and reading goes on with the next one. Its text never repeats
//!    a value, which may be a token.
//! 3. A line may have a megabyte. What is longer is a problem and is passed over without being kept.
//! 4. A byte order mark, CRLF, empty lines and quoted CSV fields with line breaks are all fine.
//!
//! Nothing is written here, and no provider is asked: that is for the caller.

use std::{fmt, io::Read, time::Duration};

use thiserror::Error;

use self::{
    lines::{Line, Lines},
    record::Record,
};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ProviderName, UserId},
        secret::Secret,
    },
    provider::Account,
};

mod lines;
mod record;
pub mod row;
#[cfg(test)]
mod tests;
mod when;

/// How the input is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Found out from the first character: `{` begins JSON Lines.
    #[default]
    Auto,
    /// One JSON object a line.
    JsonLines,
    /// A header, then one record a line, separated by commas.
    Csv,
}

/// What the caller knows about the input.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How it is written.
    pub format: Format,
    /// The provider of rows that do not name theirs.
    pub provider: Option<ProviderName>,
}

/// One connection to import.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct ImportRow {
    /// The line it began on, counted from 1.
    pub line: u64,
    /// Which provider; not checked against the configuration.
    pub provider: ProviderName,
    /// Whose it is.
    pub user: UserId,
    /// The access token: visible ASCII.
    pub access: Option<Secret<String>>,
    /// The refresh token: visible ASCII.
    pub refresh: Option<Secret<String>>,
    /// When the access token ends, if the row says so.
    pub expiry: Option<Expiry>,
    /// Who the user is at the provider.
    pub account: Account,
    /// The granted scope.
    pub scope: Option<String>,
}

/// When an access token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// At this time.
    At(Timestamp),
    /// This long after the import.
    In(Duration),
}

/// What became of a readable line.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub enum Entry {
    /// To be imported.
    Row(ImportRow),
    /// Left out on purpose, such as a connection that is not active.
    Skipped {
        /// The line it began on.
        line: u64,
        /// Why.
        reason: &'static str,
    },
}

/// A line that cannot be imported. Whoever wrote the export is to blame, or whoever cut it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct LineProblem {
    /// Counted from 1.
    pub line: u64,
    /// What is wrong with it; never a value.
    pub reason: String,
}

/// Reads connections one after the other; ends after the last line, or at an error of the input.
pub struct Rows<R> {
    lines: Lines<R>,
    options: Options,
    format: Format,
    header: Option<Vec<String>>,
    done: bool,
}

// === impl Rows ===

impl<R: Read> Rows<R> {
    /// Reads from `input`, in small pieces.
    pub fn new(input: R, options: Options) -> Self {
        Self {
            lines: Lines::new(input),
            format: options.format,
            options,
            header: None,
            done: false,
        }
    }

    fn entry(&mut self, line: Line) -> Option<Result<Entry, LineProblem>> {
        let number = line.number;
        let record = match self.record(line) {
            Ok(record) => record?,
            Err(reason) => {
                return Some(Err(LineProblem {
                    line: number,
                    reason,
                }));
            }
        };
        let read = row::read(number, record, self.options.provider.as_ref());
        Some(read.map_err(|reason| LineProblem {
            line: number,
            reason,
        }))
    }

    /// The record of `line`; `None` for the header.
    fn record(&mut self, mut line: Line) -> Result<Option<Record>, String> {
        if self.format == Format::Auto {
            let json = line.bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
            self.format = if json { Format::JsonLines } else { Format::Csv };
        }
        if self.format == Format::JsonLines {
            return Record::of_json(line.text()?).map(Some);
        }
        while record::is_open(&line.bytes) {
            if !self.lines.join(&mut line)? {
                return Err("a quoted field has no end".to_owned());
            }
        }
        let fields = record::fields(line.text()?)?;
        if let Some(header) = &self.header {
            return Record::of_fields(header, fields).map(Some);
        }
        let header: Vec<String> = fields.iter().map(record::plain).collect();
        if !row::is_header(&header) {
            self.done = true;
            return Err(
                "the header has no column for the user: expected `user`, `user_id` or \
                        `userUlid` among its names"
                    .to_owned(),
            );
        }
        self.header = Some(header);
        Ok(None)
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = Result<Entry, LineProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            match self.lines.next()? {
                Ok(line) if line.is_blank() => {}
                Ok(line) => {
                    if let Some(entry) = self.entry(line) {
                        return Some(entry);
                    }
                }
                Err(fault) => {
                    self.done = fault.is_final;
                    return Some(Err(fault.problem));
                }
            }
        }
        None
    }
}

impl<R> fmt::Debug for Rows<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
