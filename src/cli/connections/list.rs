//! `daypass connections list`.

use std::io::Write;

use clap::Args;

use super::{Outcome, must_exist, view, with_core};
use crate::{
    base::{clock::Timestamp, ids::ProviderName},
    cli::{Error, known, table, write, write_json},
    config::Loaded,
    store::{Connection, Filter, Status},
};

/// How many connections are read at once.
const PAGE: usize = 500;

/// Which connections to list.
#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// Only those of this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<ProviderName>,
    /// Only those whose user must connect again
    #[arg(long)]
    needs_reauth: bool,
    /// At most so many
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    limit: usize,
}

/// Lists connections, in the order of provider and user.
pub(in crate::cli) fn run(
    options: &Options,
    loaded: &Loaded,
    json: bool,
    out: &mut dyn Write,
) -> Outcome {
    must_exist(loaded)?;
    let (connections, now) = with_core(&loaded.settings, async |core| {
        Ok::<_, Error>((all(core, options).await?, core.clock.now()))
    })?;
    if let (true, Some(provider)) = (connections.is_empty(), &options.provider) {
        // Those of a provider that is no longer configured are listed while there are any.
        known::provider(provider, &loaded.settings)?;
    }
    if json {
        return write_json(out, &connections.iter().map(view).collect::<Vec<_>>());
    }
    if connections.is_empty() {
        return write(
            out,
            "No connections. `daypass connections import FILE` brings some in.\n",
        );
    }
    let mut table = table::with_head(&[
        "PROVIDER",
        "USER",
        "STATUS",
        "GENERATION",
        "TOKEN ENDS",
        "ACCOUNT",
    ]);
    for connection in &connections {
        table.add_row(row(connection, now));
    }
    let mut text = table::text(&table);
    if connections.len() == options.limit {
        text.push_str("Only so many were asked for; --limit N shows more.\n");
    }
    write(out, &text)
}

async fn all(core: &crate::app::Core, options: &Options) -> Result<Vec<Connection>, Error> {
    let filter = Filter {
        provider: options.provider.clone(),
        needs_reauth: options.needs_reauth.then_some(true),
    };
    let mut connections: Vec<Connection> = Vec::new();
    while connections.len() < options.limit {
        let after = connections.last().map(|connection| connection.key.clone());
        let wanted = PAGE.min(options.limit - connections.len());
        let page = core.store.page(&filter, after.as_ref(), wanted).await?;
        let last = page.len() < wanted;
        connections.extend(page);
        if last {
            break;
        }
    }
    Ok(connections)
}

fn row(connection: &Connection, now: Timestamp) -> [String; 6] {
    let status = match connection.status {
        Status::Active => "active".to_owned(),
        Status::NeedsReauth { reason, .. } => format!("needs reauth ({})", reason.as_str()),
    };
    let ends = connection.tokens.as_ref().map_or_else(
        || "no token yet".to_owned(),
        |tokens| until(tokens.access_expires_at, now),
    );
    let account = match (&connection.external_id, connection.managed_user_id) {
        (_, Some(id)) => format!("managed user {id}"),
        (Some(id), None) => id.clone(),
        (None, None) => "-".to_owned(),
    };
    [
        connection.key.provider.to_string(),
        connection.key.user.to_string(),
        status,
        connection.generation.to_string(),
        ends,
        account,
    ]
}

/// `in 1h 20m`, or `4m ago`.
pub(super) fn until(end: Timestamp, now: Timestamp) -> String {
    let left = end.saturating_since(now);
    if left.is_zero() {
        format!("{} ago", rough(now.saturating_since(end).as_secs()))
    } else {
        format!("in {}", rough(left.as_secs()))
    }
}

/// The two largest units.
fn rough(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m {}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h {}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d {}h", secs / 86_400, secs % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_their_two_largest_units() {
        let now = Timestamp::from_secs(1_000_000);
        for (secs, text) in [
            (59, "in 59s"),
            (61, "in 1m 1s"),
            (5000, "in 1h 23m"),
            (-90, "1m 30s ago"),
        ] {
            assert_eq!(until(Timestamp::from_secs(1_000_000 + secs), now), text);
        }
    }
}
