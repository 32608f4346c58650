//! One table of the configuration, over all layers: knows what was asked for, refuses the rest.

use std::cell::RefCell;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    context::{Context, PREFIX, did_you_mean},
    problem::Origin,
    reference::KeyReference,
};

/// A table that is being read.
pub(super) struct Section<'a> {
    context: &'a Context<'a>,
    path: String,
    table: Option<&'a DeTable<'a>>,
    asked: RefCell<Vec<String>>,
    fallbacks: &'static [(&'static str, &'static str)],
}

/// A value and where it came from.
pub(super) struct Found<'a> {
    pub(super) value: Value<'a>,
    pub(super) origin: Origin,
    pub(super) layer: Layer,
}

/// A value as its layer has it.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    /// From a flag or the environment, where everything is text.
    Text(&'a str),
    /// From the file, where values have types.
    Typed(&'a DeValue<'a>),
}

/// Where a value came from; greater ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    /// A variable that apps already use.
    Fallback,
    /// The file.
    File,
    /// A `DAYPASS_…` variable.
    Environment,
    /// The command line.
    Flag,
}

// === impl Section ===

impl<'a> Section<'a> {
    /// Opens the table at `path`; `node` is what the file has there.
    pub(super) fn open(
        context: &'a Context<'a>,
        path: String,
        node: Option<&'a Spanned<DeValue<'a>>>,
    ) -> Self {
        let table = match node.map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => Some(table),
            _ => None,
        };
        let section = Self {
            context,
            path,
            table,
            asked: RefCell::default(),
            fallbacks: &[],
        };
        if let (None, Some(node), Some(document)) = (table, node, context.document) {
            let message = format!(
                "expected a table: write `[{}]` above its keys",
                section.path
            );
            context.problem(document.origin_of(node), &section.path, message);
        }
        section
    }

    /// Sets the variables that fill in for keys which no layer sets.
    pub(super) const fn with_fallbacks(
        mut self,
        fallbacks: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.fallbacks = fallbacks;
        self
    }

    pub(super) const fn context(&self) -> &'a Context<'a> {
        self.context
    }

    /// The dotted path of `key`.
    pub(super) fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// Notes that `key` exists.
    pub(super) fn declare(&self, key: &str, kind: &'static str, default: Option<&str>) {
        self.asked.borrow_mut().push(key.to_owned());
        self.context.note_key(KeyReference {
            section: self.path.clone(),
            name: key.to_owned(),
            kind,
            default: default.map(str::to_owned),
            variable: self.variable(key),
        });
    }

    /// Reads the table `name` inside this one with `reader`, and refuses what is left over in it.
    pub(super) fn inner<T>(&self, name: &str, reader: impl FnOnce(&Self) -> T) -> T {
        self.asked.borrow_mut().push(name.to_owned());
        let node = self.table.and_then(|table| table.get(name));
        let section = Self::open(self.context, self.path_of(name), node);
        let settings = reader(&section);
        section.finish();
        settings
    }

    /// The value of `key` in the highest layer that has one.
    pub(super) fn find(&self, key: &str) -> Option<Found<'a>> {
        self.in_flags(key)
            .or_else(|| self.in_variable(&self.variable(key), Layer::Environment))
            .or_else(|| self.in_file(key))
            .or_else(|| self.in_fallback(key))
    }

    /// Where `key` is set.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.find(key).map_or(Origin::Unset, |found| found.origin)
    }

    /// Where a node of the file stands.
    pub(super) fn origin_in_file<T>(&self, node: &Spanned<T>) -> Origin {
        match self.context.document {
            Some(document) => document.origin_of(node),
            None => Origin::Unset,
        }
    }

    /// Reports a problem with `key`, at the place where it is set.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>) {
        let origin = self.origin(key);
        self.context.problem(origin, &self.path_of(key), message);
    }

    /// Reports a doubt about `key`, at the place where it is set.
    pub(super) fn warning(&self, key: &str, message: impl Into<String>) {
        let origin = self.origin(key);
        self.context.warning(origin, &self.path_of(key), message);
    }

    /// Refuses the keys of the file that nobody asked for.
    pub(super) fn finish(self) {
        let (Some(table), Some(document)) = (self.table, self.context.document) else {
            return;
        };
        let asked = self.asked.borrow();
        for (key, _) in table {
            let name: &str = key.get_ref();
            if !asked.iter().any(|known| known == name) {
                let hint = did_you_mean(name, asked.iter().map(String::as_str));
                let message = format!("there is no such key in [{}]{hint}", self.path);
                let origin = document.origin_of(key);
                self.context.problem(origin, &self.path_of(name), message);
            }
        }
    }

    fn variable(&self, key: &str) -> String {
        let name = self.path_of(key).replace(['.', '-'], "_");
        format!("{PREFIX}{}", name.to_ascii_uppercase())
    }

    fn in_flags(&self, key: &str) -> Option<Found<'a>> {
        let text = *self.context.overrides.get(self.path_of(key).as_str())?;
        Some(Found {
            value: Value::Text(text),
            origin: Origin::Flag,
            layer: Layer::Flag,
        })
    }

    fn in_variable(&self, variable: &str, layer: Layer) -> Option<Found<'a>> {
        let text = self.context.environment.get(variable)?;
        let variable = variable.to_owned();
        Some(Found {
            value: Value::Text(text),
            origin: Origin::Environment { variable },
            layer,
        })
    }

    fn in_file(&self, key: &str) -> Option<Found<'a>> {
        let node = self.table?.get(key)?;
        let document = self.context.document?;
        Some(Found {
            value: Value::Typed(node.get_ref()),
            origin: document.origin_of(node),
            layer: Layer::File,
        })
    }

    fn in_fallback(&self, key: &str) -> Option<Found<'a>> {
        let (_, variable) = self.fallbacks.iter().find(|(name, _)| *name == key)?;
        self.in_variable(variable, Layer::Fallback)
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    /// Text, if that is what it is.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Typed(DeValue::String(text)) => Some(text),
            Self::Typed(_) => None,
        }
    }

    /// Its type, for messages.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Text(_) | Self::Typed(DeValue::String(_)) => "text",
            Self::Typed(DeValue::Integer(_)) => "a number without quotes",
            Self::Typed(DeValue::Float(_)) => "a fraction",
            Self::Typed(DeValue::Boolean(_)) => "true or false",
            Self::Typed(DeValue::Datetime(_)) => "a date",
            Self::Typed(DeValue::Array(_)) => "a list",
            Self::Typed(DeValue::Table(_)) => "a table",
        }
    }
}
