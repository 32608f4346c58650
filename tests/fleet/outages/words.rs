//! The outages in words: `docs/reports/outages.md`.

use std::{fmt::Write as _, time::Duration};

use super::{Outage, PLACES};
use crate::{
    keeper::Backend,
    report::{POSTGRES, REDIS, Report, SQLITE, machine, table},
};

/// What an outage is of, and at which store.
static REPORT: Report<Outage> = Report::new(
    "outages.md",
    &[
        STORE_POSTGRES,
        STORE_REDIS,
        STORE_SQLITE,
        TOKENS_POSTGRES,
        TOKENS_REDIS,
        TOKENS_SQLITE,
    ],
    words,
);

const STORE_POSTGRES: &str = "PostgreSQL killed";
const STORE_REDIS: &str = "Redis killed";
const STORE_SQLITE: &str = "SQLite locked by another";
const TOKENS_POSTGRES: &str = "token endpoint, on PostgreSQL";
const TOKENS_REDIS: &str = "token endpoint, on Redis";
const TOKENS_SQLITE: &str = "token endpoint, on SQLite";

const OPENING: &str = "# Outages

Ten minutes without the store, and ten minutes without the provider's token endpoint: real processes and real servers,
every setting the default. Written by the test that had them, which fails if anything here is not as it should be:

    DAYPASS_LONG_TESTS=1 cargo test --locked --test fleet outages

";

const STORE: &str = "
## The store is down

Asked each second, at one sidecar after the other: 10 users whose tokens outlive the outage; 10 whose tokens, minted just
before, end after four minutes; 5 whom no sidecar remembers; and one whose tokens were minted the moment before the store
went, so that they are in the spool of one sidecar, which is the one that is asked. The store ended by SIGKILL; a file is
locked by another program, and can still be read.

- Every answer was the right one: 200 as long as there is a valid token, and 503 `store-unavailable` afterwards and for
  those whom nobody remembers. (A file that is locked can be read, so there they are served.)
- Nothing was redeemed, and no new connection was taken: neither could have been recorded.
- `/readyz` of each sidecar said `degraded`, with the reason, from the fifth minute at the latest, and `ready` afterwards.
- No process was started again.
- Every refresh token was sent once, before the outage or after it; that of the spooled tokens too.
";

const TOKENS: &str = "
## The provider's token endpoint is down

Asked each second, at one sidecar after the other: 5 users whose tokens outlive the outage, and 25 whose tokens end in its
first minute. For three minutes nobody listens, for three there is a 503, and for four nothing is ever answered.

- Every answer was the right one: 200 as long as there is a valid token, and 503 `refresh-failed` afterwards.
- `/readyz` of each sidecar said `degraded`, with the reason, from the fifth minute at the latest, and `ready` afterwards.
- Every refresh token was accepted once, and no spent one was sent.

Calls to the token endpoint, of five sidecars together, minute by minute. Without any outage each of these users would
cost one call in two hours; in one, the number of calls depends on that of the sidecars only.

";

/// Tells of an outage of the store.
pub(super) fn tell_of_store(backend: Backend, outage: &Outage) {
    let part = match backend {
        Backend::Postgres => STORE_POSTGRES,
        Backend::Redis | Backend::Cluster => STORE_REDIS,
        Backend::Sqlite => STORE_SQLITE,
    };
    tell(part, outage);
}

/// Tells of an outage of the token endpoint.
pub(super) fn tell_of_tokens(backend: Backend, outage: &Outage) {
    let part = match backend {
        Backend::Postgres => TOKENS_POSTGRES,
        Backend::Redis | Backend::Cluster => TOKENS_REDIS,
        Backend::Sqlite => TOKENS_SQLITE,
    };
    tell(part, outage);
}

fn tell(part: &'static str, outage: &Outage) {
    let [ready, served, spool] = outage.back;
    eprintln!(
        "{part}, for {} s\n\n{}\nback after: ready everywhere {ready:.1?}, everybody served \
         everywhere {served:.1?}, spool empty {spool:.1?}\n",
        outage.long.as_secs(),
        minutes(outage),
    );
    REPORT.tell(part, outage.clone());
}

/// Part by part.
fn minutes(outage: &Outage) -> String {
    let head = [
        "",
        "what",
        "answers to the app",
        "longest wait",
        "calls to the token endpoint",
        "failed store operations",
        "log lines",
    ];
    let mut rows = vec![head.map(ToOwned::to_owned).to_vec()];
    for (nth, part) in outage.parts.iter().enumerate() {
        let outcomes = part.outcomes.iter();
        let outcomes: Vec<_> = outcomes
            .map(|(outcome, n)| format!("{n} × {outcome}"))
            .collect();
        rows.push(vec![
            (nth + 1).to_string(),
            part.name.to_owned(),
            outcomes.join(", "),
            secs(part.longest),
            part.provider_calls.to_string(),
            part.store_errors.to_string(),
            part.log_lines.to_string(),
        ]);
    }
    table(&rows)
}

fn secs(long: Duration) -> String {
    format!("{:.1} s", long.as_secs_f32())
}

fn words(told: &[(&'static str, Outage)]) -> String {
    let (store, tokens) = told.split_at(told.len() / 2);
    let mut text = OPENING.to_owned();
    writeln!(text, "{PLACES} sidecars on {}\n", machine()).unwrap();
    text += &in_short(told);
    text += STORE;
    for (part, outage) in store {
        write!(
            text,
            "\n### {part}\n\nMinute by minute:\n\n{}",
            minutes(outage)
        )
        .unwrap();
    }
    text += TOKENS;
    text += &calls(tokens);
    for (part, outage) in tokens {
        write!(text, "\n### The {part}\n\n{}", minutes(outage)).unwrap();
    }
    text
}

fn in_short(told: &[(&'static str, Outage)]) -> String {
    let head = [
        "outage",
        "lasted",
        "requests",
        "wrong answers",
        "token calls",
        "longest wait",
        "ready everywhere after",
        "everybody served everywhere after",
        "spool empty after",
    ];
    let mut rows = vec![head.map(ToOwned::to_owned).to_vec()];
    for (part, outage) in told {
        let [ready, served, spool] = outage.back;
        let parts = || outage.parts.iter();
        let requests: u64 = parts().flat_map(|part| part.outcomes.values()).sum();
        let longest = parts().map(|part| part.longest).max().unwrap_or_default();
        let has_spool = !part.starts_with("token");
        rows.push(vec![
            (*part).to_owned(),
            format!("{} s", outage.long.as_secs()),
            requests.to_string(),
            // The first would have ended the test.
            "0".to_owned(),
            outage.calls().to_string(),
            secs(longest),
            secs(ready),
            secs(served),
            if has_spool {
                secs(spool)
            } else {
                "–".to_owned()
            },
        ]);
    }
    table(&rows)
}

/// Calls to the token endpoint, minute by minute, and how far that is from one each per sidecar.
fn calls(tokens: &[(&'static str, Outage)]) -> String {
    let mut rows = vec![vec!["minute".to_owned(), "the token endpoint".to_owned()]];
    let stores = [POSTGRES, REDIS, SQLITE];
    rows[0].extend(stores.map(ToOwned::to_owned));
    let Some((_, first)) = tokens.first() else {
        return String::new();
    };
    for (nth, part) in first.parts.iter().enumerate() {
        let mut row = vec![(nth + 1).to_string(), part.name.to_owned()];
        row.extend(tokens.iter().map(|(_, outage)| {
            let calls = outage.parts.get(nth).map_or(0, |part| part.provider_calls);
            let bar = "▪".repeat(usize::try_from(calls).unwrap().div_ceil(5));
            format!("{calls} {bar}")
        }));
        rows.push(row);
    }
    table(&rows)
}
