//! How the fields of a text line are written where nobody sees colours.
//!
//! Byte for byte what the library's own formatter writes, which sends every value through three
//! layers of formatting: half of what a line of the access log costs. Numbers, booleans and harmless
//! text are written straight; everything else, and so all escaping, is left to the library.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput},
    fmt::{
        FormatFields,
        format::{DefaultVisitor, Writer},
    },
};

/// Writes fields; see the [module docs](self).
#[derive(Clone, Copy, Debug)]
pub(super) struct PlainFields;

struct Plain<'writer> {
    writer: Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl<'writer> FormatFields<'writer> for PlainFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut plain = Plain {
            writer,
            first: true,
            result: Ok(()),
        };
        fields.record(&mut plain);
        plain.result
    }
}

// === impl Plain ===

impl Plain<'_> {
    /// Whether a field is written as its name, `=` and its value. The others mean something.
    fn is_plain(field: &Field) -> bool {
        let name = field.name();
        name != "message" && !name.starts_with("log.") && !name.starts_with("r#")
    }

    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_err() {
            return;
        }
        let separated = if self.first {
            Ok(())
        } else {
            self.writer.write_char(' ')
        };
        self.first = false;
        self.result = separated
            .and_then(|()| self.writer.write_str(field.name()))
            .and_then(|()| self.writer.write_char('='))
            .and_then(|()| value(&mut self.writer));
    }

    /// Leaves a field to the library.
    fn leave(&mut self, record: impl FnOnce(&mut DefaultVisitor<'_>)) {
        if self.result.is_err() {
            return;
        }
        let mut theirs = DefaultVisitor::new(self.writer.by_ref(), self.first);
        record(&mut theirs);
        self.result = theirs.finish();
        self.first = false;
    }
}

impl Visit for Plain<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if Self::is_plain(field) {
            self.write(field, |writer| write!(writer, "{value}"));
        } else {
            self.leave(|theirs| theirs.record_u64(field, value));
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if Self::is_plain(field) {
            let text = if value { "true" } else { "false" };
            self.write(field, |writer| writer.write_str(text));
        } else {
            self.leave(|theirs| theirs.record_bool(field, value));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let harmless = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        if Self::is_plain(field) && value.bytes().all(harmless) {
            self.write(field, |writer| {
                writer.write_char('"')?;
                writer.write_str(value)?;
                writer.write_char('"')
            });
        } else {
            self.leave(|theirs| theirs.record_str(field, value));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.leave(|theirs| theirs.record_error(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.leave(|theirs| theirs.record_debug(field, value));
    }
}
