//! Events and deliveries.
//!
//! 1. `lines` has a row for each user with anything pending, and `due_at` says when the first of it is
//!    due. While a line is claimed, `due_at` is when the claim runs out: what is due is free.
//! 2. Whatever joins a line takes the next place; the first one is the pending one with the lowest.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection as Db, OptionalExtension, Row};

use super::{
    Sqlite,
    failure::Failure,
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
#[cfg(test)]
mod tests;

/// In the order in which [`read`] takes them.
macro_rules! columns {
    () => {
        "d.id, e.id, e.name, d.provider, d.user, d.status, d.attempts, d.accepted_at, \
         d.first_tried_at, d.at, d.last_error"
    };
}
use columns;

const ONE: &str = concat!(
    "SELECT ",
    columns!(),
    ", e.payload FROM deliveries d JOIN events e ON e.n = d.event \
     WHERE d.id = ?1 AND d.status <> 'forgotten'"
);

#[async_trait]
impl Deliveries for Sqlite {
    async fn accept(&self, event: NewEvent) -> Result<Accepted, Error> {
        self.write(move |db, desk| accepting::accept(db, desk, &event))
            .await
    }

    async fn claim_lines(
        &self,
        owner: OwnerId,
        ttl: Duration,
        limit: usize,
    ) -> Result<Vec<Claimed>, Error> {
        self.write(move |db, desk| lines::claim(db, desk, owner, ttl, limit))
            .await
    }

    async fn hold_line(&self, user: &UserId, owner: OwnerId, ttl: Duration) -> Result<bool, Error> {
        let user = user.clone();
        self.write(move |db, desk| lines::hold(db, desk, &user, owner, ttl))
            .await
    }

    async fn settle(
        &self,
        delivery: DeliveryId,
        owner: OwnerId,
        settled: Settled,
    ) -> Result<bool, Error> {
        self.write(move |db, desk| lines::settle(db, desk, delivery, owner, &settled))
            .await
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        before: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error> {
        let (sql, parameters) = listing::page(filter, before, limit);
        self.list(move |db| listing::deliveries(db, &sql, parameters))
            .await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<Claimed>, Error> {
        self.read(move |db| {
            db.prepare_cached(ONE)?
                .query_row([number(id)], |row| Ok(read_claimed(row)))
                .optional()?
                .transpose()
        })
        .await
    }

    async fn replay(&self, id: DeliveryId) -> Result<bool, Error> {
        self.write(move |db, desk| lines::replay(db, desk, id))
            .await
    }

    async fn adopt(&self, account: &str, key: &ConnectionKey) -> Result<u64, Error> {
        let (account, key) = (account.to_owned(), key.clone());
        self.write(move |db, desk| accepting::adopt(db, desk, &account, &key))
            .await
    }

    async fn tally(&self) -> Result<Vec<Tally>, Error> {
        self.list(listing::tally).await
    }

    async fn prune(
        &self,
        delivered: Timestamp,
        others: Timestamp,
        limit: usize,
    ) -> Result<u64, Error> {
        self.write(move |db, _desk| pruning::prune(db, delivered, others, limit))
            .await
    }
}

/// As a column has it; no row has the numbers that do not fit.
fn number(id: DeliveryId) -> i64 {
    i64::try_from(id.0).unwrap_or(i64::MAX)
}

/// A row of [`columns`].
fn read(row: &Row<'_>) -> Result<Delivery, Failure> {
    delivery(&mut Cells::of(row)).map_err(|what| inconsistent(row, what))
}

/// A row of [`columns`] and the payload.
fn read_claimed(row: &Row<'_>) -> Result<Claimed, Failure> {
    let mut cells = Cells::of(row);
    let mut claimed = || {
        Ok(Claimed {
            delivery: delivery(&mut cells)?,
            payload: Sealed::from_bytes(cells.take()?),
        })
    };
    claimed().map_err(|what| inconsistent(row, what))
}

fn inconsistent(row: &Row<'_>, what: Unfit) -> Failure {
    let id = row
        .get::<_, i64>(0)
        .map_or_else(|_| "?".to_owned(), |id| id.to_string());
    Failure::Row {
        row: format!("delivery {id}"),
        what,
    }
}

fn delivery(cells: &mut Cells<'_, '_>) -> Result<Delivery, Unfit> {
    Ok(Delivery {
        id: u64::try_from(cells.take::<i64>()?)
            .map(DeliveryId)
            .map_err(|_negative| "its number is below zero".to_owned())?,
        event: EventId::from_slice(&cells.take::<Vec<u8>>()?)
            .map_err(|error| format!("its event's id is {error}"))?,
        name: cells.take()?,
        provider: ProviderName::parse(&cells.take::<String>()?)
            .map_err(|error| error.to_string())?,
        user: cells
            .take::<Option<String>>()?
            .map(|user| UserId::parse(&user))
            .transpose()
            .map_err(|error| error.to_string())?,
        status: status(&cells.take::<String>()?)?,
        attempts: cells.take()?,
        accepted_at: cells.moment()?,
        first_tried_at: cells.time()?,
        at: cells.moment()?,
        last_error: cells.take()?,
    })
}

fn status(text: &str) -> Result<DeliveryStatus, Unfit> {
    DeliveryStatus::parse(text).ok_or_else(|| format!("its status {text:?} is unknown"))
}

/// Puts `user` in a line, or the next delivery at the end of it; its place.
fn join_line(db: &Db, user: &UserId, now: Timestamp) -> Result<i64, Failure> {
    let place = db
        .prepare_cached(
            "INSERT INTO lines (user, tail, due_at, since) VALUES (?1, 1, ?2, ?2) \
             ON CONFLICT (user) DO UPDATE SET tail = tail + 1 RETURNING tail",
        )?
        .query_row((user.as_str(), now.as_millis()), |row| row.get(0))?;
    Ok(place)
}
