//! Events and deliveries.
//!
//! 1. `lines` has a row for each user, whose `due_at` says when the first pending delivery is due.
//!    While a line is claimed, `due_at` is when the claim runs out: what is due is free.
//! 2. Whatever joins a line takes the next place; the first one is the pending one with the lowest.
//! 3. Rows are locked in this order: the event, lines by user, deliveries. What a statement reads
//!    beside the rows that it locks is as old as the statement, so nothing is concluded from not seeing
//!    a delivery: that something joined a line shows in the `tail` of its row.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::{Row, types::Type};

use super::{
    Postgres, ask,
    desk::Desk,
    failure::Failure,
    grants::storable,
    rows::{Cells, Unfit},
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

mod accepting;
mod lines;
mod listing;
mod pruning;
mod replaying;

/// In the order in which [`read`] takes them.
macro_rules! columns {
    () => {
        "d.id, e.id, e.name, d.provider, d.user_id, d.status, d.attempts, d.accepted_at, \
         d.first_tried_at, d.at, d.last_error"
    };
}
use columns;

const ONE: &str = concat!(
    "SELECT ",
    columns!(),
    ", e.payload FROM daypass.deliveries d JOIN daypass.events e ON e.n = d.event \
     WHERE d.id = $1 AND d.status <> 'forgotten'"
);

#[async_trait]
impl Deliveries for Postgres {
    async fn accept(&self, event: NewEvent) -> Result<Accepted, Error> {
        ask!(self, |desk| accepting::accept(&desk, event))
    }

    async fn claim_lines(
        &self,
        owner: OwnerId,
        ttl: Duration,
        limit: usize,
    ) -> Result<Vec<Claimed>, Error> {
        ask!(self, |desk| lines::claim(&desk, owner, ttl, limit))
    }

    async fn hold_line(&self, user: &UserId, owner: OwnerId, ttl: Duration) -> Result<bool, Error> {
        let user = user.clone();
        ask!(self, |desk| lines::hold(&desk, &user, owner, ttl))
    }

    async fn settle(
        &self,
        delivery: DeliveryId,
        owner: OwnerId,
        settled: Settled,
    ) -> Result<bool, Error> {
        ask!(self, |desk| lines::settle(&desk, delivery, owner, settled))
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error> {
        let filter = filter.clone();
        ask!(lists self, |desk| listing::page(&desk, &filter, before, limit))
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<Claimed>, Error> {
        ask!(self, |desk| one(&desk, id))
    }

    async fn replay(&self, id: DeliveryId) -> Result<bool, Error> {
        ask!(self, |desk| replaying::replay(&desk, id))
    }

    async fn adopt(&self, account: &str, key: &ConnectionKey) -> Result<u64, Error> {
        let (account, key) = (storable(Some(account)), key.clone());
        ask!(lists self, |desk| accepting::adopt(&desk, account, key))
    }

    async fn tally(&self) -> Result<Vec<Tally>, Error> {
        ask!(lists self, |desk| listing::tally(&desk))
    }

    async fn prune(
        &self,
        delivered: Timestamp,
        others: Timestamp,
        limit: usize,
    ) -> Result<u64, Error> {
        ask!(lists self, |desk| pruning::prune(&desk, delivered, others, limit))
    }
}

async fn one(desk: &Desk, id: DeliveryId) -> Result<Option<Claimed>, Failure> {
    let rows = desk.query(ONE, &[(&number(id), Type::INT8)]).await?;
    rows.first().map(read_claimed).transpose()
}

/// As a column has it; no row has the numbers that do not fit.
fn number(id: DeliveryId) -> i64 {
    i64::try_from(id.0).unwrap_or(i64::MAX)
}

/// A row of [`columns`].
fn read(row: &Row) -> Result<Delivery, Failure> {
    delivery(&mut Cells::of(row)).map_err(|what| inconsistent(row, what))
}

/// A row of [`columns`] and the payload.
fn read_claimed(row: &Row) -> Result<Claimed, Failure> {
    let mut cells = Cells::of(row);
    let mut claimed = || {
        Ok(Claimed {
            delivery: delivery(&mut cells)?,
            payload: Sealed::from_bytes(cells.take()?),
        })
    };
    claimed().map_err(|what| inconsistent(row, what))
}

fn inconsistent(row: &Row, what: Unfit) -> Failure {
    let id = row
        .try_get::<_, i64>(0)
        .map_or_else(|_| "?".to_owned(), |id| id.to_string());
    Failure::Row {
        row: format!("delivery {id}"),
        what,
    }
}

fn delivery(cells: &mut Cells<'_>) -> Result<Delivery, Unfit> {
    Ok(Delivery {
        id: u64::try_from(cells.take::<i64>()?)
            .map(DeliveryId)
            .map_err(|_negative| "its number is below zero".to_owned())?,
        event: EventId::from_slice(cells.take()?)
            .map_err(|error| format!("its event's id is {error}"))?,
        name: cells.take()?,
        provider: ProviderName::parse(cells.take()?).map_err(|error| error.to_string())?,
        user: cells
            .take::<Option<&str>>()?
            .map(UserId::parse)
            .transpose()
            .map_err(|error| error.to_string())?,
        status: status(cells.take()?)?,
        attempts: cells.count()?.unwrap_or(0),
        accepted_at: cells.moment()?,
        first_tried_at: cells.time()?,
        at: cells.moment()?,
        last_error: cells.take()?,
    })
}

fn status(text: &str) -> Result<DeliveryStatus, Unfit> {
    DeliveryStatus::parse(text).ok_or_else(|| format!("its status {text:?} is unknown"))
}
