//! One object or record as cells that are known by name.

use csv::{ReaderBuilder, StringRecord};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The cells of one line, by plain name.
pub(super) struct Record(Vec<(String, Cell)>);

/// One value.
enum Cell {
    /// JSON's `null`, or what exports write in its place.
    Nothing,
    /// Text, or a number or boolean as text.
    Text(Zeroizing<String>),
    /// A list or an object.
    Nested,
}

/// A name without what differs between exports: `calAccessToken` and `cal_access_token` are one.
pub(super) fn plain(name: &str) -> String {
    let letters = name.chars().filter(|letter| letter.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// Whether a CSV line ends inside a quoted field. A doubled quote counts twice, and so not at all.
pub(super) fn is_open(line: &[u8]) -> bool {
    line.iter()
        .fold(false, |open, byte| open != (*byte == b'"'))
}

/// The fields of one CSV record.
pub(super) fn fields(text: &str) -> Result<StringRecord, String> {
    let mut builder = ReaderBuilder::new();
    let mut reader = builder
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    match reader.records().next() {
        Some(Ok(record)) => Ok(record),
        Some(Err(_)) | None => Err("is not a CSV record".to_owned()),
    }
}

// === impl Record ===

impl Record {
    /// Reads a JSON object. The parser's own message is not passed on: it may quote the line.
    pub(super) fn of_json(text: &str) -> Result<Self, String> {
        let object: Map<String, Value> = match serde_json::from_str(text) {
            Ok(object) => object,
            Err(error) => {
                let column = error.column();
                return Err(format!(
                    "is not a JSON object on one line (see column {column})"
                ));
            }
        };
        let cells = object
            .into_iter()
            .map(|(name, value)| (plain(&name), Cell::of_json(value)));
        Ok(Self(cells.collect()))
    }

    /// Puts the fields of a CSV record under the names of the header.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the fields end here, wherever they came from"
    )]
    pub(super) fn of_fields(header: &[String], fields: StringRecord) -> Result<Self, String> {
        let (found, expected) = (fields.len(), header.len());
        if found != expected {
            return Err(format!("has {found} fields, but the header has {expected}"));
        }
        let cells = header.iter().cloned().zip(fields.iter().map(Cell::of_text));
        Ok(Self(cells.collect()))
    }

    /// Whether one of `names` is a column of this record, even an empty one.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.0
            .iter()
            .any(|(name, _)| names.contains(&name.as_str()))
    }

    /// Takes the value of the first of `names` that has one.
    pub(super) fn take(&mut self, names: &[&str]) -> Result<Option<Zeroizing<String>>, String> {
        for name in names {
            let Some((_, cell)) = self.0.iter_mut().rev().find(|(column, _)| column == name) else {
                continue;
            };
            match std::mem::replace(cell, Cell::Nothing) {
                Cell::Nothing => {}
                Cell::Text(text) => return Ok(Some(text)),
                Cell::Nested => return Err(format!("`{name}` is neither text nor a number")),
            }
        }
        Ok(None)
    }
}

// === impl Cell ===

impl Cell {
    fn of_json(value: Value) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(on) => Self::Text(Zeroizing::new(on.to_string())),
            Value::Number(number) => Self::Text(Zeroizing::new(number.to_string())),
            Value::String(text) if text.trim().is_empty() => Self::Nothing,
            Value::String(text) => Self::Text(Zeroizing::new(text)),
            Value::Array(_) | Value::Object(_) => Self::Nested,
        }
    }

    /// `NULL` and `\N` are what database tools write for nothing.
    fn of_text(text: &str) -> Self {
        match text.trim() {
            "" | "NULL" | "null" | "\\N" => Self::Nothing,
            text => Self::Text(Zeroizing::new(text.to_owned())),
        }
    }
}
