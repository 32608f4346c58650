//! The reports of long runs say that nothing was wrong, and by which tests they were written.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected must fail loudly"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of every source of the tests that write reports.
fn sources() -> String {
    let mut folders: Vec<PathBuf> =
        vec![root().join("tests/fleet"), root().join("tests/end_to_end")];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                text += &fs::read_to_string(path).unwrap();
            }
        }
    }
    text
}

/// A report that a long run has left.
fn report(name: &str) -> String {
    fs::read_to_string(root().join("docs/reports").join(name)).unwrap()
}

/// The tables of a report: rows of cells, the head first.
fn tables(report: &str) -> Vec<Vec<Vec<String>>> {
    let mut tables = vec![Vec::new()];
    for line in report.lines() {
        let row = line
            .strip_prefix("| ")
            .and_then(|row| row.strip_suffix(" |"));
        match row {
            Some(row) => {
                let cells = row.split(" | ").map(|cell| cell.trim().to_owned());
                tables.last_mut().unwrap().push(cells.collect());
            }
            // The line below the head.
            None if line.starts_with("|---") => {}
            None => tables.push(Vec::new()),
        }
    }
    tables.retain(|table| !table.is_empty());
    tables
}

#[test]
fn the_reports_name_the_commands_that_write_them() {
    let sources = sources();
    for (name, test, part) in [
        ("fleet", "fleet", "soak"),
        ("outages", "fleet", "outages"),
        ("teeth", "fleet", "teeth"),
        ("rolling", "end_to_end", "rolling"),
    ] {
        let command = format!("DAYPASS_LONG_TESTS=1 cargo test --locked --test {test} {part}");
        assert!(
            report(&format!("{name}.md")).contains(&format!("    {command}\n")),
            "{name}"
        );
        assert!(sources.contains(&format!("{name}.md\"")), "{name}");
        let page = fs::read_to_string(root().join("docs/testing.md")).unwrap();
        assert!(page.contains(&command), "{name}");
    }
}

#[test]
fn no_fleet_has_spent_lost_or_mistaken_anything() {
    let tables = tables(&report("fleet.md"));
    let [violations, happened, ..] = &tables[..] else {
        panic!("a report has tables");
    };
    let stores = ["", "PostgreSQL", "Redis", "Redis Cluster", "SQLite"];
    assert_eq!(violations.first().unwrap(), &stores);
    for wrong in [
        "double spends",
        "lost grants",
        "wrong tokens",
        "requests without an answer",
    ] {
        let row = violations.iter().find(|row| row.first().unwrap() == wrong);
        assert_eq!(row.unwrap().get(1..).unwrap(), ["0"; 4], "{wrong}");
    }
    for row in violations.iter().skip(1) {
        assert_eq!(row.get(1..).unwrap(), ["0"; 4], "{row:?}");
    }
    let time = happened.iter().find(|row| row.first().unwrap() == "time");
    for secs in time.unwrap().iter().skip(1) {
        let secs: u64 = secs.trim_end_matches(" s").parse().unwrap();
        assert!(secs >= 300, "{secs} s are not five minutes");
    }
}

#[test]
fn no_answer_was_wrong_in_any_outage() {
    let report = report("outages.md");
    let tables = tables(&report);
    let short = tables.first().unwrap();
    let column = |name: &str| {
        let head = short.first().unwrap();
        let nth = head.iter().position(|cell| cell == name).unwrap();
        short.iter().skip(1).map(move |row| row.get(nth).unwrap())
    };
    assert_eq!(column("outage").count(), 6, "two on each of three stores");
    assert!(column("lasted").all(|lasted| lasted == "600 s"));
    assert!(column("wrong answers").all(|wrong| wrong == "0"));
    for back in column("everybody served everywhere after") {
        let secs: f64 = back.trim_end_matches(" s").parse().unwrap();
        assert!(secs < 30.0, "{secs} s are not seconds");
    }
}

#[test]
fn no_request_failed_in_a_rolling_restart() {
    let tables = tables(&report("rolling.md"));
    let table = tables.first().unwrap();
    assert_eq!(table.first().unwrap(), &["", "PostgreSQL", "Redis"]);
    let row = |name: &str| {
        let row = table.iter().find(|row| row.first().unwrap() == name);
        row.unwrap().get(1..).unwrap().to_vec()
    };
    for wrong in [
        "failed requests",
        "refresh tokens sent twice",
        "events lost, or out of order",
    ] {
        assert_eq!(row(wrong), ["0"; 2], "{wrong}");
    }
    for enough in ["sidecars replaced", "renewals", "event streams"] {
        for count in row(enough) {
            assert!(count.parse::<u64>().unwrap() >= 30, "{enough}: {count}");
        }
    }
}

#[test]
fn every_protection_that_was_taken_out_was_noticed_by_a_test_that_exists() {
    let (report, sources) = (report("teeth.md"), sources());
    let tables = tables(&report);
    let rows = tables.first().unwrap().iter().skip(1);
    let mut number = 0;
    for row in rows {
        let [without, by, _after, complaint] = &row[..] else {
            panic!("{row:?}");
        };
        assert!(
            sources.contains(&format!("name: \"{without}\"")),
            "{without}"
        );
        let test = by.trim_matches('`');
        assert!(sources.contains(&format!("fn {test}(")), "{test}");
        assert!(!complaint.is_empty(), "{without}");
        number += 1;
    }
    let mutations = fs::read_to_string(root().join("tests/fleet/teeth.rs")).unwrap();
    let mutations = mutations.matches("    Mutation {\n").count();
    assert_eq!(number, mutations, "as many as are in the code");
}
