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
use prometheus_client::metrics::counter::Counter;

use super::{Outcome, report::Counts, with_core};
use crate::{
    admin::audit::{Action, Actor, Order},
    app::Core,
    base::{clock::Timestamp, ids::ConnectionKey, ids::ProviderName},
    cli::{
        Error,
        import::{self, Expiry, ImportRow, Rows},
        known, watched, write, write_json,
    },
    config::{Loaded, Settings},
    store::Saved,
    token::{Grant, GrantTokens},
};

/// How many connections are written in one transaction.
const BATCH: usize = 500;

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

/// Imports connections from a file or standard input.
pub(in crate::cli) fn run(
    options: &Options,
    loaded: &Loaded,
    operator: &Actor,
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
            let replaced = options.replace.then(|| "replace".to_owned());
            let order = Order::to(Action::Import)
                .about_some(options.provider.clone(), None)
                .with(replaced);
            let importing = import_all(core, &loaded.settings, rows, options.replace, &bar);
            let audit = core.audit(Counter::default());
            let tell = |counts: &Counts| Some(counts.as_line());
            audit.telling(operator, order, importing, tell).await
        })
    };
    bar.finish_and_clear();
    let counts = counts?;
    if json {
        write_json(out, &counts.as_json())?;
    } else {
        write(out, &counts.as_text())?;
    }
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
    let mut counts = Counts {
        dry_run: true,
        ..Counts::default()
    };
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
    Grant {
        key: ConnectionKey {
            provider: row.provider,
            user: row.user,
        },
        account: row.account,
        tokens: GrantTokens::imported(row.access, row.refresh, expires_at, now),
        scope: row.scope,
        once: !replace,
    }
}
