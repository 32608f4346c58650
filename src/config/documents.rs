//! Holds the example file and the reference to the parser: same keys, same defaults, same names.
//!
//! The tables of the reference are the parser's, but for what keys mean:
//! `DAYPASS_WRITE_DOCS=1 cargo test --lib documents` writes them anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
};

use super::{Environment, KeyReference, Request, load_text};

const EXAMPLE: &str = include_str!("../../config/daypass.toml");
const REFERENCE: &str = include_str!("../../docs/configuration.md");

/// What the parser knows, by dotted path.
fn known() -> BTreeMap<String, KeyReference> {
    let loaded = load_text(
        "d.toml".as_ref(),
        "",
        &Request::default(),
        &Environment::default(),
    );
    let keys = loaded.ok().unwrap().keys.into_iter();
    keys.map(|key| (key.path(), key)).collect()
}

/// The default as one writes it in the file.
fn written(key: &KeyReference) -> Option<String> {
    let default = key.default.as_ref()?;
    Some(match key.kind {
        "boolean" | "fraction" | "number" | "list" | "table" => default.clone(),
        _ => format!("\"{default}\""),
    })
}

/// The settings of the example, commented out or not: path, value, and whether it is in force.
fn example() -> Vec<(String, String, bool)> {
    let mut section = String::new();
    let mut settings = Vec::new();
    for line in EXAMPLE.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = bare
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
        {
            section = name.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, value)) = bare.split_once(" = ")
            && key
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            settings.push((format!("{section}.{key}"), value.to_owned(), bare == line));
        }
    }
    settings
}

#[test]
fn the_example_has_no_problem() {
    let request = Request::default();
    let loaded = load_text(
        "d.toml".as_ref(),
        EXAMPLE,
        &request,
        &Environment::default(),
    );
    if let Err(problems) = loaded {
        panic!("{problems}");
    }
}

#[test]
fn the_example_has_every_key_and_no_other() {
    let in_example: BTreeSet<String> = example().into_iter().map(|(path, ..)| path).collect();
    // The parts of one key, which the parser knows as a whole.
    let parts = ["id", "value", "file"].map(|part| format!("encryption.keys.{part}"));
    let mut expected: BTreeSet<String> = known().into_keys().collect();
    assert!(expected.remove("encryption.keys"));
    expected.extend(parts);
    assert_eq!(in_example, expected);
}

#[test]
fn the_example_shows_the_defaults() {
    let known = known();
    for (path, value, in_force) in example() {
        let Some(key) = known.get(&path) else {
            continue;
        };
        match written(key) {
            Some(default) => assert_eq!(value, default, "{path}"),
            None => assert!(!in_force || key.name == "kind", "{path} has no default"),
        }
    }
}

#[test]
fn the_reference_lists_every_key_with_type_default_and_variable() {
    let right = rewritten(REFERENCE, &in_order());
    #[expect(
        clippy::disallowed_methods,
        reason = "told to the test, not a setting of the product"
    )]
    let writes = std::env::var_os("DAYPASS_WRITE_DOCS").is_some();
    if writes {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        fs::write(page, &right).unwrap();
    }
    let unlike = right.lines().zip(REFERENCE.lines()).find(|(a, b)| a != b);
    assert!(
        writes || right == REFERENCE,
        "run DAYPASS_WRITE_DOCS=1 cargo test --lib documents, and say what is new; it should be\n{unlike:#?}"
    );
    let meaningless: Vec<_> = right
        .lines()
        .filter(|line| line.ends_with("` |  |"))
        .collect();
    assert!(
        meaningless.is_empty(),
        "say what these mean: {meaningless:#?}"
    );
}

/// What the parser knows, in the order in which it asks.
fn in_order() -> Vec<KeyReference> {
    let request = Request::default();
    let loaded = load_text("d.toml".as_ref(), "", &request, &Environment::default());
    loaded.ok().unwrap().keys
}

/// The reference with a row for each key, in the parser's order and words. What a key means, and all that
/// is no table of keys, stays as it is written.
fn rewritten(reference: &str, keys: &[KeyReference]) -> String {
    const HEAD: &str = "| key | type | default | environment | meaning |";
    let (mut text, mut section, mut told) = (String::new(), String::new(), BTreeSet::new());
    let mut lines = reference.lines().peekable();
    while let Some(line) = lines.next() {
        let titled = line
            .strip_prefix("## `[")
            .and_then(|rest| rest.split(']').next());
        let marked = line
            .strip_prefix("<!-- section: ")
            .and_then(|rest| rest.strip_suffix(" -->"));
        if let Some(name) = titled.or(marked) {
            name.clone_into(&mut section);
        }
        text += line;
        text.push('\n');
        if line != HEAD {
            continue;
        }
        text += lines.next().unwrap();
        text.push('\n');
        let mut meanings = BTreeMap::new();
        while let Some(row) = lines.next_if(|row| row.starts_with("| `")) {
            let mut cells = row.splitn(5, " | ");
            let name = cells.next().unwrap().trim_matches(['|', ' ', '`']);
            let meaning = cells.nth(3).unwrap().trim_end_matches(" |");
            meanings.insert(name.to_owned(), meaning.to_owned());
        }
        assert!(told.insert(section.clone()), "two tables for {section}");
        for key in keys.iter().filter(|key| key.section == section) {
            let default = written(key).map_or_else(|| "–".to_owned(), |text| format!("`{text}`"));
            let meaning = meanings.get(&key.name).map_or("", String::as_str);
            let (name, kind, variable) = (&key.name, key.kind, &key.variable);
            writeln!(
                text,
                "| `{name}` | {kind} | {default} | `{variable}` | {meaning} |"
            )
            .unwrap();
        }
    }
    let sections: BTreeSet<_> = keys.iter().map(|key| key.section.clone()).collect();
    assert_eq!(told, sections, "each section has a table");
    text
}
