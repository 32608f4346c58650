//! What the documents tell of the code is so: the tests that `docs/testing.md` names, the excerpts of
//! examples, the words that an app reads.
//!
//! * `<!-- from: FILE -->`: the fenced block below is part of FILE, line for line.
//! * `<!-- table: NAME -->`: the table below lists what the code has, no more and no less.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected must fail loudly"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of every source of the crate and of its tests.
fn sources() -> String {
    let mut folders: Vec<PathBuf> = vec![root().join("src"), root().join("tests")];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text += &fs::read_to_string(path).unwrap();
            }
        }
    }
    text
}

#[test]
fn every_bug_that_others_shipped_has_a_test_that_exists() {
    let (page, sources) = (
        fs::read_to_string(root().join("docs/testing.md")).unwrap(),
        sources(),
    );
    let mut missing = Vec::new();
    let mut listed = Vec::new();
    let rows = page.lines().filter(|line| is_numbered(line));
    for row in rows {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (number, tests) = (cells.next().unwrap(), cells.nth(1).unwrap());
        let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{number} names no test");
        for test in named {
            if !sources.contains(&format!("fn {test}(")) {
                missing.push(format!("{number}: {test}"));
            }
        }
        listed.push(number.to_owned());
    }
    assert_eq!(missing, Vec::<String>::new());
    let renewing = (1..=25).map(|number| format!("R{number}"));
    let webhooks = (1..=14).map(|number| format!("W{number}"));
    let all: Vec<_> = renewing.chain(webhooks).collect();
    assert_eq!(listed, all);
}

#[test]
fn excerpts_of_the_examples_are_what_their_files_have() {
    let mut compared = 0;
    for page in ["docs/connecting.md", "docs/webhooks.md"] {
        let text = read(page);
        for excerpt in text.split("<!-- from: ").skip(1) {
            let (file, rest) = excerpt.split_once(" -->\n```").unwrap();
            let (_, block) = rest.split_once('\n').unwrap();
            let (block, _) = block.split_once("\n```\n").unwrap();
            let whole_lines = format!("\n{}\n", read(file));
            assert!(
                whole_lines.contains(&format!("\n{block}\n")),
                "{page}: this is not in {file}:\n{block}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 5, "{compared}");
}

#[test]
fn an_app_is_told_of_every_word_that_it_may_read_after_a_consent() {
    let page = read("docs/connecting.md");
    let told = words(&table(&page, "results"), 1);
    let code = literals("src/connect/ending/mod.rs");
    let names = ["connection", "provider", "reason", "note", "missing"];
    let written = code.into_iter().filter(|text| is_slug(text, '-'));
    let written: BTreeSet<_> = written
        .filter(|text| !names.contains(&text.as_str()))
        .collect();
    assert_eq!(told, written);
}

#[test]
fn every_trouble_of_a_browser_is_told_with_what_its_reader_sees() {
    let page = read("docs/connecting.md");
    let (troubles, atoms) = (table(&page, "troubles"), table(&page, "atoms"));
    let code = literals("src/connect/trouble.rs");
    let written: BTreeSet<_> = code
        .iter()
        .filter(|text| is_slug(text, '-'))
        .cloned()
        .collect();
    let mut told = words(&troubles, 1);
    told.extend(words(&atoms, 1));
    assert_eq!(told, written);
    for row in &troubles {
        assert!(code.contains(&row[2]), "no page says: {}", row[2]);
    }
}

#[test]
fn every_event_of_our_own_is_told() {
    let told = words(&table(&read("docs/webhooks.md"), "own events"), 0);
    let code = literals("src/webhook/own_events.rs");
    let written = code
        .into_iter()
        .filter(|text| text.contains('.') && is_slug(text, '_'));
    assert_eq!(told, written.collect());
}

#[test]
fn the_demo_signs_as_the_examples_expect() {
    let demo = literals("src/cli/demo/mod.rs");
    let secret = demo.iter().find(|text| text.starts_with("whsec_")).unwrap();
    for file in [
        "daypass.toml",
        "express/README.md",
        "nextjs/README.md",
        "fastapi/README.md",
    ] {
        let text = read(&format!("docs/examples/{file}"));
        assert!(text.contains(secret.as_str()), "{file}");
    }
}

// --- reading ---

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of the table that is called so, without its head.
fn table(page: &str, name: &str) -> Vec<Vec<String>> {
    let (_, rest) = page
        .split_once(&format!("<!-- table: {name} -->\n\n"))
        .unwrap();
    let rows = rest.lines().take_while(|line| !line.is_empty()).skip(2);
    let cells = |row: &str| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

/// Everything in backticks in the column.
fn words(table: &[Vec<String>], column: usize) -> BTreeSet<String> {
    let cells = table.iter().map(|row| row[column].as_str());
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    words.map(ToOwned::to_owned).collect()
}

/// The strings in the code of a file, without its tests, comments and attributes.
fn literals(path: &str) -> Vec<String> {
    let text = read(path);
    let code = text.split("#[cfg(test)]").next().unwrap();
    let lines = code.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.starts_with("//") && !line.starts_with("#["));
    let literals = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    literals.map(ToOwned::to_owned).collect()
}

/// Small letters, with `hyphen` or dots between words.
fn is_slug(text: &str, hyphen: char) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == hyphen || letter == '.')
}

/// Whether a line of a table begins with the number of a bug.
fn is_numbered(line: &str) -> bool {
    let number = line
        .strip_prefix("| R")
        .or_else(|| line.strip_prefix("| W"));
    number.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}
