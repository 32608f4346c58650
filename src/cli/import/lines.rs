//! Lines of bounded length, from any input.

use std::io::{self, BufRead, BufReader, Read};

use zeroize::Zeroizing;

use super::LineProblem;

/// The longest line that is kept, in bytes. Rows have a few kilobytes.
const MAX_LINE: usize = 1024 * 1024;

/// What UTF-8 files from some systems begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Splits an input into lines.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    number: u64,
}

/// One line, or several that a quoted field joins; without the last line end.
pub(super) struct Line {
    /// Of the first one, counted from 1.
    pub(super) number: u64,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// A line that could not be kept.
pub(super) struct LineFault {
    pub(super) problem: LineProblem,
    /// Whether nothing more can be read.
    pub(super) is_final: bool,
}

/// How reading one line ended.
enum Ended {
    AtLineEnd,
    AtInputEnd,
    TooLong,
}

// === impl Lines ===

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input: BufReader::new(input),
            number: 0,
        }
    }

    pub(super) fn next(&mut self) -> Option<Result<Line, LineFault>> {
        let mut bytes = Zeroizing::new(Vec::new());
        let ended = self.read(&mut bytes);
        let number = self.number;
        let fault = |reason: String, is_final| {
            let problem = LineProblem {
                line: number,
                reason,
            };
            Some(Err(LineFault { problem, is_final }))
        };
        match ended {
            Err(error) => fault(format!("cannot be read: {error}"), true),
            Ok(Ended::AtInputEnd) if bytes.is_empty() => None,
            Ok(Ended::TooLong) => fault("is longer than 1 MB".to_owned(), false),
            Ok(_) => {
                if number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
                    bytes.drain(..BYTE_ORDER_MARK.len());
                }
                Some(Ok(Line { number, bytes }))
            }
        }
    }

    /// Adds the next line to `line`; whether there was one.
    pub(super) fn join(&mut self, line: &mut Line) -> Result<bool, String> {
        match self.next() {
            None => Ok(false),
            Some(Err(fault)) => Err(fault.problem.reason),
            Some(Ok(next)) if line.bytes.len() + next.bytes.len() < MAX_LINE => {
                line.bytes.push(b'\n');
                line.bytes.extend_from_slice(&next.bytes);
                Ok(true)
            }
            Some(Ok(_)) => Err("a quoted field makes it longer than 1 MB".to_owned()),
        }
    }

    /// Reads up to the line end into `line`, or past it if the line is too long.
    fn read(&mut self, line: &mut Vec<u8>) -> io::Result<Ended> {
        self.number += 1;
        let mut kept = true;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or(chunk);
            let at_end = chunk.is_empty();
            kept = kept && line.len() + part.len() <= MAX_LINE;
            if kept {
                line.extend_from_slice(part);
            }
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() || at_end {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(match (kept, at_end) {
                    (false, _) => Ended::TooLong,
                    (true, true) => Ended::AtInputEnd,
                    (true, false) => Ended::AtLineEnd,
                });
            }
        }
    }
}

// === impl Line ===

impl Line {
    pub(super) fn is_blank(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }

    pub(super) fn text(&self) -> Result<&str, String> {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => Ok(text),
            Err(_) => Err("is not UTF-8".to_owned()),
        }
    }
}
