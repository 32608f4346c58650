//! `daypass rotate-keys`: seals all that is stored with the active key, and says which keys are still
//! needed.
//!
//! 1. Sidecars go on serving. What they write meanwhile stands, and is sealed with the key that is active
//!    for them; so the count at the end is what counts, and a rest is looked at again.
//! 2. A key may be removed when nothing here is sealed with it: no row of the store, and no renewal that
//!    waits in the spool of this machine. Spools of other machines are not seen from here.

#![expect(
    clippy::future_not_send,
    reason = "a command runs on the thread that writes its answer"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use clap::Args;
use serde_json::{Value, json};

use super::{Context, Error, Outcome, block_on, operator, progress::Progress, table, write};
use crate::{
    admin::audit::{Action, Actor, Order},
    app::{self, Opener, Stores},
    base::{ids::ProviderName, lifecycle::Lifecycle, random::OsRandom},
    config::{Settings, key_file_beside},
    store::{
        Backend, Drawer,
        rotation::{InUse, Rotation, Turned},
        seal::KeyRing,
    },
    telemetry::{self, log},
    token::spooled_keys,
};

/// How often what was written meanwhile with another key is sealed anew. Where that goes on, a sidecar
/// has another active key.
const ROUNDS: u32 = 3;

/// What to do.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Change nothing: only count what is sealed with which key
    #[arg(long)]
    check: bool,
}

/// What came of it.
struct Report {
    active: String,
    configured: BTreeSet<String>,
    /// `None` if it was only counted.
    turned: Option<Turned>,
    in_use: InUse,
    /// Renewals in the spool of this machine, by key.
    spooled: BTreeMap<String, u64>,
}

/// Runs the command.
pub(super) fn run(options: &Options, context: &Context<'_>, out: &mut dyn Write) -> Outcome {
    let loaded = context.loaded()?;
    let settings = &loaded.settings;
    log::init(&telemetry::Config {
        log: "off,daypass::audit=warn".to_owned(),
        ..settings.telemetry.clone()
    })?;
    let keys = keys(settings)?;
    let json = context.global.json;
    let mut progress = Progress::new(json, out);
    let report = block_on(async {
        let lifecycle = Lifecycle::new();
        let opener = Opener::of_system(settings.tls_ca_file.as_deref(), &lifecycle);
        let operator = operator::of(context.environment);
        let report = rotate(options, settings, &keys, opener, &operator, &mut progress).await;
        lifecycle.drain(app::DRAIN_LIMIT).await;
        report
    })?;
    progress.finish();
    drop(progress);
    let report = report?;
    if json {
        write(out, &format!("{}\n", report.as_json()))?;
    } else {
        write(out, &report.as_text())?;
    }
    report.judge()
}

/// The keys that the sidecars of this configuration have.
fn keys(settings: &Settings) -> Result<KeyRing, Error> {
    if let Some(ring) = app::configured_keys(&settings.encryption)? {
        return Ok(ring);
    }
    let Backend::Sqlite { path } = &settings.store.backend else {
        return Err(app::KeysError::Missing.into());
    };
    let path = key_file_beside(path);
    app::key_of_file(&path)?.ok_or_else(|| {
        Error::Failed(format!(
            "no encryption key is configured, and there is no key file at {}: there is nothing that \
             could be opened",
            path.display()
        ))
    })
}

async fn rotate(
    options: &Options,
    settings: &Settings,
    keys: &KeyRing,
    mut opener: Opener<'_>,
    operator: &Actor,
    progress: &mut Progress<'_>,
) -> Result<Report, Error> {
    // Where there is nothing, nothing is made: it would look like an empty store.
    opener.existing_only = true;
    let stores = opener.open(&settings.store.backend).await?;
    let turning = turn(options, settings, keys, &stores, progress);
    if options.check {
        return turning.await;
    }
    let tell = |report: &Report| {
        let turned = report.turned.as_ref();
        turned.map(|turned| format!("{} sealed", turned.resealed))
    };
    let order = Order::to(Action::RotateKeys).with(format!("to {}", keys.active_id()));
    let audit = opener.audit(&stores);
    audit.telling(operator, order, turning, tell).await
}

async fn turn(
    options: &Options,
    settings: &Settings,
    keys: &KeyRing,
    stores: &Stores,
    progress: &mut Progress<'_>,
) -> Result<Report, Error> {
    let providers = providers(settings, stores).await?;
    let rotation = Rotation {
        seals: &*stores.seals,
        keys,
        random: &OsRandom,
        providers: &providers,
    };
    let connections = stores.store.census().await?;
    let guess: u64 = connections.iter().map(|line| line.count).sum();
    let mut in_use = count(&rotation, progress, guess).await?;
    let turned = if options.check {
        None
    } else {
        let mut turned = Turned::default();
        for _round in 0..ROUNDS {
            let left = in_use.rows_beside(keys.active_id());
            if left == 0 || left == turned.closed.values().sum::<u64>() {
                break;
            }
            progress.begin_rows("sealing", left);
            let more = rotation.turn(|rows| progress.advance(rows)).await?;
            turned.resealed += more.resealed;
            turned.overtaken += more.overtaken;
            turned.closed = more.closed;
            in_use = count(&rotation, progress, guess).await?;
        }
        Some(turned)
    };
    Ok(Report {
        active: keys.active_id().to_owned(),
        configured: keys.ids().map(str::to_owned).collect(),
        turned,
        in_use,
        spooled: spooled(settings)?,
    })
}

async fn count(
    rotation: &Rotation<'_>,
    progress: &mut Progress<'_>,
    guess: u64,
) -> Result<InUse, Error> {
    progress.begin_rows("counting", guess);
    Ok(rotation.count(|rows| progress.advance(rows)).await?)
}

/// Those that are configured, and those of which connections are left.
async fn providers(settings: &Settings, stores: &Stores) -> Result<Vec<ProviderName>, Error> {
    let configured = settings.providers.iter().map(|known| known.name().clone());
    let census = stores.store.census().await?;
    let left = census.into_iter().map(|line| line.provider);
    let all: BTreeSet<ProviderName> = configured.chain(left).collect();
    Ok(all.into_iter().collect())
}

fn spooled(settings: &Settings) -> Result<BTreeMap<String, u64>, Error> {
    let directory = &settings.store.spool_dir;
    spooled_keys(directory).map_err(|source| Error::Io {
        what: format!("{} cannot be read", directory.display()),
        source,
    })
}

// === impl Report ===

impl Report {
    /// All keys that there are anywhere, the active one first.
    fn keys(&self) -> Vec<&str> {
        let mut keys: BTreeSet<&str> = self.configured.iter().map(String::as_str).collect();
        keys.extend(self.in_use.keys.keys().map(String::as_str));
        keys.extend(self.spooled.keys().map(String::as_str));
        keys.remove(self.active.as_str());
        let others = keys.into_iter();
        [self.active.as_str()].into_iter().chain(others).collect()
    }

    fn is_removable(&self, key: &str) -> bool {
        key != self.active && self.configured.contains(key) && self.is_unused(key)
    }

    fn is_unused(&self, key: &str) -> bool {
        self.in_use.rows(key) == 0 && !self.spooled.contains_key(key)
    }

    /// What it means for a key.
    fn standing(&self, key: &str) -> &'static str {
        if key == self.active {
            "active"
        } else if !self.configured.contains(key) {
            "missing"
        } else if self.is_unused(key) {
            "may be removed"
        } else {
            "still needed"
        }
    }

    fn as_json(&self) -> Value {
        let keys = self.keys().into_iter().map(|key| {
            let rows = |drawer| {
                let rows = self.in_use.keys.get(key);
                rows.and_then(|rows| rows.get(&drawer))
                    .copied()
                    .unwrap_or(0)
            };
            let rows: BTreeMap<&str, u64> = Drawer::ALL
                .into_iter()
                .map(|drawer| (drawer.as_str(), rows(drawer)))
                .collect();
            json!({
                "id": key,
                "active": key == self.active,
                "configured": self.configured.contains(key),
                "rows": rows,
                "total": self.in_use.rows(key),
                "spooled": self.spooled.get(key).copied().unwrap_or(0),
                "may_be_removed": self.is_removable(key),
            })
        });
        let keys: Vec<Value> = keys.collect();
        json!({
            "active": self.active,
            "keys": keys,
            "resealed": self.turned.as_ref().map(|turned| turned.resealed),
            "overtaken": self.turned.as_ref().map(|turned| turned.overtaken),
            "unopenable": self.turned.as_ref().map(|turned| &turned.closed),
            "unreadable": self.in_use.unreadable,
            "notes": self.notes(),
        })
    }

    fn as_text(&self) -> String {
        let mut text = String::new();
        if let Some(turned) = &self.turned {
            text = format!(
                "{} sealed anew with \"{}\"",
                rows(turned.resealed),
                self.active
            );
            if turned.overtaken > 0 {
                text = format!("{text}; {} written by others meanwhile", turned.overtaken);
            }
            text.push_str(".\n");
        }
        let mut head = vec!["key"];
        head.extend(Drawer::ALL.map(Drawer::as_str));
        head.extend(["spooled", "standing"]);
        let mut table = table::with_head(&head);
        for key in self.keys() {
            let in_rows = self.in_use.keys.get(key);
            let mut line = vec![key.to_owned()];
            line.extend(Drawer::ALL.map(|drawer| {
                let rows = in_rows.and_then(|rows| rows.get(&drawer));
                rows.copied().unwrap_or(0).to_string()
            }));
            line.push(self.spooled.get(key).copied().unwrap_or(0).to_string());
            line.push(self.standing(key).to_owned());
            table.add_row(line);
        }
        text.push_str(&table::text(&table));
        for note in self.notes() {
            text = format!("{text}{note}\n");
        }
        text
    }

    /// What is left to do, or to know.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for key in self.keys() {
            let (left, spooled) = (self.in_use.rows(key), self.spooled.get(key));
            if key == self.active {
                continue;
            }
            if !self.configured.contains(key) {
                notes.push(format!(
                    "\"{key}\" is not configured, and nothing that is sealed with it opens: add it to \
                     [encryption] under this id and run this again. If it is lost, those users have to \
                     connect again."
                ));
                continue;
            }
            let closed = self
                .turned
                .as_ref()
                .and_then(|turned| turned.closed.get(key));
            if let Some(closed) = closed {
                notes.push(format!(
                    "{} of \"{key}\" do not open although it is configured: they were altered, belong to \
                     a provider that is not configured, or the key has another value now.",
                    rows(*closed)
                ));
            } else if left > 0 && self.turned.is_some() {
                notes.push(format!(
                    "Somebody goes on sealing with \"{key}\": make \"{}\" the active key of every \
                     sidecar, then run this again.",
                    self.active
                ));
            }
            if spooled.is_some() {
                notes.push(format!(
                    "Renewals that are sealed with \"{key}\" wait in the spool of this machine: keep the \
                     key until a sidecar has given them to the store."
                ));
            }
        }
        if !self.in_use.unreadable.is_empty() {
            notes.push(format!(
                "{} cannot be read: {}.",
                rows(u64::try_from(self.in_use.unreadable.len()).unwrap_or(u64::MAX)),
                self.in_use.unreadable.join(", ")
            ));
        }
        if self.keys().into_iter().any(|key| self.is_removable(key)) {
            notes.push(
                "Before you remove a key: every sidecar must have the new one as its active key for 15 \
                 minutes (connect links that are under way are sealed, too), and no spool of another \
                 machine may hold renewals (metric daypass_spool_files)."
                    .to_owned(),
            );
        }
        notes
    }

    fn judge(&self) -> Outcome {
        let left = self.in_use.rows_beside(&self.active);
        if left == 0 && self.in_use.unreadable.is_empty() {
            return Ok(());
        }
        let what = if left == 0 {
            "some rows cannot be read".to_owned()
        } else {
            format!(
                "{} not sealed with the active key \"{}\"",
                if left == 1 {
                    "1 row is".to_owned()
                } else {
                    format!("{left} rows are")
                },
                self.active
            )
        };
        Err(Error::Failed(match self.turned {
            Some(_) => what,
            None => format!("{what}: run `daypass rotate-keys`"),
        }))
    }
}

fn rows(count: u64) -> String {
    match count {
        1 => "1 row".to_owned(),
        count => format!("{count} rows"),
    }
}
