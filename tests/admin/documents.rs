//! What `docs/api.md` says is so: its routes and its problems are those of the code.

use std::{collections::BTreeSet, fs, path::Path};

use daypass::admin::api;

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
    let (page, table) = (read("docs/api.md"), read("src/admin/trouble.rs"));
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| 4") || line.starts_with("| 5"));
    let told: BTreeSet<String> = rows
        .flat_map(|row| {
            let slugs = row.split('|').nth(2).unwrap().split('`').skip(1).step_by(2);
            slugs.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let is_slug = |text: &&str| {
        text.len() > 4
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            && (text.contains('-') || *text == "unauthorized" || *text == "overloaded")
    };
    let strings = table.split('"').skip(1).step_by(2);
    let all: BTreeSet<String> = strings.filter(is_slug).map(str::to_owned).collect();
    assert_eq!(told, all);
}
