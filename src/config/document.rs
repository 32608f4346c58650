//! The configuration file as a tree whose every node knows its line.

use std::{ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::problem::{Finding, Origin};

/// A parsed file.
pub(super) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    root: DeTable<'a>,
}

// === impl Document ===

impl<'a> Document<'a> {
    /// Parses `text`; every syntax error at once. What follows from a broken line would only
    /// mislead, so nothing else is looked at before the syntax is right.
    pub(super) fn parse(path: &'a Path, text: &'a str) -> Result<Self, Vec<Finding>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let root = root.into_inner();
            return Ok(Self { path, text, root });
        }
        let finding = |error: &toml::de::Error| Finding {
            origin: Origin::File {
                path: path.to_owned(),
                line: line_at(text, error.span().map_or(0, |span| span.start)),
            },
            key: String::new(),
            message: format!("not TOML: {}", error.message()),
        };
        Err(errors.iter().map(finding).collect())
    }

    /// The tables and keys at the top.
    pub(super) const fn root(&self) -> &DeTable<'a> {
        &self.root
    }

    /// The table `name`, if it is there and is one.
    pub(super) fn table(&self, name: &str) -> Option<&DeTable<'a>> {
        match self.root.get(name)?.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Where `span` begins.
    pub(super) fn origin(&self, span: &Range<usize>) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line: line_at(self.text, span.start),
        }
    }

    /// Where a node stands.
    pub(super) fn origin_of<T>(&self, node: &Spanned<T>) -> Origin {
        self.origin(&node.span())
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    before.filter(|byte| *byte == b'\n').count() + 1
}
