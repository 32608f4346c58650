//! Everything sealed; see [`Seals`].
//!
//! Connections, jobs and meetings have indices. Records and payloads have none that names them all: the
//! servers are gone through key by key (`SCAN`), one after the other. While a cluster moves slots, some
//! may be missed: whoever must know of all looks again.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use redis::Value;

use super::{
    Redis, Time,
    desk::Desk,
    failure::Failure,
    keys::{name, parse_name},
    listing::names,
    scripts,
};
use crate::{
    base::ids::{ConnectionKey, EventId, ProviderName, UserId},
    store::{
        Bookmark, Digest, Drawer, Error, JobKind, Purpose, Row, SealedPage, SealedRow, Seals, Swap,
        seal::{HEAD_LEN, Sealed, head_of},
    },
};

/// How many keys a server looks at in one step: a fraction of a millisecond.
const LOOK: usize = 1000;

/// For how long one page looks for rows among the keys of others.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many rows are asked for, or written, at once.
const AT_ONCE: usize = 32;

/// What is asked for: heads only, of what begins like this.
struct Want {
    limit: usize,
    spare: Vec<u8>,
}

#[async_trait]
impl Seals for Redis {
    async fn sealed(
        &self,
        drawer: Drawer,
        from: Option<&Bookmark>,
        limit: usize,
        spare: Option<&str>,
    ) -> Result<SealedPage, Error> {
        let want = Want {
            limit,
            spare: spare.map(head_of).unwrap_or_default(),
        };
        let desk = &self.desk;
        self.told(match drawer {
            Drawer::Connections => connections(desk, from, &want).await,
            Drawer::Jobs => jobs(desk, from, &want).await,
            Drawer::Meetings => meetings(desk, from, &want).await,
            Drawer::Records | Drawer::Events => scan(desk, drawer, from, &want).await,
        })
    }

    async fn reseal(&self, swaps: Vec<Swap>) -> Result<Vec<bool>, Error> {
        let mut done = Vec::with_capacity(swaps.len());
        for some in swaps.chunks(AT_ONCE) {
            let each = try_join_all(some.iter().map(|swap| put(&self.desk, swap))).await;
            done.extend(self.told(each)?);
        }
        Ok(done)
    }
}

async fn connections(
    desk: &Desk,
    from: Option<&Bookmark>,
    want: &Want,
) -> Result<SealedPage, Failure> {
    let [after] = Bookmark::parts(from);
    let after = (!after.is_empty()).then_some(after);
    let indices = [desk.keys.each("ok"), desk.keys.each("reauth")].concat();
    let (names, is_last) = names(desk, &indices, None, after, want.limit).await?;
    let mut page = SealedPage::default();
    if !is_last {
        page.next = names.last().map(|last| Bookmark::of([last.clone()]));
    }
    for some in names.chunks(AT_ONCE) {
        let rows = some.iter().map(async |name| {
            let Some(key) = parse_name(name) else {
                return Ok(Err(name.clone()));
            };
            let [row, ..] = desk.keys.place(&key).keys;
            let seals = fields(desk, &row, &["access", "refresh"], want).await?;
            Ok::<_, Failure>(Ok(SealedRow {
                row: Row::Connection(key),
                seals,
            }))
        });
        page.add(try_join_all(rows).await?);
    }
    Ok(page)
}

async fn jobs(desk: &Desk, from: Option<&Bookmark>, want: &Want) -> Result<SealedPage, Failure> {
    let [kind, after] = Bookmark::parts(from);
    let at = JobKind::ALL.iter().position(|known| known.as_str() == kind);
    let at = at.unwrap_or(0);
    let mut page = SealedPage::default();
    let Some(kind) = JobKind::ALL.get(at).copied() else {
        return Ok(page);
    };
    let section = desk.keys.jobs(kind);
    let mut command = redis::cmd("ZRANGEBYLEX");
    command.arg(format!("{section}names"));
    command.arg(if after.is_empty() {
        "-".to_owned()
    } else {
        format!("({after}")
    });
    command.arg("+").arg("LIMIT").arg(0).arg(want.limit);
    let names: Vec<String> = desk.command(&command).await?;
    page.next = match (names.last(), JobKind::ALL.get(at + 1)) {
        (Some(last), _) if names.len() == want.limit => {
            Some(Bookmark::of([kind.as_str().to_owned(), last.clone()]))
        }
        (_, Some(next)) => Some(Bookmark::of([next.as_str().to_owned(), String::new()])),
        (_, None) => None,
    };
    for some in names.chunks(AT_ONCE) {
        let rows = some.iter().map(async |name| {
            let Some(key) = parse_name(name) else {
                return Ok(Err(format!("{} {name}", kind.as_str())));
            };
            let seals = fields(desk, &format!("{section}j:{name}"), &["state"], want).await?;
            Ok::<_, Failure>(Ok(SealedRow {
                row: Row::Job(kind, key),
                seals,
            }))
        });
        page.add(try_join_all(rows).await?);
    }
    Ok(page)
}

async fn meetings(
    desk: &Desk,
    from: Option<&Bookmark>,
    want: &Want,
) -> Result<SealedPage, Failure> {
    let [number, cursor] = Bookmark::parts(from);
    let number: usize = number.parse().unwrap_or(0);
    let sections = desk.keys.all_meetings();
    let mut page = SealedPage::default();
    let Some(section) = sections.get(number) else {
        return Ok(page);
    };
    let mut command = redis::cmd("ZSCAN");
    command.arg(format!("{section}mends"));
    command.arg(if cursor.is_empty() { "0" } else { cursor });
    command.arg("COUNT").arg(want.limit);
    let (next, found): (String, Vec<(String, String)>) = desk.command(&command).await?;
    page.next = if next != "0" {
        Some(Bookmark::of([number.to_string(), next]))
    } else if number + 1 < sections.len() {
        Some(Bookmark::of([(number + 1).to_string(), String::new()]))
    } else {
        None
    };
    for some in found.chunks(AT_ONCE) {
        let rows = some.iter().map(async |(name, _ends)| {
            let Some((key, id)) = meeting(name) else {
                return Ok(Err(name.clone()));
            };
            let seals = fields(desk, &format!("{section}m:{name}"), &["details"], want).await?;
            Ok::<_, Failure>(Ok(SealedRow {
                row: Row::Meeting(key, id),
                seals,
            }))
        });
        page.add(try_join_all(rows).await?);
    }
    Ok(page)
}

/// "provider/user id".
fn meeting(name: &str) -> Option<(ConnectionKey, String)> {
    let (provider, rest) = name.split_once('/')?;
    let (user, id) = rest.split_once(' ')?;
    let key = ConnectionKey {
        provider: ProviderName::parse(provider).ok()?,
        user: UserId::parse(user).ok()?,
    };
    Some((key, id.to_owned()))
}

/// Seals in the fields of a hash, without those that are not there.
async fn fields(
    desk: &Desk,
    row: &str,
    names: &[&str],
    want: &Want,
) -> Result<Vec<Sealed>, Failure> {
    let mut command = redis::cmd("HMGET");
    command.arg(row).arg(names);
    let found: Vec<Option<Vec<u8>>> = desk.command(&command).await?;
    Ok(want.cut(found.into_iter().flatten().collect()))
}

/// Goes through all keys of the servers for those of one drawer.
async fn scan(
    desk: &Desk,
    drawer: Drawer,
    from: Option<&Bookmark>,
    want: &Want,
) -> Result<SealedPage, Failure> {
    let [number, cursor] = Bookmark::parts(from);
    let (number, mut cursor) = (
        number.parse::<usize>().unwrap_or(0),
        if cursor.is_empty() { "0" } else { cursor }.to_owned(),
    );
    let (pattern, slots) = match drawer {
        Drawer::Events => (desk.keys.all_payloads(), vec![desk.keys.slot_of_queue()]),
        _ => (desk.keys.all_records(), desk.masters().await?),
    };
    let mut page = SealedPage::default();
    let Some(slot) = slots.get(number) else {
        return Ok(page);
    };
    let mut keys: Vec<String> = Vec::new();
    let begun = tokio::time::Instant::now();
    loop {
        let mut command = redis::cmd("SCAN");
        command.arg(&cursor).arg("MATCH").arg(&pattern);
        command.arg("COUNT").arg(LOOK);
        let (next, found): (String, Vec<String>) = desk.command_at(&command, *slot).await?;
        keys.extend(found);
        cursor = next;
        let waited = tokio::time::Instant::now().saturating_duration_since(begun);
        if cursor == "0" || keys.len() >= want.limit || waited > PATIENCE {
            break;
        }
    }
    page.next = if cursor != "0" {
        Some(Bookmark::of([number.to_string(), cursor]))
    } else if number + 1 < slots.len() {
        Some(Bookmark::of([(number + 1).to_string(), String::new()]))
    } else {
        None
    };
    for some in keys.chunks(AT_ONCE) {
        let rows = some.iter().map(async |key| match drawer {
            Drawer::Events => event(desk, key, want).await,
            _ => record(desk, key, want).await,
        });
        page.add(try_join_all(rows).await?.into_iter().flatten().collect());
    }
    Ok(page)
}

/// What a row that was found is: `None` if it is gone, its name if it cannot be read.
type Read = Option<Result<SealedRow, String>>;

async fn record(desk: &Desk, key: &str, want: &Want) -> Result<Read, Failure> {
    let named = || {
        let (purpose, digest) = key.split_once("}:x:")?.1.split_once(':')?;
        let digest: [u8; 32] = hex::decode(digest).ok()?.try_into().ok()?;
        Some(Row::Record(Purpose::parse(purpose)?, Digest(digest)))
    };
    let Some(row) = named() else {
        return Ok(Some(Err(key.to_owned())));
    };
    let mut command = redis::cmd("HMGET");
    command.arg(key).arg("record").arg("ends");
    let (seal, ends): (Option<Vec<u8>>, Option<i64>) = desk.command(&command).await?;
    let has_ended = match &desk.time {
        Time::Server => false,
        Time::Clock(clock) => ends.is_some_and(|ends| ends <= clock.now().as_millis()),
    };
    let seal = seal.filter(|_| !has_ended);
    Ok(seal.map(|seal| {
        Ok(SealedRow {
            row,
            seals: want.cut(vec![seal]),
        })
    }))
}

async fn event(desk: &Desk, key: &str, want: &Want) -> Result<Read, Failure> {
    let Some((section, digest)) = key.split_once("}:p:") else {
        return Ok(Some(Err(key.to_owned())));
    };
    let mut command = redis::cmd("HMGET");
    command.arg(format!("{section}}}:e:{digest}"));
    command.arg("id").arg("provider");
    let (id, provider): (Option<String>, Option<String>) = desk.command(&command).await?;
    let (Some(id), Some(provider)) = (id, provider) else {
        // Forgotten meanwhile.
        return Ok(None);
    };
    let named = || {
        Some(Row::Event {
            provider: ProviderName::parse(&provider).ok()?,
            id: EventId::from_slice(&hex::decode(&id).ok()?).ok()?,
            dedupe: hex::decode(digest).ok()?.try_into().ok()?,
        })
    };
    let Some(row) = named() else {
        return Ok(Some(Err(key.to_owned())));
    };
    let mut command = redis::cmd("GETRANGE");
    command.arg(key).arg(0).arg(HEAD_LEN - 1);
    let mut seal: Vec<u8> = desk.command(&command).await?;
    if !want.spares(&seal) {
        let whole: Option<Vec<u8>> = desk.command(redis::cmd("GET").arg(key)).await?;
        seal = whole.unwrap_or_default();
    }
    Ok((!seal.is_empty()).then(|| {
        Ok(SealedRow {
            row,
            seals: want.cut(vec![seal]),
        })
    }))
}

async fn put(desk: &Desk, swap: &Swap) -> Result<bool, Failure> {
    let (key, kind, fields): (String, &str, &[&str]) = match &swap.row {
        Row::Connection(key) => {
            let [row, ..] = desk.keys.place(key).keys;
            (row, "hash", &["access", "refresh"])
        }
        Row::Record(purpose, digest) => {
            let [row, _] = desk.keys.record(*purpose, digest, "");
            (row, "hash", &["record"])
        }
        Row::Job(kind, key) => {
            let row = format!("{}j:{}", desk.keys.jobs(*kind), name(key));
            (row, "hash", &["state"])
        }
        Row::Event { dedupe, .. } => {
            let row = format!("{}p:{}", desk.keys.queue(), hex::encode(dedupe));
            (row, "text", &[""])
        }
        Row::Meeting(key, id) => {
            let section = desk.keys.meetings(&key.user);
            (format!("{section}m:{key} {id}"), "hash", &["details"])
        }
    };
    let mut call = scripts::RESEAL.prepare_invoke();
    call.key(key).arg(kind);
    for ((field, from), to) in fields.iter().zip(&swap.from).zip(&swap.to) {
        call.arg(*field).arg(from.as_bytes()).arg(to.as_bytes());
    }
    desk.ask(&call).await
}

// === impl Want ===

impl Want {
    fn spares(&self, seal: &[u8]) -> bool {
        seal.starts_with(&self.spare)
    }

    /// The seals of one row.
    fn cut(&self, mut seals: Vec<Vec<u8>>) -> Vec<Sealed> {
        if seals.iter().all(|seal| self.spares(seal)) {
            for seal in &mut seals {
                seal.truncate(HEAD_LEN);
            }
        }
        seals.into_iter().map(Sealed::from_bytes).collect()
    }
}

// === impl SealedPage ===

impl SealedPage {
    fn add(&mut self, rows: Vec<Result<SealedRow, String>>) {
        for row in rows {
            match row {
                Ok(row) if row.seals.is_empty() => {}
                Ok(row) => self.rows.push(row),
                Err(name) => self.unreadable.push(name),
            }
        }
    }
}

// === impl Desk ===

impl Desk {
    /// A slot of each server that takes writes; one that means nothing where there is one server.
    async fn masters(&self) -> Result<Vec<u16>, Failure> {
        if !self.is_cluster() {
            return Ok(vec![0]);
        }
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        // From, to, and the nodes, of which the first takes writes: its address, and its id.
        let shares: Vec<Vec<Value>> = self.command(&command).await?;
        let mut masters: Vec<(Value, u16)> = Vec::new();
        for share in shares {
            let mut parts = share.into_iter();
            let (Some(from), Some(_to), Some(node)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if masters.iter().all(|(known, _)| *known != node) {
                masters.push((node, redis::from_redis_value(from)?));
            }
        }
        masters.sort_by_key(|(_, slot)| *slot);
        Ok(masters.into_iter().map(|(_, slot)| slot).collect())
    }
}
