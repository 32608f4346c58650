//! That docs/operations.md says what the code says, and what the tests see.
//!
//! 1. Each message of its table of trouble is in the code, to the letter; `…` stands for what differs.
//! 2. Each row has a message that some test expects of a real process or a real server.
//! 3. Each message that a test of trouble expects is in the table ([`documented`]).

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One row of the table of trouble.
struct Row {
    trouble: String,
    /// What stands between backticks.
    says: Vec<String>,
}

/// The code block below the marker `name`.
pub(crate) fn block(name: &str) -> String {
    let document = document();
    let marker = format!("<!-- {name} -->\n```sh\n");
    let (_, after) = document.split_once(&marker).unwrap();
    let (block, _) = after.split_once("```").unwrap();
    block.to_owned()
}

/// Fails unless `message` is in the table of trouble, or part of one that is.
#[track_caller]
pub(crate) fn documented(message: &str) {
    let told = rows()
        .into_iter()
        .flat_map(|row| row.says)
        .any(|says| are_alike(&says, message));
    assert!(told, "docs/operations.md says nothing of {message:?}");
}

/// Whether a part of what the table `says` is in `message`, or the other way round.
fn are_alike(says: &str, message: &str) -> bool {
    let pieces = says.split('…').map(str::trim);
    let pieces: Vec<&str> = pieces.filter(|piece| piece.len() > 8).collect();
    says.contains(message) || pieces.iter().any(|piece| message.contains(piece))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn document() -> String {
    fs::read_to_string(root().join("docs/operations.md")).unwrap()
}

fn rows() -> Vec<Row> {
    let document = document();
    let (_, table) = document.split_once("<!-- table: trouble -->\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let rows = rows.skip(2).map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{line}");
        assert!(!cells[3].is_empty(), "nothing to do: {line}");
        let says = cells[2].split('`').skip(1).step_by(2);
        Row {
            trouble: cells[1].to_owned(),
            says: says.map(str::to_owned).collect(),
        }
    });
    rows.collect()
}

/// All text of the files in `folder`, without line breaks within texts; `{…}` and `\"` as a reader sees
/// them.
fn texts(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, text);
        } else if path.extension() == Some("rs".as_ref()) {
            let source = fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
            let joined = lines.join("\n").replace("\\\n", "").replace("\\\"", "\"");
            text.push_str(&shown(&joined));
        }
    }
}

/// With `…` for each placeholder of a format.
fn shown(source: &str) -> String {
    let mut shown = String::new();
    let mut rest = source;
    while let Some((before, after)) = rest.split_once('{') {
        shown.push_str(before);
        let name: String = after
            .chars()
            .take_while(|&c| c.is_ascii_alphanumeric() || "_.:?".contains(c))
            .collect();
        let behind = after.strip_prefix(name.as_str());
        if let Some(behind) = behind.and_then(|behind| behind.strip_prefix('}')) {
            shown.push('…');
            rest = behind;
        } else {
            shown.push('{');
            rest = after;
        }
    }
    shown + rest
}

#[test]
fn every_message_of_the_table_is_one_that_the_code_says() {
    let mut code = String::new();
    texts(&root().join("src"), &mut code);
    let mut checked = 0;
    for row in rows() {
        assert!(!row.says.is_empty(), "{}: no message", row.trouble);
        for message in row.says {
            assert!(code.contains(&message), "nobody says {message:?}");
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked}");
}

#[test]
fn every_trouble_of_the_table_is_made_by_a_test() {
    let mut tests = String::new();
    for folder in [
        "operations",
        "redis_trouble",
        "postgres_trouble",
        "sqlite_trouble",
    ] {
        texts(&root().join("tests").join(folder), &mut tests);
    }
    for row in rows() {
        let is_expected = row.says.iter().any(|says| {
            let pieces = says
                .split('…')
                .map(|piece| piece.trim_matches([' ', ';', ':']));
            let longest = pieces.max_by_key(|piece| piece.len()).unwrap();
            // A test may expect the beginning only.
            let start = longest.split([';', ',']).next().unwrap().trim();
            let parts = [longest, start, longest.rsplit(';').next().unwrap().trim()];
            let is_there = |part: &&str| part.len() > 8 && tests.contains(*part);
            parts.iter().any(is_there)
        });
        assert!(is_expected, "no test makes the trouble {:?}", row.trouble);
    }
}
