//! The reports that long runs leave in `docs/reports`.
//!
//! 1. A report is made of parts, each told by one run. It is written when the last part was told, so a
//!    run of some of them leaves the kept one alone.
//! 2. Only long runs write; short ones print.
//! 3. It names no date, so that two runs differ in what they found and in nothing else.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use parking_lot::Mutex;

use crate::place::is_another_binary;

/// A report of which each part tells a `T`.
pub(crate) struct Report<T> {
    /// Its name in `docs/reports`.
    file: &'static str,
    /// The parts, in their order.
    parts: &'static [&'static str],
    /// Puts the parts, in their order, into words.
    words: fn(&[(&'static str, T)]) -> String,
    told: Mutex<BTreeMap<&'static str, T>>,
}

/// Whether long runs are asked for.
pub(crate) fn is_long() -> bool {
    std::env::var_os("DAYPASS_LONG_TESTS").is_some()
}

// === impl Report ===

impl<T: Clone> Report<T> {
    pub(crate) const fn new(
        file: &'static str,
        parts: &'static [&'static str],
        words: fn(&[(&'static str, T)]) -> String,
    ) -> Self {
        Self {
            file,
            parts,
            words,
            told: Mutex::new(BTreeMap::new()),
        }
    }

    /// Tells a part, and writes the report if it was the last.
    pub(crate) fn tell(&self, part: &'static str, what: T) {
        assert!(self.parts.contains(&part), "{part} is no part of a report");
        let mut told = self.told.lock();
        told.insert(part, what);
        let parts = self.parts.iter();
        let told: Option<Vec<_>> = parts
            .map(|&part| Some((part, told.get(part)?.clone())))
            .collect();
        let Some(told) = told.filter(|_| is_long()) else {
            return;
        };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reports");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(self.file), (self.words)(&told)).unwrap();
    }
}

/// A table in Markdown; the first row is its head.
pub(crate) fn table<S: AsRef<str>>(rows: &[Vec<S>]) -> String {
    let mut text = String::new();
    for (nth, row) in rows.iter().enumerate() {
        let cells: Vec<_> = row.iter().map(AsRef::as_ref).collect();
        writeln!(text, "| {} |", cells.join(" | ")).unwrap();
        if nth == 0 {
            writeln!(text, "|{}", "---|".repeat(row.len())).unwrap();
        }
    }
    text
}

/// How a store is called in reports.
pub(crate) const POSTGRES: &str = "PostgreSQL";
pub(crate) const REDIS: &str = "Redis";
pub(crate) const CLUSTER: &str = "Redis Cluster";
pub(crate) const SQLITE: &str = "SQLite";

/// What everything ran on: the sidecars, their stores, the providers and who troubles them.
pub(crate) fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(
            || "unknown".to_owned(),
            |(_, value)| value.trim().to_owned(),
        )
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = field("/proc/meminfo", "MemTotal");
    let memory = memory.trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
    let build = if is_another_binary() {
        "a build for release"
    } else {
        "a build for debugging"
    };
    format!(
        "{cores} cores ({}), {} GiB, {}; {build}. Sidecars, stores, providers and \
         whoever asked and troubled them shared it.",
        field("/proc/cpuinfo", "model name"),
        memory.div_ceil(1024 * 1024),
        std::env::consts::OS,
    )
}
