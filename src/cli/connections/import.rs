//! `daypass connections import`.
//!
//! 1. Every good line is imported, in batches, whatever the others look like; every bad one is named
//!    with its number and its reason. Bad lines make the command fail, at the end.
//! 2. Importing the same file again changes nothing, even after its tokens were rotated: each line is
//!    recognised by a digest. `--replace` imports it all the same.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::{Outcome, with_core};
use crate::{
    app::Core,
    base::{clock::Timestamp, ids::ConnectionKey, ids::ProviderName, secret::Secret},
    cli::{
        Error,
        import::{self, Entry, Expiry, ImportRow, LineProblem, Rows},
        known, watched, write, write_json,
    },
    config::{Loaded, Settings},
    store::Saved,
    token::{Grant, GrantTokens},
};

/// How many connections are written in one transaction.
const BATCH: usize = 500;

/// How many bad lines are told one by one. A file of a million of them is not worth a gigabyte.
const MAX_TOLD: usize = 1000;

/// What to import, and how.
#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The file to read; `-` or nothing for standard input
    #[arg(default_value = "-", value_name = "FILE")]
    file: PathBuf,
    /// How it is written; found out from its first character if not given
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The provider of lines that do not name theirs
    #[arg(long, value_name = "NAME")]
    provider: Option<ProviderName>,
    /// Import lines that were imported before, too: their tokens replace what was renewed since
    #[arg(long)]
    replace: bool,
    /// Only read: say what is wrong with which line, and import nothing
    #[arg(long, conflicts_with = "replace")]
    dry_run: bool,
}

/// How the input is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A header, then one record a line
    Csv,
    /// One JSON object a line
    Jsonl,
}

/// What came of it.
#[derive(Debug, Default)]
struct Counts {
    created: usize,
    replaced: usize,
    unchanged: usize,
    skipped: usize,
    /// Good lines of a dry run.
    good: usize,
    bad: usize,
    /// The first of them.
    problems: Vec<LineProblem>,
}

/// Imports connections from a file or standard input.
pub(in crate::cli) fn run(
    options: &Options,
    loaded: &Loaded,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    if let Some(provider) = &options.provider {
        known::provider(provider, &loaded.settings)?;
    }
    let (input, bar) = open(options)?;
    let rows = Rows::new(
        bar.wrap_read(input),
        import::Options {
            format: match options.format {
                None => import::Format::Auto,
                Some(Format::Csv) => import::Format::Csv,
                Some(Format::Jsonl) => import::Format::JsonLines,
            },
            provider: options.provider.clone(),
        },
    );
    let counts = if options.dry_run {
        Ok(only_read(rows, &loaded.settings))
    } else {
        with_core(&loaded.settings, async |core| {
            import_all(core, &loaded.settings, rows, options.replace, &bar).await
        })
    };
    bar.finish_and_clear();
    let counts = counts?;
    report(&counts, options, json, out)?;
    match counts.bad {
        0 => Ok(()),
        bad => Err(Error::Failed(format!(
            "{bad} of the lines cannot be imported; mend them and import the file again: what is in \
             already stays as it is"
        ))),
    }
}

/// What an import would find, without opening the store.
fn only_read<R: Read>(rows: Rows<R>, settings: &Settings) -> Counts {
    let mut counts = Counts::default();
    for entry in rows {
        if counts.sort(entry, settings).is_some() {
            counts.good += 1;
        }
    }
    counts
}

fn open(options: &Options) -> Result<(Box<dyn Read>, ProgressBar), Error> {
    let unreadable = |source| Error::Io {
        what: format!("{} cannot be read", options.file.display()),
        source,
    };
    let (input, bar): (Box<dyn Read>, _) = if options.file.as_os_str() == "-" {
        (Box::new(io::stdin()), ProgressBar::new_spinner())
    } else {
        let file = File::open(&options.file).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let bar = ProgressBar::new(length);
        let look = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}  {elapsed}");
        // The template is a constant; a broken one only costs the bar its look.
        (
            Box::new(file),
            look.map_or_else(|_| bar.clone(), |look| bar.clone().with_style(look)),
        )
    };
    if watched() {
        bar.enable_steady_tick(Duration::from_millis(200));
    } else {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    Ok((input, bar))
}

async fn import_all<R: Read>(
    core: &Core,
    settings: &Settings,
    rows: Rows<R>,
    replace: bool,
    bar: &ProgressBar,
) -> Result<Counts, Error> {
    let mut counts = Counts::default();
    let mut batch = Vec::with_capacity(BATCH);
    for entry in rows {
        if let Some(row) = counts.sort(entry, settings) {
            batch.push(grant(row, replace, core.clock.now()));
        }
        if batch.len() == BATCH {
            flush(core, &mut batch, &mut counts, bar).await?;
        }
    }
    flush(core, &mut batch, &mut counts, bar).await?;
    Ok(counts)
}

async fn flush(
    core: &Core,
    batch: &mut Vec<Grant>,
    counts: &mut Counts,
    bar: &ProgressBar,
) -> Result<(), Error> {
    for saved in core.tokens.save(batch).await? {
        match saved {
            Saved::Created(_) => counts.created += 1,
            Saved::Replaced(_) => counts.replaced += 1,
            Saved::Unchanged(_) => counts.unchanged += 1,
        }
    }
    batch.clear();
    let done = counts.created + counts.replaced + counts.unchanged;
    bar.set_message(format!("{done} connections"));
    Ok(())
}

fn grant(row: ImportRow, replace: bool, now: Timestamp) -> Grant {
    let expires_at = row.expiry.map(|expiry| match expiry {
        Expiry::At(at) => at,
        Expiry::In(left) => now.saturating_add(left),
    });
    let tokens = match (row.access, row.refresh) {
        (Some(access), refresh) => Some(GrantTokens {
            access,
            refresh,
            expires_at,
            refresh_expires_at: None,
            issued_at: None,
        }),
        // An access token that is not there is one that has ended.
        (None, Some(refresh)) => Some(GrantTokens {
            access: Secret::from(String::new()),
            refresh: Some(refresh),
            expires_at: Some(Timestamp::EPOCH),
            refresh_expires_at: None,
            issued_at: Some(now),
        }),
        (None, None) => None,
    };
    Grant {
        key: ConnectionKey {
            provider: row.provider,
            user: row.user,
        },
        account: row.account,
        tokens,
        scope: row.scope,
        once: !replace,
    }
}

// === impl Counts ===

impl Counts {
    /// Counts what is not to be imported; gives back what is.
    fn sort(
        &mut self,
        entry: Result<Entry, LineProblem>,
        settings: &Settings,
    ) -> Option<ImportRow> {
        let problem = match entry {
            Ok(Entry::Row(row)) if known::is_provider(&row.provider, settings) => {
                return Some(row);
            }
            Ok(Entry::Row(row)) => LineProblem {
                line: row.line,
                reason: known::unknown(&row.provider, settings),
            },
            Ok(Entry::Skipped { .. }) => {
                self.skipped += 1;
                return None;
            }
            Err(problem) => problem,
        };
        self.bad += 1;
        if self.problems.len() < MAX_TOLD {
            self.problems.push(problem);
        }
        None
    }
}

fn report(counts: &Counts, options: &Options, json: bool, out: &mut dyn Write) -> Outcome {
    if json {
        return write_json(out, &as_json(counts, options));
    }
    let mut text = if options.dry_run {
        format!("Nothing was imported: {} good", counts.good)
    } else {
        format!(
            "{} created, {} replaced, {} unchanged",
            counts.created, counts.replaced, counts.unchanged
        )
    };
    text.push_str(&format!(
        ", {} skipped (not active, or never connected), {} bad.\n",
        counts.skipped, counts.bad
    ));
    for problem in &counts.problems {
        text.push_str(&format!("  {problem}\n"));
    }
    match counts.bad - counts.problems.len() {
        0 => {}
        untold => text.push_str(&format!("  and {untold} more.\n")),
    }
    write(out, &text)
}

fn as_json(counts: &Counts, options: &Options) -> Value {
    let problems: Vec<_> = counts
        .problems
        .iter()
        .map(|problem| json!({ "line": problem.line, "reason": problem.reason }))
        .collect();
    let mut answer = json!({
        "dry_run": options.dry_run,
        "skipped": counts.skipped,
        "bad": counts.bad,
        "problems": problems,
    });
    let figures = if options.dry_run {
        vec![("good", counts.good)]
    } else {
        vec![
            ("created", counts.created),
            ("replaced", counts.replaced),
            ("unchanged", counts.unchanged),
        ]
    };
    if let Value::Object(fields) = &mut answer {
        fields.extend(
            figures
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count.into())),
        );
    }
    answer
}
