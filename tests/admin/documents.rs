//! What `docs/api.md` says is so: its routes and its problems are those of the code.

use std::{collections::BTreeSet, fs, path::Path};

use daypass::admin::{self, api};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn every_route_is_documented_and_no_other() {
    let page = read("docs/api.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let told: BTreeSet<(String, String)> = rows
        .filter_map(|row| row.split_once('`')?.0.split_once(' '))
        .map(|(method, path)| (method.to_owned(), path.to_owned()))
        .filter(|(_, path)| path.starts_with("/v1/"))
        .collect();
    let all = api::routes().into_iter();
    let all: BTreeSet<_> = all
        .map(|(method, path)| (method.to_owned(), path))
        .collect();
    assert_eq!(told, all);
}

#[test]
fn every_problem_is_documented_and_no_other() {
    let page = read("docs/api.md");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| 4") || line.starts_with("| 5"));
    let told: BTreeSet<(u16, String)> = rows
        .flat_map(|row| {
            let mut cells = row.split('|').skip(1);
            let status: u16 = cells.next().unwrap().trim().parse().unwrap();
            let slugs = cells.next().unwrap().split('`').skip(1).step_by(2);
            slugs
                .map(|slug| (status, slug.to_owned()))
                .collect::<Vec<_>>()
        })
        .collect();
    let all = api::problems().into_iter();
    let all: BTreeSet<_> = all
        .map(|(status, slug)| (status, slug.to_owned()))
        .collect();
    assert_eq!(told, all);
}

#[test]
fn the_description_that_is_kept_is_the_one_that_is_served() {
    let kept = read("docs/openapi.json");
    let same = kept == admin::description();
    assert!(same, "`daypass openapi > docs/openapi.json` writes it anew");
}
