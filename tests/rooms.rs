//! Who may import whom. The compiler does not hold the rooms of one crate apart; this does.
//!
//! 1. A room names only the rooms that the table allows it; imports point downwards, without cycles.
//! 2. Every room is in the table, in the map of `lib.rs`, and is a folder.
//! 3. Test code may name whatever it tests with.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test that meets the unexpected must fail loudly"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each room, and the rooms below it that it may name.
const TABLE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("telemetry", &["base"]),
    ("http", &["base", "telemetry"]),
    ("provider", &["base", "http"]),
    ("store", &["base"]),
    ("token", &["base", "telemetry", "provider", "store"]),
    ("proxy", &["base", "telemetry", "http", "provider", "token"]),
    (
        "connect",
        &["base", "telemetry", "http", "provider", "store", "token"],
    ),
    (
        "webhook",
        &["base", "telemetry", "http", "provider", "store", "token"],
    ),
    (
        "meeting",
        &["base", "telemetry", "provider", "store", "token"],
    ),
    (
        "admin",
        &[
            "base",
            "telemetry",
            "http",
            "provider",
            "store",
            "token",
            "connect",
            "webhook",
            "meeting",
        ],
    ),
    ("sandbox", &["base", "http"]),
    (
        "config",
        &[
            "base",
            "telemetry",
            "http",
            "provider",
            "store",
            "token",
            "proxy",
            "connect",
            "webhook",
            "meeting",
            "admin",
        ],
    ),
    ("app", BELOW_APP),
    ("cli", BELOW_CLI),
];

const BELOW_APP: &[&str] = &[
    "base",
    "telemetry",
    "http",
    "provider",
    "store",
    "token",
    "proxy",
    "connect",
    "webhook",
    "meeting",
    "admin",
    "sandbox",
    "config",
];

const BELOW_CLI: &[&str] = &[
    "base",
    "telemetry",
    "http",
    "provider",
    "store",
    "token",
    "proxy",
    "connect",
    "webhook",
    "meeting",
    "admin",
    "sandbox",
    "config",
    "app",
];

#[test]
fn every_room_names_only_the_rooms_below_it() {
    let table: BTreeMap<_, _> = TABLE.iter().copied().collect();
    let mut broken = Vec::new();
    for (room, path) in sources() {
        let allowed = table
            .get(room.as_str())
            .unwrap_or_else(|| panic!("{room} is in no table"));
        for named in rooms_named_in(&fs::read_to_string(&path).unwrap(), &table) {
            if named != room && !allowed.contains(&named.as_str()) {
                broken.push(format!("{} names {named}", path.display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn the_map_shows_every_room_and_only_rooms() {
    let map = fs::read_to_string(root().join("lib.rs")).unwrap();
    let in_table: BTreeSet<_> = TABLE.iter().map(|(room, _)| (*room).to_owned()).collect();
    let folders: BTreeSet<_> = sources().into_iter().map(|(room, _)| room).collect();
    assert_eq!(folders, in_table);
    for room in &in_table {
        assert!(
            map.contains(&format!("//! | [`{room}`]")),
            "{room} is not on the map"
        );
        assert!(
            map.contains(&format!("pub mod {room};")),
            "{room} is not a module"
        );
    }
}

#[test]
fn the_table_points_downwards_only() {
    for (above, (room, allowed)) in TABLE.iter().enumerate() {
        for named in *allowed {
            let below = TABLE.iter().position(|(other, _)| other == named).unwrap();
            assert!(
                below < above,
                "{room} may not name {named}, which stands above it"
            );
        }
    }
}

#[test]
fn a_forbidden_import_would_be_noticed_in_every_spelling() {
    let table: BTreeMap<_, _> = TABLE.iter().copied().collect();
    for (code, named) in [
        ("use crate::store::Store;", &["store"][..]),
        (
            "use crate::{\n    base::ids::UserId,\n    store::{self, Store},\n};",
            &["base", "store"],
        ),
        ("fn f() { crate::token::go(); }", &["token"]),
        (
            "// crate::store\n/// [`crate::store`]\nuse crate::base;",
            &["base"],
        ),
        (
            "#[cfg(test)]\nmod tests {\n    use crate::store::Store;\n}\n",
            &[],
        ),
        ("const TEXT: &str = \"crate::store\";", &[]),
    ] {
        let found: Vec<_> = rooms_named_in(code, &table).into_iter().collect();
        assert_eq!(found, named, "{code}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file below a room, with the room's name; test modules that are files are left out.
fn sources() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let room = entry.file_name().into_string().unwrap();
            collect(&entry.path(), &room, &mut found);
        }
    }
    found
}

fn collect(folder: &Path, room: &str, found: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, room, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((room.to_owned(), path));
        }
    }
}

fn rooms_named_in(code: &str, table: &BTreeMap<&str, &[&str]>) -> BTreeSet<String> {
    let bare = without_tests(&without_comments_and_strings(code));
    let mut named = BTreeSet::new();
    for (at, _) in bare.match_indices("crate::") {
        let before = bare[..at].chars().next_back();
        if before.is_some_and(|before| before.is_alphanumeric() || before == '_') {
            continue;
        }
        named.extend(first_segments(&bare[at + "crate::".len()..]));
    }
    named.retain(|name| table.contains_key(name.as_str()));
    named
}

/// The first path segment, or those of every item of a group.
fn first_segments(rest: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![word(rest)];
    };
    let (mut depth, mut start, mut segments) = (0_i32, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                segments.push(word(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                segments.push(word(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    segments
}

/// Enough of a lexer for the formatted code of this crate.
fn without_comments_and_strings(code: &str) -> String {
    let mut bare = String::new();
    for line in code.lines() {
        let mut rest = line;
        if let Some((before, _)) = rest.split_once("//") {
            rest = before;
        }
        for (nth, part) in rest.split('"').enumerate() {
            if nth % 2 == 0 {
                bare.push_str(part);
            }
        }
        bare.push('\n');
    }
    bare
}

fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let tail = &rest[at..];
        let end = tail
            .find('{')
            .filter(|open| !tail[..*open].contains(';'))
            .map_or_else(
                || tail.find(';').map_or(tail.len(), |end| end + 1),
                |open| closing_brace(tail, open),
            );
        rest = &tail[end..];
    }
    kept.push_str(rest);
    kept
}

fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_i32;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return open + at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}
