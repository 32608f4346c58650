//! `daypass audit`: who did what.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, Error, Outcome, connections, deliveries::time, table, write, write_json};
use crate::{
    admin::{api::AuditView, audit::Action},
    base::{
        clock::Timestamp,
        ids::{ProviderName, UserId},
    },
    store::{Deed, DeedFilter, Trail},
    telemetry::{self, log},
};

/// How many are asked of the store at a time.
const PORTION: usize = 200;

/// What to do with the audit.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List who did what, the newest first
    ///
    /// A record for each call of the API that changes something, for each command that does, for each link
    /// and renewal that the app asks for, and for each consent.
    List(List),
}

/// `audit list`.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only records about this user
    #[arg(long)]
    user: Option<UserId>,
    /// Only records about this provider
    #[arg(long)]
    provider: Option<ProviderName>,
    /// Only records of this action, such as connection.disconnect
    #[arg(long, value_parser = action)]
    action: Option<Action>,
    /// Only records of this time or later, such as 2026-11-21T05:36:03Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only records of before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// How many at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Runs `command`.
pub(super) fn run(command: &Command, context: &Context<'_>, out: &mut dyn Write) -> Outcome {
    let loaded = context.loaded()?;
    connections::must_exist(&loaded)?;
    log::init(&telemetry::Config {
        log: "off,daypass::app=warn".to_owned(),
        ..loaded.settings.telemetry.clone()
    })?;
    let Command::List(list) = command;
    let found = connections::with_core(&loaded.settings, async |core| {
        newest(&*core.everything, &list.filter(), list.limit).await
    })?;
    if context.global.json {
        let all: Vec<AuditView> = found.into_iter().map(Into::into).collect();
        return write_json(out, &json!({ "audit": all }));
    }
    write(out, &as_table(&found))
}

async fn newest<T: Trail + ?Sized>(
    trail: &T,
    filter: &DeedFilter,
    limit: usize,
) -> Result<Vec<Deed>, Error> {
    let mut found: Vec<Deed> = Vec::new();
    while found.len() < limit {
        let before = found.last().map(|last| last.id);
        let wanted = (limit - found.len()).min(PORTION);
        let page = trail.deeds(filter, before, wanted).await?;
        let is_last = page.len() < wanted;
        found.extend(page);
        if is_last {
            break;
        }
    }
    Ok(found)
}

fn as_table(found: &[Deed]) -> String {
    let mut table = table::with_head(&[
        "AT", "VIA", "WHO", "ACTION", "PROVIDER", "USER", "OUTCOME", "REASON", "DETAIL",
    ]);
    let absent = || "–".to_owned();
    for deed in found {
        table.add_row([
            deed.at.to_string(),
            deed.via.clone(),
            deed.who.clone(),
            deed.action.clone(),
            deed.provider
                .as_ref()
                .map_or_else(absent, ToString::to_string),
            deed.user.as_ref().map_or_else(absent, ToString::to_string),
            deed.outcome.clone(),
            deed.reason.clone().unwrap_or_else(absent),
            deed.detail.clone().unwrap_or_default(),
        ]);
    }
    table::text(&table)
}

fn action(text: &str) -> Result<Action, String> {
    let all = || Action::ALL.iter().copied();
    let found = all().find(|action| action.as_str() == text);
    found.ok_or_else(|| {
        let words: Vec<&str> = all().map(Action::as_str).collect();
        format!("there are {}", words.join(", "))
    })
}

// === impl List ===

impl List {
    fn filter(&self) -> DeedFilter {
        DeedFilter {
            user: self.user.clone(),
            provider: self.provider.clone(),
            action: self.action.map(|action| action.as_str().to_owned()),
            since: self.since,
            until: self.until,
        }
    }
}
