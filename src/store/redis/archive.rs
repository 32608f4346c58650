//! Exact copies; see [`Archive`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use redis::Value;

use super::{
    Redis, Time,
    desk::{Answer, Desk},
    failure::Failure,
    keys::{Place, name, parse_name},
    listing::names,
    rows::{self, Fields},
    scripts,
};
use crate::{
    base::{clock::Timestamp, ids::ConnectionKey},
    store::{Archive, Error, Found, Record, Restored},
};

/// A copy to write, where it lies, and where it stood in the batch.
type Item = (usize, Place, Record);

#[async_trait]
impl Archive for Redis {
    async fn records(
        &self,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Found>, Error> {
        self.told(records(&self.desk, after, limit).await)
    }

    async fn record(&self, key: &ConnectionKey) -> Result<Option<Found>, Error> {
        self.told(record_now(&self.desk, key).await)
    }

    async fn restore(&self, batch: Vec<Record>) -> Result<Vec<Restored>, Error> {
        self.told(restore(&self.desk, batch).await)
    }

    async fn pulse(&self) -> Result<u64, Error> {
        let probe = self.desk.keys.single("probe");
        let count = self.desk.command(redis::cmd("GET").arg(probe)).await;
        self.told(count.map(Option::unwrap_or_default))
    }
}

/// Not one snapshot: what is created or removed while the page is read may be on it or not.
async fn records(
    desk: &Desk,
    after: Option<&ConnectionKey>,
    limit: usize,
) -> Result<Vec<Found>, Failure> {
    let now = now(desk).await?;
    let indices = [desk.keys.each("ok"), desk.keys.each("reauth")].concat();
    let mut found = Vec::new();
    let mut after = after.map(name);
    while found.len() < limit {
        let wanted = limit - found.len();
        let (names, is_last) = names(desk, &indices, None, after.as_deref(), wanted).await?;
        after = names.last().cloned().or(after);
        let keys: Vec<ConnectionKey> = names.iter().filter_map(|name| parse_name(name)).collect();
        let rows = try_join_all(keys.iter().map(|key| record(desk, key, now))).await?;
        found.extend(rows.into_iter().flatten());
        if is_last {
            break;
        }
    }
    Ok(found)
}

async fn record_now(desk: &Desk, key: &ConnectionKey) -> Result<Option<Found>, Failure> {
    record(desk, key, now(desk).await?).await
}

async fn record(
    desk: &Desk,
    key: &ConnectionKey,
    now: Timestamp,
) -> Result<Option<Found>, Failure> {
    let [row, ..] = desk.keys.place(key).keys;
    let fields: Fields = desk.command(redis::cmd("HGETALL").arg(row)).await?;
    if fields.is_empty() {
        return Ok(None);
    }
    Ok(Some(match rows::read_whole(key, fields, now) {
        Ok((record, leased)) => Found::Whole {
            record: Box::new(record),
            leased,
        },
        Err(what) => Found::Broken {
            key: key.clone(),
            what,
        },
    }))
}

/// What leases go by.
async fn now(desk: &Desk) -> Result<Timestamp, Failure> {
    match &desk.time {
        Time::Clock(clock) => Ok(clock.now()),
        Time::Server => {
            let (secs, micros): (i64, i64) = desk.command(&redis::cmd("TIME")).await?;
            let millis = secs.saturating_mul(1000).saturating_add(micros / 1000);
            Ok(Timestamp::from_millis(millis))
        }
    }
}

/// One server takes the batch in one step; a cluster one step for each bucket, which may end in
/// between.
async fn restore(desk: &Desk, batch: Vec<Record>) -> Result<Vec<Restored>, Failure> {
    let mut steps: BTreeMap<String, Vec<Item>> = BTreeMap::new();
    for (number, record) in batch.into_iter().enumerate() {
        let place = desk.keys.place(&record.connection.key);
        let step = if desk.is_cluster() {
            place.outbox.clone()
        } else {
            String::new()
        };
        steps.entry(step).or_default().push((number, place, record));
    }
    let done = try_join_all(steps.into_values().map(|items| together(desk, items))).await?;
    let mut outcomes: Vec<(usize, Restored)> = done.into_iter().flatten().collect();
    outcomes.sort_by_key(|(number, _)| *number);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

async fn together(desk: &Desk, items: Vec<Item>) -> Result<Vec<(usize, Restored)>, Failure> {
    let Some((_, first, _)) = items.first() else {
        return Ok(Vec::new());
    };
    let told = desk.told(first);
    let mut call = desk.call(&scripts::RESTORE);
    for (_, place, record) in &items {
        let connection = &record.connection;
        let pairs = rows::of_record(record);
        call.key(&place.keys)
            .arg(&place.name)
            .arg(hex::encode(connection.id.as_bytes()))
            .arg(connection.generation.get())
            .arg(connection.updated_at.as_millis())
            .arg(pairs.len());
        for (name, value) in pairs.iter() {
            call.arg(name).arg(value);
        }
    }
    call.key(told);
    let answers: Vec<Value> = desk.ask(&call).await?;
    let mut outcomes = Vec::with_capacity(items.len());
    for ((number, place, _), answer) in items.into_iter().zip(answers) {
        let answer = Answer::read(answer)?;
        desk.tell(&place, &answer).await;
        let outcome = match answer.word.as_str() {
            "written" => Restored::Written,
            "newer" => Restored::Newer,
            _ => Restored::Other,
        };
        outcomes.push((number, outcome));
    }
    Ok(outcomes)
}
