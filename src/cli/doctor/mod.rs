//! `daypass doctor`: looks at everything that a sidecar needs, and says what is wrong, why that matters
//! and how to mend it.
//!
//! 1. A check is one file: it implements [`Check`] and stands in [`CHECKS`].
//! 2. It looks and changes nothing: no database, table or key is made, no token spent, no event sent.
//! 3. It never gives up at the first fault: what cannot be looked at because of another one says so.
//! 4. Exit codes: 0 without errors, 1 with errors, and with warnings, too, under `--strict`; 2 if the
//!    configuration is wrong, for then there is nothing to look at.

use std::io::Write;

use async_trait::async_trait;
use clap::Args;

use super::{Context, Error, Outcome, block_on, write, write_json};
use crate::{
    app::{Opener, StartError, Stores},
    base::{
        clock::{Clock as _, SystemClock, Timestamp},
        lifecycle::Lifecycle,
    },
    config::{Loaded, Problems},
    store::{self, Survey},
    telemetry::{self, log},
};

mod clock;
mod configuration;
mod finding;
mod inward;
mod keys;
mod place;
mod providers;
mod reach;
mod spool;
mod storage;

use finding::{Finding, Report, Severity};

/// In the order in which they are told.
const CHECKS: [&dyn Check; 7] = [
    &configuration::Configuration,
    &storage::Store,
    &keys::Keys,
    &spool::Spool,
    &clock::Clock,
    &providers::Providers,
    &inward::Inward,
];

/// How to judge.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
    /// Call nobody but the store: not the providers, the public address or the app
    #[arg(long)]
    offline: bool,
}

/// One part that is looked at.
#[async_trait]
trait Check: Sync {
    /// What there is to say; something in any case.
    async fn look(&self, patient: &Patient<'_>) -> Vec<Finding>;
}

/// What is looked at.
struct Patient<'a> {
    loaded: &'a Loaded,
    /// The open store, or why it is not.
    opened: Result<Opened, StartError>,
    now: Timestamp,
    /// Whether nobody but the store is to be called.
    is_offline: bool,
}

/// An open store, and what it says of itself.
struct Opened {
    stores: Stores,
    survey: Result<Survey, store::Error>,
    /// When it was asked for that, and when it had answered.
    asked: Timestamp,
    told: Timestamp,
}

/// Looks at everything; fails if there is an error.
pub(super) fn run(options: &Options, context: &Context<'_>, out: &mut dyn Write) -> Outcome {
    let json = context.global.json;
    let loaded = match context.load() {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems, json, out),
    };
    log::init(&telemetry::Config {
        log: "off".to_owned(),
        ..loaded.settings.telemetry.clone()
    })?;
    let report = block_on(examine(&loaded, options.offline))?;
    if json {
        write_json(out, &report.as_json())?;
    } else {
        write(out, &report.as_text())?;
    }
    let (errors, warnings) = (
        report.count(Severity::Error),
        report.count(Severity::Warning),
    );
    if errors == 0 && (warnings == 0 || !options.strict) {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "{} and {} to look after",
        counted(errors, "error"),
        counted(warnings, "warning")
    )))
}

async fn examine(loaded: &Loaded, is_offline: bool) -> Report {
    let lifecycle = Lifecycle::new();
    let mut opener = Opener::of_system(loaded.settings.tls_ca_file.as_deref(), &lifecycle);
    opener.existing_only = true;
    let opening = Box::pin(opener.open(&loaded.settings.store.backend));
    let patient = Patient {
        loaded,
        opened: match opening.await {
            Ok(stores) => Ok(Opened::survey(stores).await),
            Err(error) => Err(error),
        },
        now: SystemClock.now(),
        is_offline,
    };
    let mut report = Report::default();
    for check in CHECKS {
        report.extend(check.look(&patient).await);
    }
    lifecycle.stop();
    report
}

// === impl Opened ===

impl Opened {
    async fn survey(stores: Stores) -> Self {
        let asked = SystemClock.now();
        let survey = stores.inspect.survey().await;
        Self {
            stores,
            survey,
            asked,
            told: SystemClock.now(),
        }
    }
}

/// What is wrong with the configuration, as findings.
fn refuse(problems: &Problems, json: bool, out: &mut dyn Write) -> Outcome {
    let mut report = Report::default();
    report.extend(configuration::problems(problems));
    if json {
        write_json(out, &report.as_json())?;
    } else {
        write(out, &report.as_text())?;
    }
    Err(Error::Told)
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
