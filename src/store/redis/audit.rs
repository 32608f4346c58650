//! Who did what: one sorted set of equal scores, which the server keeps in the order of its bytes. A member
//! is the id of a record, in hex, and the record; so writing one again changes nothing, and no script is
//! needed.

use async_trait::async_trait;

use super::{Redis, desk::Desk, failure::Failure};
use crate::{
    base::{clock::Timestamp, ids::AuditId},
    store::{Deed, DeedFilter, Error, Trail},
};

/// How many records are looked at at a time.
const PORTION: usize = 500;

/// Digits of an id.
const DIGITS: usize = 32;

#[async_trait]
impl Trail for Redis {
    async fn record(&self, deed: &Deed) -> Result<(), Error> {
        self.told(record(&self.desk, deed).await)
    }

    async fn deeds(
        &self,
        filter: &DeedFilter,
        before: Option<AuditId>,
        limit: usize,
    ) -> Result<Vec<Deed>, Error> {
        self.told(deeds(&self.desk, filter, before, limit).await)
    }

    async fn prune_deeds(&self, before: Timestamp, limit: usize) -> Result<u64, Error> {
        self.told(prune(&self.desk, before, limit).await)
    }
}

async fn record(desk: &Desk, deed: &Deed) -> Result<(), Failure> {
    let text = serde_json::to_string(deed).map_err(|error| Failure::Row {
        row: format!("audit {}", deed.id),
        what: error.to_string(),
    })?;
    let mut command = redis::cmd("ZADD");
    command
        .arg(key(desk))
        .arg(0)
        .arg(format!("{}{text}", digits(deed.id)));
    let _added: u64 = desk.command(&command).await?;
    Ok(())
}

/// A filter that fits few is gone through all the others for, which are not many: people made them.
async fn deeds(
    desk: &Desk,
    filter: &DeedFilter,
    before: Option<AuditId>,
    limit: usize,
) -> Result<Vec<Deed>, Failure> {
    let (first, end) = filter.bounds(before);
    let (first, mut end) = (format!("[{}", digits(first)), format!("({}", digits(end)));
    let mut found = Vec::new();
    while found.len() < limit {
        let mut command = redis::cmd("ZREVRANGEBYLEX");
        command.arg(key(desk)).arg(&end).arg(&first);
        command.arg("LIMIT").arg(0).arg(PORTION);
        let members: Vec<String> = desk.command(&command).await?;
        for member in &members {
            let deed = read(member)?;
            if found.len() < limit && deed.fits(filter) {
                found.push(deed);
            }
        }
        match members.last().and_then(|last| last.get(..DIGITS)) {
            Some(last) if members.len() == PORTION => end = format!("({last}"),
            _ => break,
        }
    }
    Ok(found)
}

async fn prune(desk: &Desk, before: Timestamp, limit: usize) -> Result<u64, Failure> {
    let mut command = redis::cmd("ZRANGEBYLEX");
    command
        .arg(key(desk))
        .arg("-")
        .arg(format!("({}", digits(AuditId::first_of(before))));
    command.arg("LIMIT").arg(0).arg(limit);
    let old: Vec<String> = desk.command(&command).await?;
    if old.is_empty() {
        return Ok(0);
    }
    let mut command = redis::cmd("ZREM");
    command.arg(key(desk)).arg(old);
    desk.command(&command).await
}

fn key(desk: &Desk) -> String {
    desk.keys.single("audit")
}

fn digits(id: AuditId) -> String {
    hex::encode(id.as_bytes())
}

fn read(member: &str) -> Result<Deed, Failure> {
    let (id, text) = member.split_at_checked(DIGITS).unwrap_or((member, ""));
    serde_json::from_str(text).map_err(|error| Failure::Row {
        row: format!("audit {id}"),
        what: error.to_string(),
    })
}
