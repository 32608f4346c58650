//! Every test that `docs/testing.md` names exists, and every bug of its list has one.

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
    for row in page.lines().filter(|line| line.starts_with("| R")) {
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
    let all: Vec<_> = (1..=25).map(|number| format!("R{number}")).collect();
    assert_eq!(listed, all);
}
