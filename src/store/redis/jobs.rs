//! Jobs, each call one script.
//!
//! The jobs of one kind lie in one slot: what is due is then one question to one server, which many
//! sidecars ask every few seconds, and not one to each bucket. They are small and written to seldom.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;

use super::{
    Redis,
    desk::Desk,
    failure::Failure,
    keys::{name, parse_name},
    leases::millis,
    portions::PORTION,
    rows::{Fields, Row, Unfit},
    scripts,
};
use crate::{
    base::ids::{ConnectionKey, OwnerId},
    store::{Error, Existing, Job, JobKind, Jobs, seal::Sealed},
};

#[async_trait]
impl Jobs for Redis {
    async fn schedule(
        &self,
        kind: JobKind,
        key: &ConnectionKey,
        state: Option<Sealed>,
        due_in: Duration,
        existing: Existing,
    ) -> Result<(), Error> {
        let mut call = self
            .desk
            .call_in(&scripts::SCHEDULE, &self.desk.keys.jobs(kind));
        call.arg(name(key)).arg(millis(due_in)).arg(match existing {
            Existing::Hasten => "hasten",
            Existing::Replace => "replace",
        });
        give(&mut call, state.as_ref());
        self.told(self.desk.ask(&call).await)
    }

    async fn claim(
        &self,
        kind: JobKind,
        owner: OwnerId,
        ttl: Duration,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        self.told(claim(&self.desk, kind, owner, ttl, limit).await)
    }

    async fn progress(
        &self,
        kind: JobKind,
        key: &ConnectionKey,
        owner: OwnerId,
        state: Option<Sealed>,
        ttl: Duration,
    ) -> Result<bool, Error> {
        let mut call = self
            .desk
            .call_in(&scripts::PROGRESS, &self.desk.keys.jobs(kind));
        call.arg(name(key))
            .arg(hex::encode(owner.as_bytes()))
            .arg(millis(ttl));
        give(&mut call, state.as_ref());
        self.told(self.desk.ask(&call).await)
    }

    async fn finish(
        &self,
        kind: JobKind,
        key: &ConnectionKey,
        owner: OwnerId,
        state: Option<Sealed>,
        next: Option<Duration>,
    ) -> Result<bool, Error> {
        let mut call = self
            .desk
            .call_in(&scripts::FINISH, &self.desk.keys.jobs(kind));
        call.arg(name(key))
            .arg(hex::encode(owner.as_bytes()))
            .arg(next.map_or_else(String::new, |next| millis(next).to_string()));
        give(&mut call, state.as_ref());
        self.told(self.desk.ask(&call).await)
    }

    async fn job(&self, kind: JobKind, key: &ConnectionKey) -> Result<Option<Job>, Error> {
        self.told(find(&self.desk, kind, key).await)
    }

    async fn jobs(
        &self,
        kind: JobKind,
        after: Option<&ConnectionKey>,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        self.told(list(&self.desk, kind, after, limit).await)
    }

    async fn cancel(&self, kind: JobKind, key: &ConnectionKey) -> Result<bool, Error> {
        let mut call = self
            .desk
            .call_in(&scripts::CANCEL, &self.desk.keys.jobs(kind));
        self.told(self.desk.ask(call.arg(name(key))).await)
    }
}

/// Ends the arguments of a call with a state.
fn give(call: &mut redis::ScriptInvocation<'_>, state: Option<&Sealed>) {
    call.arg(u8::from(state.is_some()))
        .arg(state.map_or(&[][..], Sealed::as_bytes));
}

/// One that cannot be read is left out, and waits: it must not keep the others.
async fn claim(
    desk: &Desk,
    kind: JobKind,
    owner: OwnerId,
    ttl: Duration,
    limit: usize,
) -> Result<Vec<Job>, Failure> {
    let mut call = desk.call_in(&scripts::CLAIM_JOBS, &desk.keys.jobs(kind));
    call.arg(hex::encode(owner.as_bytes()))
        .arg(millis(ttl))
        .arg(limit.min(PORTION));
    let found: Vec<(String, Fields)> = desk.ask(&call).await?;
    let read = found.into_iter().filter_map(|(name, row)| {
        let key = parse_name(&name)?;
        match read(kind, &key, row) {
            Ok(job) => job,
            Err(failure) => {
                tracing::warn!(?failure, "a job cannot be read");
                None
            }
        }
    });
    Ok(read.collect())
}

async fn find(desk: &Desk, kind: JobKind, key: &ConnectionKey) -> Result<Option<Job>, Failure> {
    let row = format!("{}j:{}", desk.keys.jobs(kind), name(key));
    let row: Fields = desk.command(redis::cmd("HGETALL").arg(row)).await?;
    read(kind, key, row)
}

/// Not one snapshot: what is made or canceled while the list is read may be on it or not.
async fn list(
    desk: &Desk,
    kind: JobKind,
    after: Option<&ConnectionKey>,
    limit: usize,
) -> Result<Vec<Job>, Failure> {
    let mut from = after.map_or_else(|| "-".to_owned(), |after| format!("({}", name(after)));
    let mut found = Vec::new();
    while found.len() < limit {
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(format!("{}names", desk.keys.jobs(kind)));
        command.arg(&from).arg("+");
        let portion = PORTION.min(limit - found.len());
        command.arg("LIMIT").arg(0).arg(portion);
        let names: Vec<String> = desk.command(&command).await?;
        let Some(last) = names.last() else { break };
        from = format!("({last}");
        let keys: Vec<ConnectionKey> = names.iter().filter_map(|name| parse_name(name)).collect();
        let jobs = try_join_all(keys.iter().map(|key| find(desk, kind, key))).await?;
        found.extend(jobs.into_iter().flatten());
    }
    Ok(found)
}

/// No fields are no job.
fn read(kind: JobKind, key: &ConnectionKey, row: Fields) -> Result<Option<Job>, Failure> {
    if row.is_empty() {
        return Ok(None);
    }
    let job = read_row(key, Row(row)).map_err(|what| Failure::Row {
        row: format!("{} job of {key}", kind.as_str()),
        what,
    })?;
    Ok(Some(job))
}

fn read_row(key: &ConnectionKey, mut row: Row) -> Result<Job, Unfit> {
    let owner = match row.text("owner")? {
        Some(owner) => {
            let owner = hex::decode(owner).unwrap_or_default();
            let owner = OwnerId::from_slice(&owner);
            Some(owner.map_err(|error| format!("its owner is {error}"))?)
        }
        None => None,
    };
    let (due, till) = (row.time("due")?, row.time("till")?);
    Ok(Job {
        key: key.clone(),
        state: row.bytes("state").map(Sealed::from_bytes),
        due_at: if owner.is_some() { till } else { due },
        owner,
        updated_at: Row::needed("updated", row.time("updated")?)?,
    })
}
