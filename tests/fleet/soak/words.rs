//! A soak in words, and all of them in `docs/reports/fleet.md`.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Outcome, PLACES, RULES, USERS};
use crate::{
    chronicle::Millis,
    judge::Kind,
    keeper::Backend,
    plan::TROUBLE,
    report::{CLUSTER, POSTGRES, REDIS, Report, SQLITE, machine, table},
};

static REPORT: Report<Column> = Report::new("fleet.md", &[POSTGRES, REDIS, CLUSTER, SQLITE], words);

const OPENING: &str = "# Fleets

Five processes of the binary on one real store, five minutes each, with everything going wrong that the harness can do,
drawn from a seed. Written by the tests that did it, which fail if a figure of the first table is not zero:

    DAYPASS_LONG_TESTS=1 cargo test --locked --test fleet soak

";

const COUNTING: &str = "
What is counted, and by whom: `tests/fleet/judge`. The provider's log says which refresh tokens were accepted; witnesses
on the way to it, which process sent which and whether the answer reached it; a reader of the store, what was stored
when. A spent token that is sent again is a double spend unless a fault explains that nobody could have known; a
connection that must be connected anew is a lost grant unless its answer was lost on the way, or its process died between
the answer and the first of its two writes. What is explained is counted below, by what explains it.
";

const FAULTS: &str = "
## What went wrong on purpose

A way is a TCP proxy between one process and what it talks to: reset, stalled, or losing questions, answers or both. A
file has no way, and the nodes of a cluster name their own addresses. Every second seed has Redis write to its disk
once a second instead of always, and then only stops it in order. Failovers, which may lose what was acknowledged,
are left to the simulation and to `tests/redis_trouble`.

";

/// What the report says of one store.
#[derive(Clone)]
struct Column {
    verdict: Rows,
    what: Rows,
    answers: Rows,
    faults: Rows,
    again: Rows,
    lost: Rows,
}

/// Names and values.
type Rows = Vec<(String, String)>;

/// Says what happened on `backend`, and what the judge says.
pub(super) fn tell(backend: Backend, outcome: &Outcome) {
    let column = column(outcome);
    eprintln!("fleet on {}", backend.name());
    let Column {
        verdict,
        what,
        answers,
        faults,
        again,
        lost,
    } = &column;
    for (name, value) in [verdict, what, answers, faults, again, lost]
        .into_iter()
        .flatten()
    {
        eprintln!("  {name}: {value}");
    }
    REPORT.tell(backend.name(), column);
}

fn column(outcome: &Outcome) -> Column {
    let Outcome {
        events, verdict, ..
    } = outcome;
    let violations = Kind::ALL.map(|kind| {
        let found = verdict.violations.iter();
        let number = found.filter(|violation| violation.kind == kind).count();
        (kind.name().to_owned(), number.to_string())
    });
    let answers = events.requests.iter().map(|request| &*request.outcome);
    let answers = count(answers.map(|outcome| match outcome {
        "broken" => "none: its process died",
        "unanswered" => "none",
        answered => answered,
    }));
    let faults = count(events.faults.iter().map(|fault| fault.what));
    Column {
        verdict: violations.to_vec(),
        what: what(outcome),
        answers: rows(&answers),
        faults: rows(&faults),
        again: rows(&verdict.again),
        lost: rows(&verdict.lost),
    }
}

fn count<'w>(all: impl Iterator<Item = &'w str>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    all.for_each(|one| *counts.entry(one.to_owned()).or_default() += 1);
    counts
}

fn rows(counts: &BTreeMap<String, u64>) -> Rows {
    let counts = counts.iter();
    counts
        .map(|(what, n)| (what.clone(), n.to_string()))
        .collect()
}

/// What happened.
fn what(outcome: &Outcome) -> Rows {
    let Outcome {
        events, settling, ..
    } = outcome;
    let requests = events.requests.iter();
    let mut waits: Vec<Millis> = requests
        .map(|request| request.until - request.from)
        .collect();
    waits.sort_unstable();
    let wait = |part: usize| format!("{} ms", waits[(waits.len() - 1) * part / 1000]);
    let longest = settling.iter().max().copied().unwrap_or_default();
    let refused: u64 = events.refused.values().sum();
    let rows = [
        ("seed", outcome.seed.to_string()),
        ("time", format!("{} s", outcome.took.as_secs())),
        (
            "rounds of trouble, and peace until all works",
            settling.len().to_string(),
        ),
        (
            "processes, one after the other",
            outcome.processes.to_string(),
        ),
        ("faults", events.faults.len().to_string()),
        ("requests of the app", events.requests.len().to_string()),
        ("waits: median", wait(500)),
        ("– one in a hundred", wait(990)),
        ("– one in a thousand", wait(999)),
        ("– longest", wait(1000)),
        ("refresh tokens sent", events.sendings.len().to_string()),
        ("– redeemed", events.accepted.len().to_string()),
        ("– refused", refused.to_string()),
        (
            "users who connected again",
            (events.reconnected.len() / 2).to_string(),
        ),
        (
            "everything worked again after, at most",
            format!("{:.1} s", longest.as_secs_f32()),
        ),
        (
            "marked until a process stored what it held",
            outcome.came_back.to_string(),
        ),
    ];
    rows.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

fn words(told: &[(&'static str, Column)]) -> String {
    let mut text = OPENING.to_owned();
    let side_by_side = |part: fn(&Column) -> &Rows, missing: &str| {
        let columns: Vec<_> = told.iter().map(|(_, column)| part(column)).collect();
        let mut names: Vec<&String> = Vec::new();
        for (name, _) in columns.iter().copied().flatten() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut rows = vec![vec![""]];
        rows[0].extend(told.iter().map(|(store, _)| *store));
        for name in names {
            let mut row = vec![&**name];
            row.extend(columns.iter().map(|column| {
                let found = column.iter().find(|(other, _)| other == name);
                found.map_or(missing, |(_, value)| value)
            }));
            rows.push(row);
        }
        table(&rows)
    };
    text += &side_by_side(|column| &column.verdict, "–");
    text += COUNTING;
    write!(
        text,
        "\n## What happened\n\nOn {}\n\n{} users at {PLACES} places, {} of them managed ones of Cal.com. Access \
         tokens live for {} s and leases for {} s, so that renewals never end. A round is {} s of trouble, and then \
         peace until everything works again.\n\n",
        machine(),
        USERS.0 + USERS.1,
        USERS.1,
        RULES.lifetime / 1000,
        RULES.lease / 1000,
        TROUBLE.as_secs(),
    )
    .unwrap();
    text += &side_by_side(|column| &column.what, "–");
    text += "\n## Answers to the app\n\n";
    text += &side_by_side(|column| &column.answers, "0");
    text += FAULTS;
    text += &side_by_side(|column| &column.faults, "0");
    text += "\n## Spent tokens that were sent again, by what explains it\n\n";
    text += &side_by_side(|column| &column.again, "0");
    text += "\n## Connections that had to be connected again, by what explains it\n\n";
    text += &side_by_side(|column| &column.lost, "0");
    text
}
