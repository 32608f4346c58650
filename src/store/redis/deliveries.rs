//! Events and deliveries, each call one script.
//!
//! 1. All of it lies in one slot, so that an event and the deliveries to all its users are one step,
//!    whoever the users are. In a cluster one server carries the whole queue; that is far more than
//!    providers send.
//! 2. Lists, counts and what is due are read from indices. No script goes through more than a portion;
//!    what needs more is asked for again from here.
//! 3. A call that is sent again is recognised: a delivery knows what was last done to it, an event who
//!    last added to it, and what has no row of its own is remembered for half a minute.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    Redis,
    desk::Desk,
    failure::Failure,
    leases::millis,
    portions::{PORTION, Portions},
    rows::{Fields, Row, Unfit},
    scripts,
};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, EventId, OwnerId, ProviderName, UserId},
    },
    store::{
        Accepted, Claimed, Deliveries, Delivery, DeliveryFilter, DeliveryId, DeliveryStatus, Error,
        NewEvent, Settled, Tally, seal::Sealed,
    },
};

/// A delivery as scripts answer it: its number, its row, and its payload where that was asked for.
type Raw = (u64, Fields, Vec<u8>);

#[async_trait]
impl Deliveries for Redis {
    async fn accept(&self, event: NewEvent) -> Result<Accepted, Error> {
        self.told(accept(&self.desk, &event).await)
    }

    async fn claim_lines(
        &self,
        owner: OwnerId,
        ttl: Duration,
        limit: usize,
    ) -> Result<Vec<Claimed>, Error> {
        self.told(claim_lines(&self.desk, owner, ttl, limit).await)
    }

    async fn hold_line(&self, user: &UserId, owner: OwnerId, ttl: Duration) -> Result<bool, Error> {
        let mut call = self
            .desk
            .call_in(&scripts::HOLD_LINE, &self.desk.keys.queue());
        call.arg(user.as_str())
            .arg(hex::encode(owner.as_bytes()))
            .arg(millis(ttl));
        self.told(self.desk.ask(&call).await)
    }

    async fn settle(
        &self,
        delivery: DeliveryId,
        owner: OwnerId,
        settled: Settled,
    ) -> Result<bool, Error> {
        let (word, what, next_in) = match &settled {
            Settled::Delivered => ("delivered", "", 0),
            Settled::Dead { what } => ("dead", what.as_str(), 0),
            Settled::Failed { what, next_in } => ("failed", what.as_str(), millis(*next_in)),
            Settled::Postponed { next_in } => ("postponed", "", millis(*next_in)),
        };
        let mut call = self.desk.call_in(&scripts::SETTLE, &self.desk.keys.queue());
        call.arg(delivery.0)
            .arg(hex::encode(owner.as_bytes()))
            .arg(word)
            .arg(what)
            .arg(next_in);
        self.told(self.desk.ask(&call).await)
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error> {
        self.told(list(&self.desk, filter, before, limit).await)
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<Claimed>, Error> {
        let mut call = self
            .desk
            .call_in(&scripts::READ_DELIVERY, &self.desk.keys.queue());
        call.arg(id.0);
        let found: Result<Vec<Raw>, Failure> = self.desk.ask(&call).await;
        let found = found.and_then(|found| found.into_iter().next().map(read_whole).transpose());
        self.told(found)
    }

    async fn replay(&self, id: DeliveryId) -> Result<bool, Error> {
        let mut call = self.desk.call_in(&scripts::REPLAY, &self.desk.keys.queue());
        self.told(self.desk.ask(call.arg(id.0)).await)
    }

    async fn adopt(&self, account: &str, key: &ConnectionKey) -> Result<u64, Error> {
        self.told(adopt(&self.desk, account, key).await)
    }

    async fn tally(&self) -> Result<Vec<Tally>, Error> {
        self.told(tally(&self.desk).await)
    }

    async fn prune(
        &self,
        delivered: Timestamp,
        others: Timestamp,
        limit: usize,
    ) -> Result<u64, Error> {
        self.told(prune(&self.desk, delivered, others, limit).await)
    }
}

async fn accept(desk: &Desk, event: &NewEvent) -> Result<Accepted, Failure> {
    let mut call = desk.call_in(&scripts::ACCEPT, &desk.keys.queue());
    call.arg(hex::encode(event.dedupe))
        .arg(hex::encode(event.id.as_bytes()))
        .arg(event.provider.as_str())
        .arg(&event.name)
        .arg(event.payload.as_bytes())
        .arg(event.at.as_millis())
        .arg(event.recipients.len());
    for recipient in &event.recipients {
        call.arg(recipient.user.as_str());
    }
    if event.recipients.is_empty() {
        call.arg(&event.accounts);
    }
    let (id, answer): (String, String) = desk.ask(&call).await?;
    let unfit = |what: Unfit| Failure::Row {
        row: format!("event {id}"),
        what,
    };
    let known = read_event(&id).map_err(unfit)?;
    Ok(match answer.parse() {
        Ok(added) => Accepted::Known { id: known, added },
        Err(_is_new) => Accepted::New { id: known },
    })
}

/// One that cannot be read is left out, and its line waits: it must not keep the others.
async fn claim_lines(
    desk: &Desk,
    owner: OwnerId,
    ttl: Duration,
    limit: usize,
) -> Result<Vec<Claimed>, Failure> {
    let mut call = desk.call_in(&scripts::CLAIM_LINES, &desk.keys.queue());
    call.arg(hex::encode(owner.as_bytes()))
        .arg(millis(ttl))
        .arg(limit.min(PORTION));
    let found: Vec<Raw> = desk.ask(&call).await?;
    let read = found.into_iter().filter_map(|raw| match read_whole(raw) {
        Ok(claimed) => Some(claimed),
        Err(failure) => {
            tracing::warn!(?failure, "a delivery cannot be read");
            None
        }
    });
    Ok(read.collect())
}

async fn list(
    desk: &Desk,
    filter: &DeliveryFilter,
    before: Option<DeliveryId>,
    limit: usize,
) -> Result<Vec<Delivery>, Failure> {
    let statuses: Vec<&str> = DeliveryStatus::ALL
        .into_iter()
        .filter(|status| filter.status.is_none_or(|only| only == *status))
        .map(DeliveryStatus::as_str)
        .collect();
    let time = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.as_millis().to_string());
    let mut before = before.map_or_else(String::new, |id| id.0.to_string());
    let mut found = Vec::new();
    while found.len() < limit {
        let mut call = desk.call_in(&scripts::LIST_DELIVERIES, &desk.keys.queue());
        call.arg(filter.user.as_ref().map_or("", UserId::as_str))
            .arg(statuses.join(" "))
            .arg(filter.provider.as_ref().map_or("", ProviderName::as_str))
            .arg(time(filter.since))
            .arg(time(filter.until))
            .arg(&before)
            .arg(limit - found.len())
            .arg(PORTION);
        let (last, rows): (String, Vec<Raw>) = desk.ask(&call).await?;
        for (id, row, _) in rows {
            found.push(read(id, row)?);
        }
        if last.is_empty() {
            break;
        }
        before = last;
    }
    Ok(found)
}

/// Not one step for an account for which much waits. Whoever is interrupted does it again.
async fn adopt(desk: &Desk, account: &str, key: &ConnectionKey) -> Result<u64, Failure> {
    let mut portions = Portions::up_to(usize::MAX);
    while let Some(most) = portions.next() {
        let mut call = desk.call_in(&scripts::ADOPT, &desk.keys.queue());
        call.arg(key.provider.as_str())
            .arg(account)
            .arg(key.user.as_str())
            .arg(most);
        portions.add(desk.ask(&call).await?);
    }
    Ok(portions.done())
}

async fn prune(
    desk: &Desk,
    delivered: Timestamp,
    others: Timestamp,
    limit: usize,
) -> Result<u64, Failure> {
    let mut portions = Portions::up_to(limit);
    while let Some(most) = portions.next() {
        let mut call = desk.call_in(&scripts::PRUNE_DELIVERIES, &desk.keys.queue());
        call.arg(delivered.as_millis())
            .arg(others.as_millis())
            .arg(most);
        portions.add(desk.ask(&call).await?);
    }
    Ok(portions.done())
}

async fn tally(desk: &Desk) -> Result<Vec<Tally>, Failure> {
    let mut call = desk.call_in(&scripts::TALLY, &desk.keys.queue());
    for status in DeliveryStatus::ALL {
        call.arg(status.as_str());
    }
    let lines: Vec<(String, u64, String)> = desk.ask(&call).await?;
    let tallies = lines.into_iter().filter_map(|(status, count, oldest)| {
        Some(Tally {
            status: DeliveryStatus::parse(&status)?,
            count,
            oldest: oldest.parse().ok().map(Timestamp::from_millis),
        })
    });
    Ok(tallies.filter(|tally| tally.count > 0).collect())
}

fn read_whole((id, row, payload): Raw) -> Result<Claimed, Failure> {
    Ok(Claimed {
        delivery: read(id, row)?,
        payload: Sealed::from_bytes(payload),
    })
}

fn read(id: u64, row: Fields) -> Result<Delivery, Failure> {
    read_row(id, Row(row)).map_err(|what| Failure::Row {
        row: format!("delivery {id}"),
        what,
    })
}

fn read_row(id: u64, mut row: Row) -> Result<Delivery, Unfit> {
    let needed = |name: &str, value: Option<String>| Row::needed(name, value);
    let status = needed("status", row.text("status")?)?;
    let provider = needed("provider", row.text("provider")?)?;
    let user = row.text("user")?.map(|user| UserId::parse(&user));
    Ok(Delivery {
        id: DeliveryId(id),
        event: read_event(&needed("event", row.text("event")?)?)?,
        name: needed("name", row.text("name")?)?,
        provider: ProviderName::parse(&provider)
            .map_err(|error| format!("its provider: {error}"))?,
        user: user
            .transpose()
            .map_err(|error| format!("its user: {error}"))?,
        status: DeliveryStatus::parse(&status)
            .ok_or_else(|| format!("its status {status:?} is unknown"))?,
        attempts: Row::needed("attempts", row.number("attempts")?)?,
        accepted_at: Row::needed("accepted", row.time("accepted")?)?,
        first_tried_at: row.time("first")?,
        at: Row::needed("at", row.time("at")?)?,
        last_error: row.text("error")?,
    })
}

fn read_event(text: &str) -> Result<EventId, Unfit> {
    let bytes = hex::decode(text).unwrap_or_default();
    EventId::from_slice(&bytes).map_err(|error| format!("its event is {error}"))
}
