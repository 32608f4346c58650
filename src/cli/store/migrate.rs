//! `daypass store migrate`.

#![expect(
    clippy::future_not_send,
    reason = "a command runs on the thread that writes its answer"
)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::json;

use super::{
    rest::REST,
    transfer::{Moved, Rules, Transfer},
    verify::Verdict,
};
use crate::{
    admin::audit::{Action, Actor, Order},
    app::{self, Opener, Signals},
    base::lifecycle::Lifecycle,
    cli::{Error, Outcome, block_on, progress::Progress, write},
    config::{Loaded, Settings, key_file_beside, parse_store},
    store::{Backend, seal::KeyRing},
};

/// From where to where, and what to do about surprises.
#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The store to copy from, if its URL has no password [default: store.url]
    #[arg(long, value_name = "URL", conflicts_with = "from_file")]
    from: Option<String>,
    /// A file with the URL of the store to copy from
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// The store to copy to, if its URL has no password [default: store.url]
    #[arg(long, value_name = "URL", conflicts_with = "to_file")]
    to: Option<String>,
    /// A file with the URL of the store to copy to
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
    /// Begin while sidecars serve from the source, and go on with what they change, until Ctrl-C or
    /// SIGTERM
    #[arg(long)]
    follow: bool,
    /// Leave connections alone that are newer in the target, instead of refusing to begin
    #[arg(long)]
    keep_newer: bool,
    /// Remove from the target what the source does not have, instead of refusing to begin
    #[arg(long)]
    prune: bool,
    /// For tests, where surely nobody serves: seconds to wait for whoever may
    #[arg(long, hide = true, default_value_t = REST.as_secs())]
    rest: u64,
}

/// What came of it.
struct Done {
    moved: Moved,
    verdict: Verdict,
}

/// Copies every connection, and verifies that it is there.
pub(in crate::cli) fn run(
    options: &Options,
    loaded: &Loaded,
    operator: &Actor,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    let (source, target) = options.stores(&loaded.settings)?;
    if source.adopt(&target).is_some() {
        return Err(Error::Usage(format!(
            "source and target are the same store, {source}: name another with --to or --to-file"
        )));
    }
    let keys = keys(&loaded.settings, &source, &target)?;
    let rules = Rules {
        follow: options.follow,
        keep_newer: options.keep_newer,
        prune: options.prune,
        rest: Duration::from_secs(options.rest),
    };
    let names = (source.to_string(), target.to_string());
    let ca_file = loaded.settings.tls_ca_file.as_deref();
    let progress = Progress::new(json, out);
    let done = block_on(async {
        let lifecycle = Lifecycle::new();
        let done = migrate(
            (&source, &target),
            Opener::of_system(ca_file, &lifecycle),
            &keys,
            rules,
            progress,
            operator,
        )
        .await;
        lifecycle.drain(app::DRAIN_LIMIT).await;
        done
    })??;
    let notes = notes(&loaded.settings, &source, &target);
    done.tell(&names, &notes, json, out)?;
    done.judge(&names, rules)
}

async fn migrate(
    (source, target): (&Backend, &Backend),
    mut opener: Opener<'_>,
    keys: &KeyRing,
    rules: Rules,
    progress: Progress<'_>,
    operator: &Actor,
) -> Result<Done, Error> {
    let mut signals = Signals::new()?;
    // Where there is nothing, nothing is made: it would look like an empty store.
    opener.existing_only = true;
    let from = opener.open(source).await?.archive;
    opener.existing_only = false;
    let into = opener.open(target).await?;
    let mut transfer = Transfer {
        source: &*from,
        target: &*into.archive,
        names: (source.to_string(), target.to_string()),
        rules,
        progress,
        moved: Moved::default(),
    };
    let moving = async {
        let mark = transfer.copy_all(&mut signals).await;
        let done = match mark {
            Ok(mark) => transfer.verify(&mark, keys).await,
            Err(error) => Err(error),
        };
        transfer.progress.finish();
        Ok(Done {
            moved: transfer.moved,
            verdict: done?,
        })
    };
    let order = Order::to(Action::MigrateStore).with(format!("from {source}"));
    opener.audit(&into).of(operator, order, moving).await
}

// === impl Options ===

impl Options {
    fn stores(&self, settings: &Settings) -> Result<(Backend, Backend), Error> {
        let source = named("from", self.from.as_deref(), self.from_file.as_deref())?;
        let target = named("to", self.to.as_deref(), self.to_file.as_deref())?;
        let configured = || settings.store.backend.clone();
        match (source, target) {
            (None, None) => Err(Error::Usage(
                "where to? Name the other store with --to URL or --to-file FILE; what is not named is \
                 store.url of the configuration"
                    .to_owned(),
            )),
            (source, target) => Ok((
                source.unwrap_or_else(configured),
                target.unwrap_or_else(configured),
            )),
        }
    }
}

fn named(side: &str, url: Option<&str>, file: Option<&Path>) -> Result<Option<Backend>, Error> {
    let unusable = |fault: String| Error::Usage(format!("--{side}: {fault}"));
    if let Some(url) = url {
        let backend = parse_store(url).map_err(unusable)?;
        if backend.has_password() {
            return Err(unusable(format!(
                "a password on the command line is seen by every user of this machine: put the URL into \
                 a file, and name that with --{side}-file"
            )));
        }
        return Ok(Some(backend));
    }
    let Some(path) = file else {
        return Ok(None);
    };
    let text = fs::read_to_string(path).map_err(|source| Error::Io {
        what: format!("--{side}-file: {} cannot be read", path.display()),
        source,
    })?;
    let text = zeroize::Zeroizing::new(text);
    let backend = parse_store(text.trim_end_matches(['\r', '\n']));
    let of_file = |fault| Error::Usage(format!("--{side}-file: {}: {fault}", path.display()));
    backend.map(Some).map_err(of_file)
}

/// What the sidecars of the target will open tokens with: the configured keys, or the key file beside
/// the database.
fn keys(settings: &Settings, source: &Backend, target: &Backend) -> Result<KeyRing, Error> {
    if let Some(ring) = app::configured_keys(&settings.encryption)? {
        return Ok(ring);
    }
    let file = |backend: &Backend| match backend {
        Backend::Sqlite { path } => Some(key_file_beside(path)),
        Backend::Postgres { .. } | Backend::Redis { .. } => None,
    };
    let (here, there) = (file(source), file(target));
    let Some(wanted) = there.as_ref().or(here.as_ref()) else {
        return Err(Error::Failed(
            "no encryption key is configured, and there is no key file: configure the keys that the \
             sidecars use ([encryption])"
                .to_owned(),
        ));
    };
    match app::key_of_file(wanted)? {
        Some(ring) => Ok(ring),
        None => Err(Error::Failed(format!(
            "there is no key file at {}: copy {} there first, for without it the copied tokens cannot be \
             opened",
            wanted.display(),
            here.as_ref().map_or_else(
                || "the one that the tokens are sealed with".to_owned(),
                |path| path.display().to_string()
            ),
        ))),
    }
}

/// What is left to do, or to know.
fn notes(settings: &Settings, source: &Backend, target: &Backend) -> Vec<String> {
    let mut notes = vec![format!(
        "Set store.url to {target} for every sidecar, then start them. Keep {source} until they have \
         run for a while, and let nobody use it: tokens that are renewed there are lost to the others."
    )];
    if let (Backend::Sqlite { path }, None) = (source, &settings.encryption.active)
        && !target.may_keep_its_key()
    {
        notes.push(format!(
            "The tokens are sealed with the key in {}, so configure it: [[encryption.keys]] id = \
             \"file\", file = \"{}\".",
            key_file_beside(path).display(),
            key_file_beside(path).display(),
        ));
    }
    let waiting = spooled(&settings.store.spool_dir);
    if waiting > 0 {
        notes.push(format!(
            "{waiting} renewals wait in {}: they are newer than what was copied, and are taken by \
             whichever store the next sidecar with this store.spool_dir opens. Set store.spool_dir to \
             this directory.",
            settings.store.spool_dir.display()
        ));
    }
    notes
}

/// How many renewals wait in the spool of this machine.
fn spooled(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let is_renewal = |path: &Path| path.extension().is_some_and(|end| end == "renewal");
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| is_renewal(path)).count()
}

// === impl Done ===

impl Done {
    fn tell(
        &self,
        (source, target): &(String, String),
        notes: &[String],
        json: bool,
        out: &mut dyn Write,
    ) -> Outcome {
        let Self { moved, verdict } = self;
        if json {
            let answer = json!({
                "verdict": verdict.as_json(),
                "from": source,
                "to": target,
                "copied": moved.copied,
                "removed": moved.removed,
                "notes": notes,
            });
            return write(out, &format!("{answer}\n"));
        }
        let mut text = format!(
            "{} copied, {} removed. Verified: {} the same in {source} and {target}, and all of their \
             tokens open",
            moved.copied, moved.removed, verdict.same
        );
        for (odd, what) in [
            (&verdict.newer, "newer in the target, and left so"),
            (
                &verdict.unreadable,
                "unreadable in the source, and not copied",
            ),
            (&verdict.closed, "copied, but their tokens do not open"),
            (&verdict.different, "different"),
        ] {
            if odd.count > 0 {
                text = format!("{text}; {what}: {odd}");
            }
        }
        text.push_str(".\n");
        for note in notes {
            text = format!("{text}{note}\n");
        }
        write(out, &text)
    }

    fn judge(&self, (source, _): &(String, String), rules: Rules) -> Outcome {
        let verdict = &self.verdict;
        if verdict.is_complete(rules.keep_newer) {
            return Ok(());
        }
        let mut what = Vec::new();
        if verdict.different.count > 0 {
            what.push("some connections differ: run this again".to_owned());
        }
        if verdict.newer.count > 0 && !rules.keep_newer {
            what.push("some are newer in the target, so somebody uses it".to_owned());
        }
        if verdict.closed.count > 0 {
            what.push(
                "some tokens do not open: add the keys that they name to [encryption], and run this \
                 again"
                    .to_owned(),
            );
        }
        if verdict.unreadable.count > 0 {
            what.push(format!(
                "some rows of {source} cannot be read: restore them from a backup, or let their users \
                 connect again"
            ));
        }
        Err(Error::Failed(format!("incomplete: {}", what.join("; "))))
    }
}
