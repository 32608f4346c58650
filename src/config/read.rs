//! The types of settings: each reader asks for a key, and reports what does not fit.
//!
//! 1. Defaults are given as text and read by the same parser as settings: what the documents say is
//!    what the code does.
//! 2. `None` from a reader with a default means that a problem was reported, so a section collects
//!    all its values before it gives up on any.
//! 3. `None` from a reader without a default means the same, or that the key is not set.

use std::{borrow::Cow, path::PathBuf, time::Duration};

use toml::de::DeValue;
use url::Url;

use super::{
    context::did_you_mean,
    duration, listeners,
    section::{Section, Value},
    size,
};
use crate::{
    http::Listen,
    provider::{ApiBase, secure_url},
};

impl Section<'_> {
    /// A duration that is longer than zero.
    pub(super) fn duration(&self, key: &str, default: &str) -> Option<Duration> {
        let parse = |text: &str| match duration::parse(text) {
            Some(Duration::ZERO) => Err("must be longer than zero".to_owned()),
            Some(duration) => Ok(duration),
            None => Err(format!("expected {}", duration::EXAMPLE)),
        };
        self.required(key, "duration", default, parse)
    }

    /// A size in bytes.
    pub(super) fn size(&self, key: &str, default: &str) -> Option<usize> {
        let parse =
            |text: &str| size::parse(text).ok_or_else(|| format!("expected {}", size::EXAMPLE));
        self.required(key, "size", default, parse)
    }

    /// A number that is at least one.
    pub(super) fn count(&self, key: &str, default: &str) -> Option<usize> {
        let expected = "expected a whole number of at least 1";
        let parse = |text: &str| match text.trim().parse::<usize>() {
            Ok(0) | Err(_) => Err(expected.to_owned()),
            Ok(number) => Ok(number),
        };
        self.required(key, "number", default, parse)
    }

    /// A number from 0 to 1.
    pub(super) fn fraction(&self, key: &str, default: &str) -> Option<f64> {
        let parse = |text: &str| match text.trim().parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err("expected a number from 0 to 1, such as 0.05".to_owned()),
        };
        self.required(key, "fraction", default, parse)
    }

    /// `true` or `false`.
    pub(super) fn switch(&self, key: &str, default: &str) -> Option<bool> {
        let parse = |text: &str| match text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("expected true or false".to_owned()),
        };
        self.required(key, "boolean", default, parse)
    }

    /// Text that `parse` takes; its error is the message.
    pub(super) fn text<T>(
        &self,
        key: &str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.required(key, "text", default, parse)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        default: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        self.required(key, "word", default, |text| one_of(text, words))
    }

    /// Where a listener listens.
    pub(super) fn listen(&self, key: &str, default: &str) -> Option<Listen> {
        self.required(key, "address", default, listeners::parse)
    }

    /// The base of a provider's API.
    pub(super) fn api_base(&self, key: &str, default: &str) -> Option<ApiBase> {
        self.required(key, "URL", default, |text| {
            ApiBase::parse(text).map_err(|error| error.to_string())
        })
    }

    /// A provider URL, with a default that may depend on other keys; `shown` is how the documents
    /// describe it.
    pub(super) fn secure_url(&self, key: &str, shown: &str, default: &str) -> Option<Url> {
        self.declare(key, "URL", Some(shown));
        let parse = |text: &str| secure_url(text).map_err(|error| error.to_string());
        self.value(key, default, parse)
    }

    /// Text, if it is set.
    pub(super) fn optional_text(&self, key: &str) -> Option<String> {
        self.optional(key, "text", |text| match text.trim() {
            "" => Err("is empty".to_owned()),
            text => Ok(text.to_owned()),
        })
    }

    /// A path.
    pub(super) fn path(&self, key: &str, default: &str) -> Option<PathBuf> {
        self.required(key, "path", default, path)
    }

    /// A path, if it is set.
    pub(super) fn optional_path(&self, key: &str) -> Option<PathBuf> {
        self.optional(key, "path", path)
    }

    /// An `http` or `https` URL, if it is set.
    pub(super) fn optional_url(&self, key: &str) -> Option<Url> {
        self.optional(key, "URL", web_url)
    }

    /// A provider URL, if it is set.
    pub(super) fn optional_secure_url(&self, key: &str) -> Option<Url> {
        self.optional(key, "URL", |text| {
            secure_url(text).map_err(|error| error.to_string())
        })
    }

    /// A list of what `parse` takes; none by default. Outside the file its parts are separated by
    /// commas.
    pub(super) fn list<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.list_or(key, "[]", Vec::new(), parse)
    }

    /// As [`Self::list`], with a default; `shown` is how the documents describe it.
    pub(super) fn list_or<T>(
        &self,
        key: &str,
        shown: &str,
        default: Vec<T>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.declare(key, "list", Some(shown));
        let Some(found) = self.find(key) else {
            return Some(default);
        };
        let parts: Option<Vec<&str>> = match found.value {
            Value::Typed(DeValue::Array(items)) => items
                .iter()
                .map(|item| Value::Typed(item.get_ref()).text())
                .collect(),
            Value::Text(text) => Some(text.split(',').map(str::trim).collect()),
            Value::Typed(_) => None,
        };
        let Some(parts) = parts else {
            self.problem(key, "expected a list of texts, such as [\"a\", \"b\"]");
            return None;
        };
        let read = |part: &str| match parse(part) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(key, message);
                None
            }
        };
        // Collected before it is sifted, so that every bad part is reported.
        let values: Vec<Option<T>> = parts.into_iter().map(read).collect();
        values.into_iter().collect()
    }

    /// What `parse` makes of `key`, if it is set.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        kind: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.declare(key, kind, None);
        self.find(key)?;
        self.value(key, "", parse)
    }

    fn required<T>(
        &self,
        key: &str,
        kind: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.declare(key, kind, Some(default));
        self.value(key, default, parse)
    }

    /// What `parse` makes of `key`, or of `default` if it is not set.
    fn value<T>(
        &self,
        key: &str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let parsed = match self.find(key) {
            None => parse(default),
            Some(found) => match scalar(found.value) {
                Some(text) => parse(&text).map_err(|message| with_kind(&message, found.value)),
                None => Err(format!("expected one value, found {}", found.value.kind())),
            },
        };
        match parsed {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(key, message);
                None
            }
        }
    }
}

/// Text, numbers and booleans as text, so that one parser reads all layers.
fn scalar(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Typed(DeValue::Integer(number)) => Some(Cow::Owned(number.to_string())),
        Value::Typed(DeValue::Float(number)) => Some(Cow::Owned(number.to_string())),
        Value::Typed(DeValue::Boolean(on)) => Some(Cow::Owned(on.to_string())),
        value => value.text().map(Cow::Borrowed),
    }
}

/// Adds what was found to a complaint, where its type rather than its content is to blame.
fn with_kind(message: &str, value: Value<'_>) -> String {
    match value {
        Value::Typed(DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => {
            format!("{message}; found {}", value.kind())
        }
        _ => message.to_owned(),
    }
}

/// Reads one of `words`.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let names: Vec<String> = words
        .iter()
        .map(|(word, _)| format!("\"{word}\""))
        .collect();
    let hint = did_you_mean(text, words.iter().map(|(word, _)| *word));
    Err(format!("expected {}{hint}", names.join(" or ")))
}

/// Reads an absolute `http` or `https` URL with a host.
pub(super) fn web_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("expected a URL such as \"https://app.example.org/hook\"".to_owned()),
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("is empty".to_owned()),
        text => Ok(PathBuf::from(text)),
    }
}
