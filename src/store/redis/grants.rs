//! Writes of grants, each one script.
//!
//! Every write but [`save`] and [`remove`] names the connection, generation and grant it started from;
//! if the row shows another, it changes nothing and says so.

use std::collections::BTreeMap;

use redis::Value;

use super::{
    desk::{Answer, Desk},
    failure::Failure,
    keys::Place,
    rows, scripts,
};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, OwnerId},
    },
    store::{
        Begun, Committed, Connection, Cooldown, Fence, Fenced, NewConnection, ReauthReason,
        Redemption, Renewed, Saved, Spent,
    },
};

/// A connection to save, where it lies, and where it stood in the batch.
type Item = (usize, Place, NewConnection);

/// See [`Store::save`](crate::store::Store::save). One server takes the batch in one step; a cluster
/// one step for each bucket, which may end in between.
pub(super) async fn save(desk: &Desk, batch: Vec<NewConnection>) -> Result<Vec<Saved>, Failure> {
    let mut steps: BTreeMap<String, Vec<Item>> = BTreeMap::new();
    for (number, new) in batch.into_iter().enumerate() {
        let place = desk.keys.place(&new.key);
        let step = if desk.is_cluster() {
            place.outbox.clone()
        } else {
            String::new()
        };
        steps.entry(step).or_default().push((number, place, new));
    }
    let mut saved: Vec<(usize, Saved)> = Vec::new();
    for items in steps.into_values() {
        saved.extend(save_together(desk, items).await?);
    }
    saved.sort_by_key(|(number, _)| *number);
    Ok(saved.into_iter().map(|(_, saved)| saved).collect())
}

async fn save_together(desk: &Desk, items: Vec<Item>) -> Result<Vec<(usize, Saved)>, Failure> {
    let Some((_, first, _)) = items.first() else {
        return Ok(Vec::new());
    };
    let told = desk.told(first);
    let mut call = desk.call(&scripts::SAVE);
    for (_, place, new) in &items {
        let pairs = rows::of_new(new);
        let fingerprint = new.fingerprint.map(hex::encode).unwrap_or_default();
        call.key(&place.keys)
            .arg(&place.name)
            .arg(fingerprint)
            .arg(u8::from(new.tokens.is_some()))
            .arg(pairs.len());
        for (name, value) in pairs.iter() {
            call.arg(name).arg(value);
        }
    }
    call.key(told);
    let answers: Vec<Value> = desk.ask(&call).await?;
    let mut saved = Vec::with_capacity(items.len());
    for ((number, place, new), answer) in items.into_iter().zip(answers) {
        let answer = Answer::read(answer)?;
        desk.tell(&place, &answer).await;
        let connection = rows::read(&new.key, answer.row)?;
        let outcome = match answer.word.as_str() {
            "created" => Saved::Created(connection),
            "replaced" => Saved::Replaced(connection),
            _ => Saved::Unchanged(connection),
        };
        saved.push((number, outcome));
    }
    Ok(saved)
}

/// See [`Store::remove`](crate::store::Store::remove). If the answer was lost and the call sent again,
/// there is no row left that could tell of it: the answer is then that there was no connection.
pub(super) async fn remove(
    desk: &Desk,
    key: &ConnectionKey,
) -> Result<Option<Connection>, Failure> {
    let (call, place) = desk.call_about(&scripts::REMOVE, key);
    let answer = desk.answer(&call, &place).await?;
    match rows::find(key, answer.row) {
        // What cannot be read can still be forgotten.
        Err(Failure::Row { row, what }) => {
            tracing::warn!(connection.row = row, what, "removed an inconsistent row");
            Ok(None)
        }
        found => found,
    }
}

/// See [`Store::begin`](crate::store::Store::begin). Not told as a change: nobody waits for it.
pub(super) async fn begin(
    desk: &Desk,
    fence: &Fence,
    owner: OwnerId,
    redemption: Redemption,
    at: Timestamp,
) -> Result<Begun, Failure> {
    let (mut call, place) = desk.call_about(&scripts::BEGIN, &fence.key);
    fenced(&mut call, fence);
    call.arg(hex::encode(owner.as_bytes()))
        .arg(rows::redemption_text(redemption))
        .arg(at.as_millis());
    let answer = desk.answer(&call, &place).await?;
    if answer.word != "recorded" {
        return Ok(Begun::Refused);
    }
    let intent = rows::read(&fence.key, answer.row)?.intent;
    Ok(Begun::Recorded {
        attempts: intent.map_or(1, |intent| intent.attempts),
    })
}

/// See [`Store::commit`](crate::store::Store::commit).
pub(super) async fn commit(
    desk: &Desk,
    fence: &Fence,
    renewed: &Renewed,
) -> Result<Committed, Failure> {
    let (mut call, place) = desk.call_about(&scripts::COMMIT, &fence.key);
    fenced(&mut call, fence);
    let pairs = rows::of_renewed(renewed);
    call.arg(pairs.len());
    for (name, value) in pairs.iter() {
        call.arg(name).arg(value);
    }
    let answer = desk.answer(&call, &place).await?;
    let Some(connection) = rows::find(&fence.key, answer.row)? else {
        return Ok(Committed::Gone);
    };
    Ok(match answer.word.as_str() {
        "stored" => Committed::Stored(Box::new(connection)),
        _ => Committed::Superseded(Box::new(connection)),
    })
}

/// See [`Store::fail`](crate::store::Store::fail).
pub(super) async fn fail(
    desk: &Desk,
    fence: &Fence,
    cooldown: Cooldown,
    spent: Spent,
) -> Result<Fenced, Failure> {
    let (mut call, place) = desk.call_about(&scripts::FAIL, &fence.key);
    fenced(&mut call, fence);
    call.arg(cooldown.until.as_millis())
        .arg(cooldown.failures)
        .arg(if spent == Spent::No { "unspent" } else { "" });
    let answer = desk.answer(&call, &place).await?;
    Ok(outcome(&answer))
}

/// See [`Store::mark_needs_reauth`](crate::store::Store::mark_needs_reauth).
pub(super) async fn mark_needs_reauth(
    desk: &Desk,
    fence: &Fence,
    reason: ReauthReason,
    since: Timestamp,
) -> Result<Fenced, Failure> {
    let (mut call, place) = desk.call_about(&scripts::MARK, &fence.key);
    fenced(&mut call, fence);
    call.arg(reason.as_str()).arg(since.as_millis());
    let answer = desk.answer(&call, &place).await?;
    Ok(outcome(&answer))
}

fn fenced(call: &mut redis::ScriptInvocation<'_>, fence: &Fence) {
    call.arg(hex::encode(fence.id.as_bytes()))
        .arg(fence.generation.get());
    match fence.grant {
        Some(grant) => call.arg(grant.to_stored()),
        None => call.arg(""),
    };
}

/// What a fenced write that stores no tokens came to.
pub(super) fn outcome(answer: &Answer) -> Fenced {
    match answer.word.as_str() {
        "written" => Fenced::Written,
        "unchanged" => Fenced::Unchanged,
        _ => Fenced::Refused,
    }
}
