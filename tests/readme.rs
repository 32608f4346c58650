//! What the documents say is so: their examples run, their links lead somewhere, their table of errors
//! is the code's.
//!
//! Markers, which a reader does not see, say what to do with the fenced block below them:
//!
//! * `<!-- file: NAME -->`: the file NAME. One of the repository must have this very content; any other
//!   is made in the directory where the commands run.
//! * `<!-- run -->`: run it against a demo; it must succeed. The addresses are the demo's.
//! * `<!-- shows -->`: what the command above it writes. `…` stands for anything, and white space does
//!   not count.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "a test that meets the unexpected must fail loudly"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;

/// The addresses in the documents, in the order in which the demo tells its own.
const ADDRESSES: [&str; 5] = [
    "127.0.0.1:7420",
    "127.0.0.1:7430",
    "127.0.0.1:7431",
    "127.0.0.1:7421",
    "127.0.0.1:7422",
];

const DAYPASS: &str = env!("CARGO_BIN_EXE_daypass");

#[test]
fn the_examples_of_the_readme_do_what_it_shows() {
    run_examples("README.md", 9);
}

#[test]
fn the_examples_of_the_sandbox_page_do_what_it_shows() {
    run_examples("docs/sandbox.md", 6);
}

#[test]
fn the_examples_of_the_page_on_connecting_do_what_it_shows() {
    run_examples("docs/connecting.md", 4);
}

#[test]
fn the_examples_of_the_page_on_webhooks_do_what_it_shows() {
    run_examples("docs/webhooks.md", 1);
}

#[test]
fn the_table_of_errors_has_every_error_of_the_proxy_and_no_other() {
    let readme = read("README.md");
    let (_, table) = readme.split_once("<!-- table: errors -->").unwrap();
    let mut told = BTreeMap::new();
    let rows = table
        .trim_start()
        .lines()
        .take_while(|line| !line.is_empty());
    for row in rows.skip(2) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let slug = cells[2].trim_matches('`').to_owned();
        assert!(cells[3].len() > 10 && cells[4].len() > 3, "{row}");
        assert_eq!(told.insert(slug, cells[1].to_owned()), None, "{row}");
    }
    assert_eq!(told, errors_of_the_code());
}

#[test]
fn every_link_leads_to_a_file_or_a_heading() {
    let mut dead = Vec::new();
    for document in documents() {
        let text = read(&document);
        for target in links(&text) {
            if !leads_somewhere(&document, &text, &target) {
                dead.push(format!("{document}: {target}"));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn every_page_is_led_to() {
    let documents = documents();
    let mut led_to = BTreeSet::from(["README.md".to_owned()]);
    let mut unread = vec!["README.md".to_owned()];
    while let Some(document) = unread.pop() {
        for target in links(&read(&document)) {
            let path = target.split('#').next().unwrap();
            let file = root().join(&document).parent().unwrap().join(path);
            let Ok(mut file) = file.canonicalize() else {
                continue;
            };
            if file.is_dir() {
                file.push("README.md");
            }
            let inside = file
                .strip_prefix(root())
                .map(|path| path.display().to_string());
            let inside = inside.unwrap_or_default();
            if documents.contains(&inside) && led_to.insert(inside.clone()) {
                unread.push(inside);
            }
        }
    }
    let lost: Vec<_> = documents
        .iter()
        .filter(|page| !led_to.contains(*page))
        .collect();
    assert!(lost.is_empty(), "nothing leads from the README to {lost:?}");
}

#[test]
fn the_demo_tells_the_addresses_that_the_documents_name() {
    let help = Command::new(DAYPASS).args(["demo", "--help"]).output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    for default in [
        "127.0.0.1:7420",
        "127.0.0.1:7421",
        "127.0.0.1:7422",
        "7430",
        "7431",
    ] {
        assert!(help.contains(&format!("[default: {default}")), "{help}");
    }
}

// --- examples ---

/// Plays a document; it must have at least `commands` to run.
fn run_examples(document: &str, commands: usize) {
    let blocks = blocks(&read(document));
    let demo = Demo::start();
    let place = Place::new(&demo);
    let mut ran = 0;
    let mut output = None;
    for block in &blocks {
        match &block.role {
            Role::File(name) => place.put(name, &block.text),
            Role::Run => {
                ran += 1;
                output = place.run(&block.text);
            }
            Role::Shows => {
                if let Some(output) = output.take() {
                    let output = demo.as_documented(&output);
                    assert!(
                        is_like(&output, &block.text),
                        "{document} shows\n{}\nbut it is\n{output}",
                        block.text
                    );
                }
            }
        }
    }
    assert!(ran >= commands, "{document} has {ran} commands to run");
}

/// A marked block.
struct Block {
    role: Role,
    text: String,
}

enum Role {
    File(String),
    Run,
    Shows,
}

fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let marker = line
            .strip_prefix("<!-- ")
            .and_then(|line| line.strip_suffix(" -->"));
        let role = match marker {
            Some("run") => Role::Run,
            Some("shows") => Role::Shows,
            Some(marker) if marker.starts_with("file: ") => Role::File(marker[6..].to_owned()),
            _ => continue,
        };
        let fence = lines.next().unwrap_or_default();
        assert!(fence.starts_with("```"), "no block follows {line}");
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(Block {
            role,
            text: text.join("\n") + "\n",
        });
    }
    blocks
}

/// Whether `actual` is what was `shown`; `…` is anything, white space is nothing.
fn is_like(actual: &str, shown: &str) -> bool {
    let dense = |text: &str| -> String { text.split_whitespace().collect() };
    let (actual, shown) = (dense(actual), dense(shown));
    let parts: Vec<&str> = shown.split('…').collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    let Some(mut rest) = actual.strip_prefix(first) else {
        return false;
    };
    for part in &parts[1..] {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty() || (parts.len() > 1 && actual.ends_with(last))
}

/// Where the commands run.
struct Place<'a> {
    demo: &'a Demo,
    dir: TempDir,
}

impl<'a> Place<'a> {
    fn new(demo: &'a Demo) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { demo, dir }
    }

    fn put(&self, name: &str, text: &str) {
        if root().join(name).exists() {
            assert_eq!(text, read(name), "{name} is not what the document shows");
        }
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.demo.as_it_is(text)).unwrap();
    }

    /// What `command` writes; `None` if this machine lacks what it needs, which no CI machine may.
    fn run(&self, command: &str) -> Option<String> {
        if let Some(missing) = self.missing(command) {
            assert!(
                inherited("CI").is_none(),
                "{missing} is missing: run ./test"
            );
            return None;
        }
        let output = self.shell(&self.demo.as_it_is(command));
        let (out, err) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{command}failed: {out}{err}");
        Some(out)
    }

    fn missing(&self, command: &str) -> Option<&'static str> {
        let works = |probe: &str| self.shell(probe).status.success();
        match command.split_whitespace().next() {
            Some("node") if !works("node -e 'fetch'") => Some("Node.js 18 or newer"),
            Some("python3") if !works("python3 -c 'import requests'") => Some("Python's requests"),
            _ => None,
        }
    }

    /// Runs `command` with `daypass` on the path, and without this machine's settings.
    fn shell(&self, command: &str) -> Output {
        let mut path = OsString::from(Path::new(DAYPASS).parent().unwrap());
        if let Some(rest) = inherited("PATH") {
            path.push(":");
            path.push(rest);
        }
        Command::new("sh")
            .args(["-eu", "-c", command])
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", path)
            .env("HOME", inherited("HOME").unwrap_or_else(|| "/".into()))
            .output()
            .unwrap()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test's own surroundings, not settings of the product"
)]
fn inherited(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// A running `daypass demo` on free ports.
struct Demo {
    process: Child,
    addresses: Vec<String>,
}

impl Demo {
    fn start() -> Self {
        let free = "--listen 127.0.0.1:0 --ingress 127.0.0.1:0 --admin 127.0.0.1:0 --calcom-port 0 --calendly-port 0";
        let mut process = Command::new(DAYPASS)
            .arg("demo")
            .args(free.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut addresses: Vec<String> = Vec::new();
        let mut line = String::new();
        while addresses.len() < ADDRESSES.len() {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0, "the demo ended");
            for (at, scheme) in line.match_indices("http://") {
                let address = line[at + scheme.len()..].split([' ', '/', '\n']).next();
                addresses.extend(address.map(str::to_owned));
            }
        }
        addresses.truncate(ADDRESSES.len());
        // What it tells beyond that is not read; the pipe has room for it, and stays open.
        process.stdout = Some(out.into_inner());
        Self { process, addresses }
    }

    /// `text` with the addresses of this demo.
    fn as_it_is(&self, text: &str) -> String {
        let pairs = ADDRESSES.iter().zip(&self.addresses);
        pairs.fold(text.to_owned(), |text, (told, real)| {
            text.replace(told, real)
        })
    }

    /// `text` with the addresses of the documents.
    fn as_documented(&self, text: &str) -> String {
        let pairs = ADDRESSES.iter().zip(&self.addresses);
        pairs.fold(text.to_owned(), |text, (told, real)| {
            text.replace(real, told)
        })
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _reaped = self.process.wait();
    }
}

// --- the table of errors ---

/// Every slug in the proxy's own table, with its status: a slug is a literal of small letters and
/// hyphens that is no member's name, and its status is the constant or the helper that precedes it.
fn errors_of_the_code() -> BTreeMap<String, String> {
    let code = read("src/proxy/errors.rs");
    let code = code.split("#[cfg(test)]").next().unwrap();
    let mut errors = BTreeMap::new();
    for (at, literal) in literals(code) {
        let before = &code[..at - 1];
        let is_slug = literal
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if is_slug && !literal.is_empty() && !before.ends_with("with_member(") {
            errors.insert(literal.to_owned(), status_before(before).to_owned());
        }
    }
    errors
}

fn literals(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for line in code.split_inclusive('\n') {
        if line.trim_start().starts_with("//") {
            continue;
        }
        let start = line.as_ptr() as usize - code.as_ptr() as usize;
        let mut parts = line.split('"');
        let mut at = start + parts.next().map_or(0, str::len) + 1;
        while let Some(literal) = parts.next() {
            found.push((at, literal));
            at += literal.len() + 2 + parts.next().map_or(0, str::len);
        }
    }
    found
}

fn status_before(code: &str) -> &'static str {
    let names = [
        ("StatusCode::BAD_REQUEST,", "400"),
        ("caller(", "400"),
        ("StatusCode::FORBIDDEN,", "403"),
        ("StatusCode::NOT_FOUND,", "404"),
        ("StatusCode::METHOD_NOT_ALLOWED,", "405"),
        ("StatusCode::MISDIRECTED_REQUEST,", "421"),
        ("StatusCode::FAILED_DEPENDENCY,", "424"),
        ("StatusCode::TOO_MANY_REQUESTS,", "429"),
        ("StatusCode::BAD_GATEWAY,", "502"),
        ("StatusCode::SERVICE_UNAVAILABLE,", "503"),
        ("unavailable(", "503"),
        ("StatusCode::GATEWAY_TIMEOUT,", "504"),
    ];
    let nearest = names.iter().max_by_key(|(name, _)| code.rfind(name));
    nearest.unwrap().1
}

// --- links ---

/// The targets of Markdown links outside of code.
fn links(text: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    let after = prose.split("](").skip(1);
    after
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

fn leads_somewhere(document: &str, text: &str, target: &str) -> bool {
    if target.starts_with("https://") {
        return true;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let base = root().join(document);
    let file = base.parent().unwrap().join(path);
    let text = match path {
        "" => text.to_owned(),
        _ if heading.is_empty() => return file.exists(),
        _ => fs::read_to_string(file).unwrap_or_default(),
    };
    text.lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| anchor(line) == heading)
}

/// What a git host makes of a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

/// Every page of the repository, but for those that packages bring along.
fn documents() -> Vec<String> {
    let mut documents = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    let mut folders: Vec<_> = ["benches", "docs", "helm"]
        .map(|name| root().join(name))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            let foreign = ["node_modules", "venv"].contains(&&*name);
            if path.is_dir() && !foreign {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let inside = path.strip_prefix(root()).unwrap();
                documents.push(inside.display().to_string());
            }
        }
    }
    assert!(documents.len() > 20, "{documents:?}");
    documents
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
