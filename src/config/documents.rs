//! Holds the example file and the reference to the parser: same keys, same defaults, same names.

use std::collections::{BTreeMap, BTreeSet};

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
    let mut section = String::new();
    let mut rows = BTreeSet::new();
    for line in REFERENCE.lines() {
        if let Some(name) = line
            .strip_prefix("## `[")
            .and_then(|line| line.split(']').next())
        {
            name.clone_into(&mut section);
        } else if let Some(name) = line.strip_prefix("<!-- section: ") {
            name.trim_end_matches(" -->").clone_into(&mut section);
        } else if line.starts_with("| `") {
            let cells: Vec<&str> = line
                .split(" | ")
                .map(|cell| cell.trim_matches(['|', ' ', '`']))
                .collect();
            assert_eq!(cells.len(), 5, "{line}");
            rows.insert(
                [
                    &format!("{section}.{}", cells[0]),
                    cells[1],
                    cells[2],
                    cells[3],
                ]
                .map(str::to_owned),
            );
        }
    }
    let expected: BTreeSet<_> = known()
        .values()
        .map(|key| {
            let default = written(key).unwrap_or_else(|| "–".to_owned());
            [
                key.path(),
                key.kind.to_owned(),
                default,
                key.variable.clone(),
            ]
        })
        .collect();
    let missing: Vec<_> = expected.difference(&rows).collect();
    let surplus: Vec<_> = rows.difference(&expected).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "missing {missing:?}\nsurplus {surplus:?}"
    );
}
