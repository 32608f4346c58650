//! How far long work has come: a bar where somebody watches, else a line now and then, or one JSON
//! object a line for programs.

use std::{
    io::{self, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;

use super::watched;

/// Between two lines, at least.
const LINES_EVERY: Duration = Duration::from_secs(5);

/// Between two objects, at least.
const OBJECTS_EVERY: Duration = Duration::from_secs(1);

/// Tells how far it has come. What cannot be told is not: the work goes on.
pub(super) struct Progress<'o> {
    look: Look<'o>,
    phase: &'static str,
    /// What is counted.
    unit: Unit,
    done: u64,
    total: u64,
    told: Option<Instant>,
    /// Whether it was told that all is done.
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Connections,
    Rows,
    Seconds,
}

enum Look<'o> {
    Bar(ProgressBar),
    Lines,
    Objects(&'o mut dyn Write),
}

// === impl Progress ===

impl<'o> Progress<'o> {
    /// To standard error for people, to `out` for programs.
    pub(super) fn new(json: bool, out: &'o mut dyn Write) -> Self {
        let look = if json {
            Look::Objects(out)
        } else if watched() {
            Look::Bar(bar())
        } else {
            Look::Lines
        };
        Self {
            look,
            phase: "",
            unit: Unit::Connections,
            done: 0,
            total: 0,
            told: None,
            ended: false,
        }
    }

    /// Begins to do `phase` to about `total` connections.
    pub(super) fn begin(&mut self, phase: &'static str, total: u64) {
        self.begin_to_count(phase, total, Unit::Connections);
    }

    /// Begins to do `phase` to about `total` rows.
    pub(super) fn begin_rows(&mut self, phase: &'static str, total: u64) {
        self.begin_to_count(phase, total, Unit::Rows);
    }

    /// Begins to wait for so long.
    pub(super) fn begin_wait(&mut self, total: Duration) {
        self.begin_to_count("waiting", rounded_up(total), Unit::Seconds);
    }

    /// So much of the wait is left, if there is one.
    pub(super) fn wait_on(&mut self, left: Duration) {
        if self.unit != Unit::Seconds {
            return;
        }
        self.done = self.total.saturating_sub(rounded_up(left));
        self.tell();
    }

    fn begin_to_count(&mut self, phase: &'static str, total: u64, unit: Unit) {
        (self.phase, self.done, self.total, self.unit) = (phase, 0, total, unit);
        (self.told, self.ended) = (None, false);
        if let Look::Bar(bar) = &self.look {
            bar.set_style(style(unit));
            bar.set_length(total);
            bar.set_position(0);
            bar.set_message(phase);
        }
        self.tell();
    }

    /// So many more are done.
    pub(super) fn advance(&mut self, count: usize) {
        self.done = self
            .done
            .saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if self.unit == Unit::Rows && self.done > self.total {
            // What the total was guessed from was not all.
            self.total = self.done;
            if let Look::Bar(bar) = &self.look {
                bar.set_length(self.total);
            }
        }
        self.tell();
    }

    /// Says something that is no figure.
    pub(super) fn say(&mut self, text: &str) {
        match &mut self.look {
            Look::Bar(bar) => bar.suspend(|| line(text)),
            Look::Lines => line(text),
            Look::Objects(out) => object(*out, &json!({ "note": text })),
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Look::Bar(bar) = &self.look {
            bar.finish_and_clear();
        }
    }

    fn tell(&mut self) {
        let every = match &self.look {
            Look::Bar(bar) => {
                bar.set_position(self.done.min(self.total));
                return;
            }
            Look::Lines => LINES_EVERY,
            Look::Objects(_) => OBJECTS_EVERY,
        };
        let now = Instant::now();
        let is_early = self
            .told
            .is_some_and(|at| now.saturating_duration_since(at) < every);
        let ends = self.done >= self.total && !self.ended;
        if is_early && !ends {
            return;
        }
        self.told = Some(now);
        self.ended |= ends;
        let Self {
            phase,
            done,
            total,
            unit,
            ..
        } = self;
        match &mut self.look {
            Look::Objects(out) => {
                let unit = unit.as_str();
                let progress =
                    json!({ "phase": phase, "done": done, "total": total, "unit": unit });
                object(*out, &json!({ "progress": progress }));
            }
            _ => line(&match unit {
                Unit::Connections | Unit::Rows => format!("{phase}: {done} of {total}"),
                Unit::Seconds => format!("{phase}: {done} of {total} s"),
            }),
        }
    }
}

// === impl Unit ===

impl Unit {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Rows => "rows",
            Self::Seconds => "seconds",
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0).with_style(style(Unit::Connections));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn style(unit: Unit) -> ProgressStyle {
    let template = match unit {
        Unit::Connections | Unit::Rows => {
            "{msg:10} {bar:40} {pos}/{len}  {per_sec}  {elapsed}, {eta} left"
        }
        Unit::Seconds => "{msg:10} {bar:40} {pos}/{len} s",
    };
    // The templates are constants; a broken one only costs the bar its look.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// In seconds.
pub(super) fn rounded_up(time: Duration) -> u64 {
    let part = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(part)
}

fn line(text: &str) {
    // Whoever closed standard error does not want to hear it.
    let _unheard = writeln!(io::stderr().lock(), "{text}");
}

fn object(out: &mut dyn Write, value: &serde_json::Value) {
    // Whoever closed standard output does not want to hear it.
    let _unheard = writeln!(out, "{value}").and_then(|()| out.flush());
}
