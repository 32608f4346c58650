//! That docs/operations.md says what the code says.

use std::{fs, path::Path};

/// All source text, without line breaks within texts.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension() == Some("rs".as_ref()) {
            let source = fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
            text.push_str(&lines.join("\n").replace("\\\n", ""));
        }
    }
}

#[test]
fn every_message_of_the_table_is_one_that_the_code_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    let document = fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let (_, table) = document.split_once("| message has |").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let mut checked = 0;
    for row in rows {
        let messages = row.split('|').nth(1).unwrap();
        for message in messages.split('`').skip(1).step_by(2) {
            assert!(code.contains(message), "nobody says {message:?}: {row}");
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked}");
}
