//! What the documents tell of the code is so: the tests that `docs/testing.md` names, the excerpts of
//! examples, the words that an app reads.
//!
//! Commands, options, settings, variables and metrics that a page names exist.
//!
//! * `<!-- from: FILE -->`: the fenced block below is part of FILE, line for line.
//! * `<!-- table: NAME -->`: the table below lists what the code has, no more and no less.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that meets the unexpected must fail loudly"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
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

#[test]
fn every_claim_of_the_threat_model_is_held_by_tests_that_exist() {
    let (page, sources) = (read("docs/threat-model.md"), sources());
    let (mut claims, mut missing) = (0, Vec::new());
    for part in page.split("<!-- table: claims -->").skip(1) {
        let rows = part.trim_start().lines();
        for row in rows.take_while(|line| !line.is_empty()).skip(2) {
            let (claim, tests) = row.trim_matches('|').rsplit_once('|').unwrap();
            let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
            assert!(!named.is_empty(), "nothing holds that nobody can{claim}");
            let gone = named
                .iter()
                .filter(|test| !sources.contains(&format!("fn {test}(")));
            missing.extend(gone.map(|test| format!("{claim}: {test}")));
            claims += 1;
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    assert!(claims > 30, "{claims}");
}

#[test]
fn commands_and_options_that_pages_name_exist() {
    let mut helps = BTreeMap::new();
    let (mut unknown, mut checked) = (Vec::new(), 0);
    for page in pages() {
        for words in commands(&read(&page)) {
            checked += 1;
            if let Some(word) = unknown_in(&words, &mut helps) {
                unknown.push(format!("{page}: {word} of daypass {}", words.join(" ")));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
    assert!(checked > 80, "{checked}");
}

#[test]
fn settings_and_variables_that_pages_name_exist() {
    let reference = read("docs/configuration.md");
    let (keys, variables) = settings(&reference);
    let sections: BTreeSet<_> = keys
        .iter()
        .filter_map(|key| key.split('.').next())
        .collect();
    // Events and actions of the audit have names that look like settings.
    let mut events = words(&table(&read("docs/webhooks.md"), "own events"), 0);
    events.extend(literals("src/admin/audit.rs"));
    let elsewhere = sources() + &read("test") + &read("Dockerfile");
    let (mut unknown, mut checked) = (Vec::new(), 0);
    for page in pages() {
        let text = read(&page);
        for span in spans(&text) {
            let name = span.split(" = ").next().unwrap();
            let is_key = name.contains('.') && is_slug(&name.replace('_', "-"), '-');
            let section = name.split('.').next().unwrap();
            if is_key && sections.contains(section) && !events.contains(name) {
                checked += 1;
                let named = name.replace("providers.calendly.", "providers.calcom.");
                let known = keys.contains(name) || keys.contains(&named);
                let is_table = keys.iter().any(|key| key.starts_with(&format!("{name}.")));
                if !known && !is_table {
                    unknown.push(format!("{page}: {name}"));
                }
            }
        }
        for name in named(&text, "DAYPASS_", |letter| {
            letter.is_ascii_uppercase() || letter == '_'
        }) {
            checked += 1;
            // What goes on with a placeholder names no variable.
            let is_whole = !name.ends_with('_');
            if is_whole && !variables.contains(&name) && !elsewhere.contains(&name) {
                unknown.push(format!("{page}: {name}"));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
    assert!(checked > 100, "{checked}");
}

#[test]
fn metrics_that_pages_name_exist() {
    let reference = read("docs/metrics.md");
    let rows = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `daypass_"));
    let known: BTreeSet<_> = rows
        .map(|row| format!("daypass_{}", row.split('`').next().unwrap()))
        .collect();
    let mut unknown = Vec::new();
    for page in pages() {
        for name in named(&read(&page), "daypass_", |letter| {
            letter.is_ascii_lowercase() || letter == '_'
        }) {
            let parts = ["_bucket", "_sum", "_count"];
            let whole = parts.iter().find_map(|part| name.strip_suffix(part));
            let known = known.contains(whole.unwrap_or(&name)) || known.contains(&name);
            if !known && !name.ends_with('_') {
                unknown.push(format!("{page}: {name}"));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

// --- names in pages ---

/// Every page of the documentation, but for what was said of older versions.
fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if Path::new(&name)
            .extension()
            .is_some_and(|kind| kind == "md")
        {
            pages.push(format!("docs/{name}"));
        }
    }
    pages
}

/// The text between single backticks, outside of fenced blocks.
fn spans(text: &str) -> Vec<String> {
    let prose = text.split("```").step_by(2).collect::<String>();
    let spans = prose.split('`').skip(1).step_by(2);
    spans.map(|span| span.replace('\n', " ")).collect()
}

/// What follows `daypass` in commands: in spans, and in the lines of shell blocks.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = spans(text);
    for block in text.split("```").skip(1).step_by(2) {
        if let Some(lines) = block.strip_prefix("sh\n") {
            let lines = lines.replace("\\\n", " ");
            let parts = lines.split(['\n', '|', ';', '(', ')']);
            let parts = parts.flat_map(|part| part.split("&&"));
            commands.extend(parts.map(|part| part.trim().to_owned()));
        }
    }
    let words = |command: String| {
        let rest = command
            .strip_prefix("./target/release/")
            .unwrap_or(&command)
            .strip_prefix("daypass ")?;
        let comment = rest.split(" #").next().unwrap();
        let words = comment.split_whitespace();
        let words = words.take_while(|word| !word.starts_with(['<', '>', '…']));
        Some(words.map(ToOwned::to_owned).collect::<Vec<_>>())
    };
    commands.into_iter().filter_map(words).collect()
}

/// The first word of a command that the binary does not know.
fn unknown_in<'w>(words: &'w [String], helps: &mut BTreeMap<String, String>) -> Option<&'w str> {
    let mut path: Vec<&str> = Vec::new();
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        let help = helps.entry(path.join(" ")).or_insert_with(|| {
            let asked = Command::new(env!("CARGO_BIN_EXE_daypass"))
                .args(&path)
                .arg("--help")
                .output();
            String::from_utf8(asked.unwrap().stdout).unwrap()
        });
        if let Some(option) = word.strip_prefix("--") {
            let name = option.split('=').next().unwrap();
            let known =
                help.split(|letter: char| letter.is_whitespace() || ",=[]".contains(letter));
            if !known.clone().any(|known| known == format!("--{name}")) && name != "help" {
                return Some(word);
            }
            // Its value, which is no command.
            if help.contains(&format!("--{name} <")) && !option.contains('=') {
                words.next();
            }
        } else if let Some((_, below)) = help.split_once("\nCommands:\n") {
            let below = below.split("\n\n").next().unwrap();
            let known = below
                .lines()
                .any(|line| line.split_whitespace().next() == Some(word));
            if !known {
                return Some(word);
            }
            path.push(word);
        }
    }
    None
}

/// The keys of the reference by their paths, and their variables.
fn settings(reference: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut keys, mut variables, mut section) = (BTreeSet::new(), BTreeSet::new(), String::new());
    for line in reference.lines() {
        let titled = line
            .strip_prefix("## `[")
            .and_then(|line| line.split(']').next());
        let marked = line
            .strip_prefix("<!-- section: ")
            .and_then(|line| line.strip_suffix(" -->"));
        if let Some(name) = titled.or(marked) {
            name.clone_into(&mut section);
        } else if line.starts_with("| `") {
            let cells: Vec<_> = line
                .split(" | ")
                .map(|cell| cell.trim_matches(['|', ' ', '`']))
                .collect();
            keys.insert(format!("{section}.{}", cells[0]));
            variables.extend(cells.get(3).map(|variable| (*variable).to_owned()));
        }
    }
    (keys, variables)
}

/// The names in `text` that begin with `prefix`.
fn named(text: &str, prefix: &str, goes_on: impl Fn(char) -> bool) -> BTreeSet<String> {
    let found = text.match_indices(prefix).filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    });
    let names = found.map(|(at, _)| {
        let rest = text[at + prefix.len()..].chars();
        prefix.to_owned()
            + &rest
                .take_while(|letter| goes_on(*letter))
                .collect::<String>()
    });
    names.collect()
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
