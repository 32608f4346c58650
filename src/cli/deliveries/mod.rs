//! `daypass deliveries`: what is on its way to the app, what was given up, and sending it again.

use std::{io::Write, sync::Arc};

use clap::{Args, Subcommand};
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};

use super::{Context, Error, Outcome, connections, operator, table, write, write_json};
use crate::{
    admin::audit::{Action, Actor, Order},
    app::Core,
    base::{
        clock::Timestamp,
        ids::{ProviderName, UserId},
    },
    store::{Deliveries, Delivery, DeliveryFilter, DeliveryId, DeliveryStatus},
    telemetry::{self, log},
    webhook::{Replayed, Replays},
};

/// How many are asked of the store at a time.
const PORTION: usize = 200;

/// What to do with deliveries.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List deliveries, the newest first
    List(List),
    /// Deliver again what was delivered or given up
    ///
    /// One by its number, or all that fit: `--user`, `--provider`, `--since` and `--until` are taken
    /// together, and dead letters are meant unless `--status` says otherwise. The app gets each with
    /// the `webhook-id` that it had.
    Replay(Replay),
}

/// Which deliveries.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Only these: pending, delivered, dead or unrouted
    #[arg(long, value_parser = status)]
    status: Option<DeliveryStatus>,
    /// Only this user's
    #[arg(long)]
    user: Option<UserId>,
    /// Only this provider's
    #[arg(long)]
    provider: Option<ProviderName>,
    /// Only of events taken at or after this time, such as 2026-11-21T05:36:03Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only of events taken before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

/// `deliveries list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    which: Which,
    /// How many at most
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// `deliveries replay`.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// Its number, as `deliveries list` shows it
    #[arg(conflicts_with_all = ["status", "user", "provider", "since", "until"])]
    id: Option<u64>,
    #[command(flatten)]
    which: Which,
}

/// Runs `command`.
pub(super) fn run(command: &Command, context: &Context<'_>, out: &mut dyn Write) -> Outcome {
    let loaded = context.loaded()?;
    connections::must_exist(&loaded)?;
    // Who asks for a list wants a list; trouble with opening is told, whatever the level.
    log::init(&telemetry::Config {
        log: connections::LOGGED.to_owned(),
        ..loaded.settings.telemetry.clone()
    })?;
    let (settings, json) = (loaded.settings, context.global.json);
    match command {
        Command::List(list) => {
            let filter = list.which.filter();
            let found = connections::with_core(&settings, async |core| {
                newest(&*core.everything, &filter, list.limit).await
            })?;
            show(&found, json, out)
        }
        Command::Replay(replay) => {
            let operator = operator::of(context.environment);
            let sent = connections::with_core(&settings, async |core| {
                replay.send_audited(core, &operator).await
            })?;
            if json {
                return write_json(out, &json!({ "replayed": sent }));
            }
            write(out, &format!("{sent} on their way again.\n"))
        }
    }
}

async fn newest(
    store: &dyn Deliveries,
    filter: &DeliveryFilter,
    limit: usize,
) -> Result<Vec<Delivery>, Error> {
    let mut found: Vec<Delivery> = Vec::new();
    while found.len() < limit {
        let before = found.last().map(|last| last.id);
        let wanted = (limit - found.len()).min(PORTION);
        let page = store.deliveries(filter, before, wanted).await?;
        let is_last = page.len() < wanted;
        found.extend(page);
        if is_last {
            break;
        }
    }
    Ok(found)
}

fn show(found: &[Delivery], json: bool, out: &mut dyn Write) -> Outcome {
    if json {
        let all: Vec<Value> = found.iter().map(view).collect();
        return write_json(out, &json!({ "deliveries": all }));
    }
    let mut table = table::with_head(&[
        "ID",
        "STATUS",
        "EVENT",
        "PROVIDER",
        "USER",
        "TRIES",
        "AT",
        "LAST ERROR",
    ]);
    for found in found {
        table.add_row([
            found.id.0.to_string(),
            found.status.as_str().to_owned(),
            found.name.clone(),
            found.provider.to_string(),
            found
                .user
                .as_ref()
                .map_or_else(|| "–".to_owned(), ToString::to_string),
            found.attempts.to_string(),
            found.at.to_string(),
            found.last_error.clone().unwrap_or_default(),
        ]);
    }
    write(out, &table::text(&table))
}

fn view(found: &Delivery) -> Value {
    json!({
        "id": found.id.0,
        "event": found.event,
        "name": found.name,
        "provider": found.provider,
        "user": found.user,
        "status": found.status.as_str(),
        "attempts": found.attempts,
        "accepted_at": found.accepted_at,
        "first_tried_at": found.first_tried_at,
        "at": found.at,
        "last_error": found.last_error,
    })
}

fn status(text: &str) -> Result<DeliveryStatus, String> {
    let known = DeliveryStatus::ALL.map(DeliveryStatus::as_str);
    DeliveryStatus::parse(text).ok_or_else(|| format!("there are {}", known.join(", ")))
}

pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "expected a time such as 2026-11-21T05:36:03Z".to_owned())
}

// === impl Which ===

impl Which {
    fn filter(&self) -> DeliveryFilter {
        DeliveryFilter {
            status: self.status,
            user: self.user.clone(),
            provider: self.provider.clone(),
            since: self.since,
            until: self.until,
        }
    }
}

// === impl Replay ===

impl Replay {
    async fn send_audited(&self, core: &Core, operator: &Actor) -> Result<u64, Error> {
        // Whoever serves from the store looks for it by itself.
        let replays = Replays::new(Arc::clone(&core.everything) as _, Arc::default());
        let order = if let Some(id) = self.id {
            Order::to(Action::ReplayDelivery).with(format!("delivery {id}"))
        } else {
            let status = self.which.status.unwrap_or(DeliveryStatus::Dead);
            Order::to(Action::ReplayDeliveries)
                .about_some(self.which.provider.clone(), self.which.user.clone())
                .with(status.as_str().to_owned())
        };
        let tell = |sent: &u64| Some(format!("{sent} replayed"));
        let audit = core.audit(Counter::default());
        audit
            .telling(operator, order, self.send(&replays), tell)
            .await
    }

    /// How many are on their way again.
    async fn send(&self, replays: &Replays) -> Result<u64, Error> {
        if let Some(id) = self.id {
            return match replays.one(DeliveryId(id)).await? {
                Replayed::Sent => Ok(1),
                Replayed::Unknown | Replayed::Nobodys => Err(Error::Failed(format!(
                    "there is no delivery {id}, or it is nobody's; `daypass deliveries list` tells \
                     which there are"
                ))),
            };
        }
        let mut filter = self.which.filter();
        let status = filter.status.unwrap_or(DeliveryStatus::Dead);
        if status == DeliveryStatus::Unrouted {
            return Err(Error::Usage(
                "what is unrouted has nobody to be delivered to: it is delivered when its user connects"
                    .to_owned(),
            ));
        }
        filter.status = Some(status);
        Ok(replays.all(&filter).await?)
    }
}
