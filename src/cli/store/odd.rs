//! Connections that are out of the ordinary: how many, and the first of them by name.

use std::fmt;

use serde_json::{Value, json};

use super::{transfer::some, walk::Pair};

/// How many are named.
const NAMED: usize = 10;

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct Odd {
    pub(super) count: u64,
    first: Vec<String>,
}

// === impl Odd ===

impl Odd {
    /// One more.
    pub(super) fn add(&mut self, pair: &Pair) {
        let name = pair.key().map_or_else(String::new, ToString::to_string);
        self.add_named(name);
    }

    /// One more, that is called `name`.
    pub(super) fn add_named(&mut self, name: String) {
        self.count = self.count.saturating_add(1);
        if self.first.len() < NAMED {
            self.first.push(name);
        }
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        json!({ "count": self.count, "first": self.first })
    }
}

impl fmt::Display for Odd {
    /// `2 connections (calcom/anna, calcom/ben)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", some(self.count), self.first.join(", "))?;
        let named = u64::try_from(self.first.len()).unwrap_or(u64::MAX);
        if self.count > named {
            f.write_str(", …")?;
        }
        f.write_str(")")
    }
}
