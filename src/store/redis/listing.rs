//! Reads of many rows: pages, the sweep's list, the census. Each follows an index of every bucket.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use super::{
    desk::Desk,
    failure::Failure,
    keys::{BUCKETS, name, parse_name},
    rows::{self, Fields},
    scripts,
};
use crate::{
    base::ids::{ConnectionKey, ProviderName},
    store::{Census, Connection, Due, Filter, Status},
};

/// See [`Store::page`](crate::store::Store::page). Not one snapshot: what is created or removed
/// while the page is read may be on it or not.
pub(super) async fn page(
    desk: &Desk,
    filter: &Filter,
    after: Option<&ConnectionKey>,
    limit: usize,
) -> Result<Vec<Connection>, Failure> {
    let indices: Vec<String> = match filter.needs_reauth {
        None => [desk.keys.each("ok"), desk.keys.each("reauth")].concat(),
        Some(false) => desk.keys.each("ok"),
        Some(true) => desk.keys.each("reauth"),
    };
    let fits = |connection: &Connection| {
        let needs = connection.status != Status::Active;
        filter.needs_reauth.is_none_or(|wanted| wanted == needs)
    };
    follow(desk, &indices, filter, after.map(name), limit, fits).await
}

/// The connections that `indices` name, of the filter's provider only, in the order of their names, those
/// after `after` only, if they fit: what an index says of a row may have changed meanwhile.
pub(super) async fn follow(
    desk: &Desk,
    indices: &[String],
    filter: &Filter,
    mut after: Option<String>,
    limit: usize,
    fits: impl Fn(&Connection) -> bool,
) -> Result<Vec<Connection>, Failure> {
    let provider = filter.provider.as_ref();
    let mut found = Vec::new();
    while found.len() < limit {
        let left = limit - found.len();
        let (names, is_last) = names(desk, indices, provider, after.as_deref(), left).await?;
        after = names.last().cloned().or(after);
        let keys: Vec<ConnectionKey> = names.iter().filter_map(|name| parse_name(name)).collect();
        let rows = try_join_all(keys.iter().map(|key| load(desk, key))).await?;
        found.extend(rows.into_iter().flatten().filter(&fits));
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// The connection of `key`.
pub(super) async fn load(desk: &Desk, key: &ConnectionKey) -> Result<Option<Connection>, Failure> {
    let [row, ..] = desk.keys.place(key).keys;
    let fields: Fields = desk.command(redis::cmd("HGETALL").arg(row)).await?;
    rows::find(key, fields)
}

/// Up to `limit` names after `after`, in order, and whether there are no more.
pub(super) async fn names(
    desk: &Desk,
    indices: &[String],
    provider: Option<&ProviderName>,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<String>, bool), Failure> {
    let Some((from, to)) = range(provider, after) else {
        return Ok((Vec::new(), true));
    };
    // Somewhat more than the fair share of each index; where that is too little, there is a next
    // round.
    let share = limit / usize::from(BUCKETS / 2) + 4;
    let lists = try_join_all(indices.iter().map(async |index| {
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(index).arg(&from).arg(&to);
        command.arg("LIMIT").arg(0).arg(share);
        desk.command::<Vec<String>>(&command).await
    }))
    .await?;
    // Beyond the end of a list that was cut short, names may be missing.
    let horizon = lists
        .iter()
        .filter(|list| list.len() >= share)
        .filter_map(|list| list.last())
        .min()
        .cloned();
    let mut names: Vec<String> = lists.into_iter().flatten().collect();
    names.sort_unstable();
    names.dedup();
    if let Some(horizon) = &horizon {
        names.retain(|name| name <= horizon);
    }
    let is_last = horizon.is_none() && names.len() <= limit;
    names.truncate(limit);
    Ok((names, is_last))
}

/// The bounds of the names after `after`, of `provider` only; `None` if there can be none.
fn range(provider: Option<&ProviderName>, after: Option<&str>) -> Option<(String, String)> {
    // After the space comes no byte but those of users, of which `~` is the last.
    let (first, end) = match provider {
        Some(provider) => (format!("[{provider} "), format!("[{provider} \u{7f}")),
        None => ("-".to_owned(), "+".to_owned()),
    };
    let Some(after) = after else {
        return Some((first, end));
    };
    match provider.map(|provider| format!("{provider} ")) {
        Some(only) if after < only.as_str() => Some((first, end)),
        Some(only) if !after.starts_with(&only) => None,
        _ => Some((format!("({after}"), end)),
    }
}

/// See [`Store::due`](crate::store::Store::due).
pub(super) async fn due(desk: &Desk, due: &Due) -> Result<Vec<ConnectionKey>, Failure> {
    let ages = desk.keys.each(&format!("age:{}", due.provider));
    let ends = desk.keys.each(&format!("end:{}", due.provider));
    let rows = desk.keys.each("c:");
    let asked = ages.into_iter().zip(ends).zip(rows);
    let lists = try_join_all(asked.map(async |((age, end), rows)| {
        let mut call = scripts::DUE.prepare_invoke();
        call.key(age)
            .key(end)
            .arg(rows)
            .arg(due.renewed_before.as_millis())
            .arg(due.refresh_ends_before.as_millis())
            .arg(due.now.as_millis())
            .arg(due.limit)
            .arg(due.longest_cooldown.as_millis());
        desk.ask::<Vec<(i64, String)>>(&call).await
    }))
    .await?;
    let mut found: Vec<(i64, String)> = lists.into_iter().flatten().collect();
    found.sort_unstable_by(|(late, name), (other, another)| {
        other.cmp(late).then_with(|| name.cmp(another))
    });
    found.truncate(due.limit);
    let keys = found.iter().filter_map(|(_, name)| parse_name(name));
    Ok(keys.collect())
}

/// See [`Store::census`](crate::store::Store::census).
pub(super) async fn census(desk: &Desk) -> Result<Vec<Census>, Failure> {
    let counted = try_join_all(desk.keys.each("census").into_iter().map(async |key| {
        let counts: Vec<(String, i64)> = desk.command(redis::cmd("HGETALL").arg(key)).await?;
        Ok::<_, Failure>(counts)
    }))
    .await?;
    let mut sums: BTreeMap<(ProviderName, bool), i64> = BTreeMap::new();
    for (what, count) in counted.into_iter().flatten() {
        let line = what.split_once(' ').and_then(|(provider, health)| {
            let provider = ProviderName::parse(provider).ok()?;
            Some((provider, health == "2"))
        });
        if let Some(line) = line {
            *sums.entry(line).or_default() += count;
        }
    }
    let lines = sums
        .into_iter()
        .filter_map(|((provider, needs_reauth), sum)| {
            let count = u64::try_from(sum).ok().filter(|count| *count > 0)?;
            Some(Census {
                provider,
                needs_reauth,
                count,
            })
        });
    Ok(lines.collect())
}
