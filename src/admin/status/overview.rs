//! `/`: whether all is well, and if not, where.
//!
//! It is there when the store is not: then it says so, and shows what the process knows by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::{Extension, extract::State, response::Response};
use http::StatusCode;
use tokio::time::timeout;

use super::{
    Room,
    chart::{Chart, Per},
    connection::Event,
    connections::Row,
    deliveries::Line,
    door::Visitor,
    show::{self, Badge},
    templates::{Component, Counts, Overview, ProviderCount},
};
use crate::{
    admin::{Trouble, api::Selection, page::Limit},
    base::ids::ProviderName,
    store::{Census, DeliveryFilter, DeliveryStatus, Filter, Tally},
};

/// How many of each kind are shown.
const SHOWN: usize = 6;

/// How long somebody who wants to know whether all is well waits for the store.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many renewals are shown.
const RECENT: usize = 10;

/// What the store knows.
#[derive(Default)]
struct Stored {
    counts: Counts,
    providers: Vec<ProviderCount>,
    broken: Vec<Row>,
    dead: Vec<Line>,
}

/// `GET /`
pub(super) async fn page(
    State(room): State<Arc<Room>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let (stored, store_fault) = match timeout(PATIENCE, room.stored()).await {
        Ok(Ok(stored)) => (stored, None),
        Ok(Err(trouble)) => (Stored::default(), Some(trouble.told().detail)),
        Err(_late) => {
            let what = format!("no answer within {} seconds", PATIENCE.as_secs());
            (Stored::default(), Some(what))
        }
    };
    let (samples, age) = room.history.samples();
    let report = room.readiness.report();
    let components = report
        .components
        .into_iter()
        .map(|(name, component)| Component {
            name,
            health: Badge::of(component.status),
            reason: component.reason.unwrap_or_default(),
        });
    let recent = room.history.notes(RECENT, |_| true);
    let overview = Overview {
        frame: room.frame(visitor, "overview", "Overview").live(),
        components: components.collect(),
        store_fault,
        counts: stored.counts,
        providers: stored.providers,
        requests: Chart::of(&samples, age, Per::Second, |totals| totals.requests),
        renewals: Chart::of(&samples, age, Per::Minute, |totals| totals.renewals),
        delivered: Chart::of(&samples, age, Per::Minute, |totals| totals.deliveries),
        broken: stored.broken,
        dead: stored.dead,
        recent: recent.iter().map(|note| Event::of(&room, note)).collect(),
    };
    show::page(StatusCode::OK, &overview)
}

// === impl Room ===

impl Room {
    async fn stored(&self) -> Result<Stored, Trouble> {
        let store = &*self.api.store;
        let selection = Selection {
            filter: Filter {
                provider: None,
                needs_reauth: Some(true),
            },
            user_prefix: None,
        };
        let dead = DeliveryFilter {
            status: Some(DeliveryStatus::Dead),
            ..DeliveryFilter::default()
        };
        let limit = Limit::of(SHOWN);
        let (census, tally) =
            futures_util::future::try_join(self.counted.census(store), self.counted.tally(store))
                .await?;
        let broken = self.api.connections(&selection, None, limit).await?;
        let dead = self.api.deliveries(&dead, None, limit).await?;
        let broken = broken.items.iter().map(|one| Row::of(self, one, None));
        Ok(Stored {
            counts: counts(&census, &tally),
            providers: by_provider(&self.api.providers, &census),
            broken: broken.collect(),
            dead: dead.items.iter().map(|one| Line::of(self, one)).collect(),
        })
    }
}

fn counts(census: &[Census], tally: &[Tally]) -> Counts {
    let connections = |needs_reauth| {
        let lines = census.iter();
        let fitting = lines.filter(|line| line.needs_reauth == needs_reauth);
        fitting.map(|line| line.count).sum()
    };
    let deliveries = |status| {
        let mut lines = tally.iter();
        lines
            .find(|line| line.status == status)
            .map_or(0, |line| line.count)
    };
    Counts {
        active: connections(false),
        needs_reauth: connections(true),
        pending: deliveries(DeliveryStatus::Pending),
        delivered: deliveries(DeliveryStatus::Delivered),
        dead: deliveries(DeliveryStatus::Dead),
        unrouted: deliveries(DeliveryStatus::Unrouted),
    }
}

/// Those that are configured, and those that there are connections of.
fn by_provider(configured: &BTreeSet<ProviderName>, census: &[Census]) -> Vec<ProviderCount> {
    let mut all: BTreeMap<&ProviderName, (u64, u64)> =
        configured.iter().map(|name| (name, (0, 0))).collect();
    for line in census {
        let (active, needs_reauth) = all.entry(&line.provider).or_default();
        if line.needs_reauth {
            *needs_reauth += line.count;
        } else {
            *active += line.count;
        }
    }
    let lines = all
        .into_iter()
        .map(|(name, (active, needs_reauth))| ProviderCount {
            name: name.to_string(),
            active,
            needs_reauth,
        });
    lines.collect()
}
