//! Follows the framing of HTTP/1 requests through a connection, however its bytes arrive.
//!
//! Refused, because some parser would see other message borders than we do:
//!
//! 1. lines that end in LF alone; CR or NUL anywhere in a line;
//! 2. continued header lines (obs-fold), header lines without a colon, space in or after a name;
//! 3. `Content-Length` twice, even with equal values, or not plain digits;
//! 4. `Transfer-Encoding` twice, or anything but exactly `chunked`;
//! 5. both of them, in either order;
//! 6. `Host` twice;
//! 7. chunk sizes that are not plain hexadecimal, long chunk extensions, data not followed by CRLF;
//! 8. framing fields in trailers.
//!
//! Works line by line, so that how the bytes are split cannot make a difference. A line that is split
//! is put together first. One that is whole, as nearly all are, is searched once: its end is the first
//! byte of it that could be wrong.

use std::mem;

use memchr::{memchr, memchr2, memchr3};
use thiserror::Error;

/// What an HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest line of a head; below hyper's own limit for the whole.
const MAX_LINE: usize = 128 * 1024;
/// The longest chunk-size line, extensions included. Nobody is known to use those.
const MAX_CHUNK_LINE: usize = 512;
/// More digits than this would not fit a length.
const MAX_DIGITS: usize = 18;
const MAX_HEX_DIGITS: usize = 15;

/// Follows one connection; see the [module docs](self).
#[derive(Debug)]
pub(super) struct Scan {
    state: State,
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    framing: Framing,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Violation {
    #[error("a line ends in LF alone")]
    BareLf,
    #[error("a line has CR or NUL in it")]
    StrayControl,
    #[error("a line is too long")]
    LineTooLong,
    #[error("a header line is continued")]
    ObsFold,
    #[error("a header line has no proper name")]
    BadName,
    #[error("Content-Length is repeated or no number")]
    ContentLength,
    #[error("Transfer-Encoding is repeated or not chunked")]
    TransferEncoding,
    #[error("Content-Length and Transfer-Encoding are both given")]
    BothFramings,
    #[error("Host is repeated")]
    Host,
    #[error("a chunk is malformed")]
    Chunk,
    #[error("a trailer would change the framing")]
    Trailer,
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// Nothing has been said yet.
    Nothing,
    /// Within a request's head.
    Head,
    /// Within a request's body.
    Body,
    /// After one request, before another.
    Between,
    /// Not HTTP/1.
    Http2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of the HTTP/2 preface have arrived, and nothing else.
    Preface(usize),
    Http2,
    /// Before a request line; empty lines are skipped (RFC 9112 §2.2).
    Start,
    Headers,
    Sized(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkCr,
    ChunkLf,
    Trailers,
}

/// What the head so far says about the body.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    host: bool,
}

type Scanned = Result<(), Violation>;

// === impl Scan ===

impl Scan {
    /// At the beginning of a connection.
    pub(super) const fn new() -> Self {
        Self {
            state: State::Preface(0),
            partial: Vec::new(),
            framing: Framing {
                length: None,
                chunked: false,
                host: false,
            },
        }
    }

    /// Where the connection is now.
    pub(super) const fn within(&self) -> Within {
        match self.state {
            State::Preface(0) => Within::Nothing,
            State::Start if self.partial.is_empty() => Within::Between,
            State::Preface(_) | State::Headers | State::Start => Within::Head,
            State::Http2 => Within::Http2,
            _ => Within::Body,
        }
    }

    /// Looks at the next bytes. On a violation, tells which of them it became certain at.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(), (usize, Violation)> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = rest.len();
            match self.step(rest) {
                Ok(used) => rest = rest.get(used..).unwrap_or_default(),
                Err((used, violation)) => {
                    let at = bytes.len() - before + used.saturating_sub(1);
                    return Err((at.min(bytes.len() - 1), violation));
                }
            }
        }
        Ok(())
    }

    /// Consumes at least one byte of `bytes`, which are not empty, and tells how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, (usize, Violation)> {
        match self.state {
            State::Http2 => Ok(bytes.len()),
            State::Preface(matched) => Ok(self.preface(matched, bytes)),
            State::Sized(left) => Ok(self.skip(left, bytes, State::Sized, State::Start)),
            State::ChunkData(left) => Ok(self.skip(left, bytes, State::ChunkData, State::ChunkCr)),
            State::ChunkCr => self.expect(b'\r', bytes, State::ChunkLf),
            State::ChunkLf => self.expect(b'\n', bytes, State::ChunkSize),
            State::Start | State::Headers | State::ChunkSize | State::Trailers => self.line(bytes),
        }
    }

    fn preface(&mut self, matched: usize, bytes: &[u8]) -> usize {
        let expected = PREFACE.get(matched..).unwrap_or_default();
        let same = expected.iter().zip(bytes).take_while(|(a, b)| a == b);
        let same = same.count();
        if same == expected.len() {
            self.state = State::Http2;
        } else if same == bytes.len() {
            self.state = State::Preface(matched + same);
        } else {
            // HTTP/1 after all. What matched so far is no complete line, or hyper refuses it for its
            // version; either way it begins the first line.
            self.state = State::Start;
            let begun = PREFACE.get(..matched + same).unwrap_or_default();
            self.partial.extend_from_slice(begun);
        }
        same.max(usize::from(self.state == State::Http2))
    }

    fn skip(&mut self, left: u64, bytes: &[u8], more: fn(u64) -> State, end: State) -> usize {
        let available = bytes.len() as u64;
        if available < left {
            self.state = more(left - available);
            bytes.len()
        } else {
            self.state = end;
            usize::try_from(left).unwrap_or(bytes.len())
        }
    }

    fn expect(
        &mut self,
        wanted: u8,
        bytes: &[u8],
        next: State,
    ) -> Result<usize, (usize, Violation)> {
        if bytes.first() == Some(&wanted) {
            self.state = next;
            Ok(1)
        } else {
            Err((1, Violation::Chunk))
        }
    }

    fn line(&mut self, bytes: &[u8]) -> Result<usize, (usize, Violation)> {
        let (max, too_long) = match self.state {
            State::ChunkSize => (MAX_CHUNK_LINE, Violation::Chunk),
            _ => (MAX_LINE, Violation::LineTooLong),
        };
        if let Some(content) = self.clean_line(bytes, max) {
            let used = content.len() + 2;
            return self
                .content(content)
                .map(|()| used)
                .map_err(|violation| (used, violation));
        }
        let used = memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        if self.partial.len() + used > max {
            return Err((used, too_long));
        }
        let (part, _) = bytes.split_at_checked(used).unwrap_or((bytes, &[]));
        if part.last() != Some(&b'\n') {
            self.partial.extend_from_slice(part);
            return Ok(used);
        }
        let checked = if self.partial.is_empty() {
            self.whole_line(part)
        } else {
            let mut whole = mem::take(&mut self.partial);
            whole.extend_from_slice(part);
            self.whole_line(&whole)
        };
        match checked {
            Ok(()) => Ok(used),
            Err(violation) => Err((used, violation)),
        }
    }

    /// The line that `bytes` begin with, if it is whole, short enough, and has none of what is wrong in
    /// any line.
    fn clean_line<'a>(&self, bytes: &'a [u8], max: usize) -> Option<&'a [u8]> {
        let end = memchr3(b'\r', b'\n', 0, bytes).filter(|end| end + 2 <= max)?;
        let (content, after) = bytes.split_at_checked(end)?;
        (self.partial.is_empty() && after.starts_with(b"\r\n")).then_some(content)
    }

    fn whole_line(&mut self, line: &[u8]) -> Scanned {
        let content = line.strip_suffix(b"\r\n").ok_or(Violation::BareLf)?;
        if memchr2(b'\r', 0, content).is_some() {
            return Err(Violation::StrayControl);
        }
        self.content(content)
    }

    /// Looks at a line without its end, which has no control in it that must not be in one.
    fn content(&mut self, content: &[u8]) -> Scanned {
        match self.state {
            State::ChunkSize => self.chunk_size(content),
            State::Start if content.is_empty() => Ok(()),
            State::Start => {
                self.framing = Framing::default();
                self.state = State::Headers;
                Ok(())
            }
            State::Trailers if content.is_empty() => {
                self.state = State::Start;
                Ok(())
            }
            State::Trailers => trailer(content),
            _ if content.is_empty() => {
                self.state = self.framing.body();
                Ok(())
            }
            _ => self.framing.header(content),
        }
    }

    fn chunk_size(&mut self, line: &[u8]) -> Scanned {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let (digits, after) = line
            .split_at_checked(digits.count())
            .ok_or(Violation::Chunk)?;
        let plain = (1..=MAX_HEX_DIGITS).contains(&digits.len())
            && matches!(after.first(), None | Some(b';'));
        if !plain {
            return Err(Violation::Chunk);
        }
        let size = digits
            .iter()
            .filter_map(|digit| char::from(*digit).to_digit(16))
            .fold(0_u64, |size, digit| size << 4 | u64::from(digit));
        self.state = match size {
            0 => State::Trailers,
            size => State::ChunkData(size),
        };
        Ok(())
    }
}

// === impl Framing ===

impl Framing {
    fn body(&self) -> State {
        match (self.chunked, self.length) {
            (true, _) => State::ChunkSize,
            (false, None | Some(0)) => State::Start,
            (false, Some(length)) => State::Sized(length),
        }
    }

    fn header(&mut self, line: &[u8]) -> Scanned {
        let (name, value) = field(line)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") && mem::replace(&mut self.host, true) => {
                return Err(Violation::Host);
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.content_length(value.trim_ascii())?;
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::TransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        if self.chunked && self.length.is_some() {
            return Err(Violation::BothFramings);
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Scanned {
        let plain = (1..=MAX_DIGITS).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        if self.length.is_some() || !plain {
            return Err(Violation::ContentLength);
        }
        let number = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
        self.length = Some(value.iter().fold(0, number));
        Ok(())
    }
}

/// Name and value of a header line; the value with the space around it.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Violation::ObsFold);
    }
    // Names are short: looking at each byte costs less than to begin a search.
    let end = line
        .iter()
        .position(|byte| *byte <= b' ' || *byte == b':')
        .ok_or(Violation::BadName)?;
    match line.split_at_checked(end) {
        Some((name @ [_, ..], [b':', value @ ..])) => Ok((name, value)),
        _ => Err(Violation::BadName),
    }
}

fn trailer(line: &[u8]) -> Scanned {
    let (name, _) = field(line)?;
    let framing: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];
    if framing
        .iter()
        .any(|forbidden| name.eq_ignore_ascii_case(forbidden))
    {
        return Err(Violation::Trailer);
    }
    Ok(())
}
