//! The table of values in the chart's README is what the comments of `values.yaml` say.
//!
//! `DAYPASS_WRITE_DOCS=1 cargo test --test chart` writes it anew.

use std::{fmt::Write, fs};

use crate::helm::root;

const BEGIN: &str = "<!-- values -->\n";
const END: &str = "<!-- end of values -->";

/// A row for each value that has a comment beginning with `--`.
fn table(values: &str) -> String {
    let mut rows = String::from("| value | default | what it is |\n|---|---|---|\n");
    let mut path: Vec<(usize, String)> = Vec::new();
    let (mut comment, mut lines) = (None::<String>, values.lines().peekable());
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if let Some(more) = text.strip_prefix('#') {
            match more.strip_prefix(" -- ") {
                Some(first) => comment = Some(first.to_owned()),
                None => {
                    if let Some(comment) = &mut comment {
                        comment.push(' ');
                        comment.push_str(more.trim());
                    }
                }
            }
            continue;
        }
        let Some((name, value)) = text.split_once(':') else {
            continue;
        };
        path.retain(|(above, _)| *above < depth);
        path.push((depth, name.to_owned()));
        let Some(comment) = comment.take() else {
            continue;
        };
        let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
        // What is below a value with a comment is its default.
        let mut default = value.trim().to_owned();
        if default.is_empty() || default == "|" {
            let deeper = |next: &&str| {
                next.trim().is_empty() || next.len() - next.trim_start().len() > depth
            };
            let mut below = Vec::new();
            while let Some(next) = lines.next_if(|next| deeper(next)) {
                below.push(next.trim());
            }
            default = below.join(" ").trim().to_owned();
        }
        let (name, comment) = (names.join("."), comment.replace('|', "\\|"));
        writeln!(rows, "| `{name}` | `{default}` | {comment} |").unwrap();
    }
    rows
}

#[test]
fn the_reference_says_what_the_comments_say() {
    let values = fs::read_to_string(root().join("helm/daypass/values.yaml")).unwrap();
    let page = root().join("helm/daypass/README.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let right = format!("{before}{BEGIN}{}{END}{after}", table(&values));
    if std::env::var_os("DAYPASS_WRITE_DOCS").is_some() {
        fs::write(&page, right).unwrap();
    } else {
        assert!(
            text == right,
            "run DAYPASS_WRITE_DOCS=1 cargo test --test chart"
        );
    }
}

#[test]
fn every_value_has_a_comment_and_a_place_in_the_schema() {
    let values = fs::read_to_string(root().join("helm/daypass/values.yaml")).unwrap();
    let schema = fs::read_to_string(root().join("helm/daypass/values.schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let rows: Vec<String> = table(&values)
        .lines()
        .skip(2)
        .map(|row| row.split('`').nth(1).unwrap().to_owned())
        .collect();
    assert!(rows.len() > 50, "{rows:?}");
    for row in &rows {
        let mut place = &schema;
        for name in row.split('.') {
            place = &place["properties"][name];
        }
        assert!(place.is_object(), "{row} is not in the schema");
    }
}
