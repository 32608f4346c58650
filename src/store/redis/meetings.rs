//! Meetings: those of one user lie together, in the bucket of that user.
//!
//! They are listed by when they begin. How long before a time may begin what has not ended by then, the
//! user's longest meeting says, so that what is long over is not gone through.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{
    Redis,
    desk::Desk,
    failure::Failure,
    portions::{PORTION, Portions},
    rows::{Fields, Row, Unfit},
    scripts,
};
use crate::{
    base::{
        clock::Timestamp,
        ids::{ConnectionKey, ProviderName, UserId},
    },
    store::{Error, MeetingCursor, MeetingFilter, Meetings, StoredMeeting, Upserted, seal::Sealed},
};

/// How many meetings one script writes: a few milliseconds of the server's time.
const BATCH: usize = PORTION / 2;

/// How many meetings one script looks at.
const LOOK: usize = 1000;

#[async_trait]
impl Meetings for Redis {
    async fn upsert_meetings(&self, batch: Vec<StoredMeeting>) -> Result<Vec<Upserted>, Error> {
        self.told(upsert(&self.desk, batch).await)
    }

    async fn meeting(
        &self,
        key: &ConnectionKey,
        external_id: &str,
    ) -> Result<Option<StoredMeeting>, Error> {
        self.told(find(&self.desk, key, external_id).await)
    }

    async fn meetings(
        &self,
        filter: &MeetingFilter,
        after: Option<&MeetingCursor>,
        limit: usize,
    ) -> Result<Vec<StoredMeeting>, Error> {
        self.told(list(&self.desk, filter, after, limit).await)
    }

    async fn forget_meetings(&self, key: &ConnectionKey) -> Result<u64, Error> {
        self.told(forget(&self.desk, key).await)
    }

    /// In the buckets one after the other.
    async fn prune_meetings(&self, ended: Timestamp, limit: usize) -> Result<u64, Error> {
        self.told(prune(&self.desk, ended, limit).await)
    }
}

/// One server takes a hundred in one step; a cluster, as many of them as lie together.
async fn upsert(desk: &Desk, batch: Vec<StoredMeeting>) -> Result<Vec<Upserted>, Failure> {
    let mut sections: BTreeMap<String, Vec<(usize, StoredMeeting)>> = BTreeMap::new();
    for (number, meeting) in batch.into_iter().enumerate() {
        let section = desk.keys.meetings(&meeting.key.user);
        sections.entry(section).or_default().push((number, meeting));
    }
    let mut answers = Vec::new();
    for (section, meetings) in sections {
        for some in meetings.chunks(BATCH) {
            let words = upsert_some(desk, &section, some).await?;
            let numbers = some.iter().map(|(number, _)| *number);
            answers.extend(numbers.zip(words));
        }
    }
    answers.sort_by_key(|(number, _)| *number);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

async fn upsert_some(
    desk: &Desk,
    section: &str,
    some: &[(usize, StoredMeeting)],
) -> Result<Vec<Upserted>, Failure> {
    let mut call = desk.call_in(&scripts::UPSERT_MEETINGS, section);
    for (_, meeting) in some {
        call.arg(meeting.key.provider.as_str())
            .arg(meeting.key.user.as_str())
            .arg(&meeting.external_id)
            .arg(&meeting.status)
            .arg(u8::from(meeting.is_over))
            .arg(meeting.starts_at.as_millis())
            .arg(meeting.ends_at.as_millis())
            .arg(meeting.version.as_millis())
            .arg(meeting.details.as_bytes());
    }
    let words: Vec<String> = desk.ask(&call).await?;
    let answers = words.iter().map(|word| match word.as_str() {
        "created" => Upserted::Created,
        "changed" => Upserted::Changed,
        _ => Upserted::Stands,
    });
    Ok(answers.collect())
}

async fn find(
    desk: &Desk,
    key: &ConnectionKey,
    external_id: &str,
) -> Result<Option<StoredMeeting>, Failure> {
    let section = desk.keys.meetings(&key.user);
    let mut command = redis::cmd("HGETALL");
    command.arg(format!("{section}m:{key} {external_id}"));
    let row: Fields = desk.command(&command).await?;
    if row.is_empty() {
        return Ok(None);
    }
    read(key.clone(), external_id.to_owned(), row).map(Some)
}

async fn list(
    desk: &Desk,
    filter: &MeetingFilter,
    after: Option<&MeetingCursor>,
    limit: usize,
) -> Result<Vec<StoredMeeting>, Failure> {
    let section = desk.keys.meetings(&filter.user);
    let time = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.as_millis().to_string());
    let mut after = after.map_or_else(Default::default, |after| {
        let id = format!("{} {}", after.provider, after.external_id);
        (after.starts_at.as_millis().to_string(), id)
    });
    let mut found = Vec::new();
    while found.len() < limit {
        let mut call = desk.call_in(&scripts::LIST_MEETINGS, &section);
        call.arg(filter.user.as_str())
            .arg(filter.provider.as_ref().map_or("", ProviderName::as_str))
            .arg(time(filter.from))
            .arg(time(filter.until))
            .arg(&after.0)
            .arg(&after.1)
            .arg(limit - found.len())
            .arg(LOOK);
        let (begins, id, rows): (String, String, Vec<(String, String, Fields)>) =
            desk.ask(&call).await?;
        for (provider, external_id, row) in rows {
            let key = key_of(&provider, &filter.user)?;
            found.push(read(key, external_id, row)?);
        }
        if begins.is_empty() {
            break;
        }
        after = (begins, id);
    }
    Ok(found)
}

async fn forget(desk: &Desk, key: &ConnectionKey) -> Result<u64, Failure> {
    let section = desk.keys.meetings(&key.user);
    let mut portions = Portions::up_to(usize::MAX);
    while let Some(most) = portions.next() {
        let mut call = desk.call_in(&scripts::FORGET_MEETINGS, &section);
        call.arg(key.provider.as_str())
            .arg(key.user.as_str())
            .arg(most);
        portions.add(desk.ask(&call).await?);
    }
    Ok(portions.done())
}

async fn prune(desk: &Desk, ended: Timestamp, limit: usize) -> Result<u64, Failure> {
    let mut sum = 0;
    for section in desk.keys.all_meetings() {
        let left = limit.saturating_sub(usize::try_from(sum).unwrap_or(usize::MAX));
        let mut portions = Portions::up_to(left);
        while let Some(most) = portions.next() {
            let mut call = desk.call_in(&scripts::PRUNE_MEETINGS, &section);
            call.arg(ended.as_millis()).arg(most);
            portions.add(desk.ask(&call).await?);
        }
        sum += portions.done();
    }
    Ok(sum)
}

fn key_of(provider: &str, user: &UserId) -> Result<ConnectionKey, Failure> {
    let provider = ProviderName::parse(provider).map_err(|error| Failure::Row {
        row: format!("meeting of {user}"),
        what: format!("its provider: {error}"),
    })?;
    let user = user.clone();
    Ok(ConnectionKey { provider, user })
}

fn read(key: ConnectionKey, external_id: String, row: Fields) -> Result<StoredMeeting, Failure> {
    let shown = format!("meeting {external_id} of {key}");
    read_row(key, external_id, Row(row)).map_err(|what| Failure::Row { row: shown, what })
}

fn read_row(key: ConnectionKey, external_id: String, mut row: Row) -> Result<StoredMeeting, Unfit> {
    Ok(StoredMeeting {
        key,
        external_id,
        status: Row::needed("status", row.text("status")?)?,
        is_over: Row::needed("over", row.text("over")?)? == "1",
        starts_at: Row::needed("begins", row.time("begins")?)?,
        ends_at: Row::needed("ends", row.time("ends")?)?,
        version: Row::needed("version", row.time("version")?)?,
        details: Sealed::from_bytes(Row::needed("details", row.bytes("details"))?),
    })
}
