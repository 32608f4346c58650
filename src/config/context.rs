//! What all sections share while one configuration is read: the layers, and what was found.
//!
//! 1. Layers, the later ones win: file, environment, flags. Names that apps already use (such as
//!    `CAL_CLIENT_SECRET`) come after all of them.
//! 2. A key that nobody asked for is a problem in the file and on the command line. In the
//!    environment it is a warning: other programs may have put it there.
//! 3. Kubernetes sets `DAYPASS_SERVICE_HOST`, `DAYPASS_PORT`, `DAYPASS_ADMIN_PORT_7422_TCP` and the
//!    like for services of those names. Those are nobody's mistake and pass in silence.

use std::{cell::RefCell, collections::BTreeMap};

use super::{
    document::Document,
    problem::{Finding, Origin},
    reference::KeyReference,
    secret::WatchedSecrets,
    section::Section,
    source::{Environment, FILE_VARIABLE},
};

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "DAYPASS_";

/// The state of one loading.
pub(super) struct Context<'a> {
    pub(super) document: Option<&'a Document<'a>>,
    pub(super) environment: &'a Environment,
    pub(super) overrides: BTreeMap<&'a str, &'a str>,
    found: RefCell<Found>,
}

/// What one loading has come upon so far.
#[derive(Default)]
struct Found {
    problems: Vec<Finding>,
    warnings: Vec<Finding>,
    keys: Vec<KeyReference>,
    sections: Vec<&'static str>,
    secrets: WatchedSecrets,
}

/// What one loading came to.
pub(super) struct Outcome {
    pub(super) problems: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
    pub(super) keys: Vec<KeyReference>,
    pub(super) secrets: WatchedSecrets,
}

// === impl Context ===

impl<'a> Context<'a> {
    pub(super) fn new(
        document: Option<&'a Document<'a>>,
        environment: &'a Environment,
        overrides: &'a [(String, String)],
    ) -> Self {
        let pairs = overrides
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        Self {
            document,
            environment,
            overrides: pairs.collect(),
            found: RefCell::default(),
        }
    }

    /// Reads the section `name` with `reader`, and refuses what is left over in it.
    pub(super) fn section<T>(
        &self,
        name: &'static str,
        reader: impl FnOnce(&Section<'_>) -> T,
    ) -> T {
        self.note_section(name);
        let node = self.document.and_then(|document| document.root().get(name));
        let section = Section::open(self, name.to_owned(), node);
        let settings = reader(&section);
        section.finish();
        settings
    }

    /// Takes `name` for a section that exists.
    pub(super) fn note_section(&self, name: &'static str) {
        self.found.borrow_mut().sections.push(name);
    }

    pub(super) fn problem(&self, origin: Origin, key: &str, message: impl Into<String>) {
        self.found
            .borrow_mut()
            .problems
            .push(finding(origin, key, message));
    }

    pub(super) fn warning(&self, origin: Origin, key: &str, message: impl Into<String>) {
        self.found
            .borrow_mut()
            .warnings
            .push(finding(origin, key, message));
    }

    pub(super) fn note_key(&self, key: KeyReference) {
        self.found.borrow_mut().keys.push(key);
    }

    pub(super) fn watch(&self, note: impl FnOnce(&mut WatchedSecrets)) {
        note(&mut self.found.borrow_mut().secrets);
    }

    /// Reports what nobody asked for, and closes the loading.
    pub(super) fn finish(self) -> Outcome {
        self.unknown_sections();
        self.unknown_overrides();
        self.unknown_variables();
        let mut found = self.found.into_inner();
        found.problems.sort_by_key(|problem| match &problem.origin {
            Origin::File { line, .. } => *line,
            _ => usize::MAX,
        });
        Outcome {
            problems: found.problems,
            warnings: found.warnings,
            keys: found.keys,
            secrets: found.secrets,
        }
    }

    fn unknown_sections(&self) {
        let Some(document) = self.document else {
            return;
        };
        let known = self.found.borrow().sections.clone();
        for (name, _) in document.root() {
            let text: &str = name.get_ref();
            if !known.contains(&text) {
                let hint = did_you_mean(text, known.iter().copied());
                let message = format!("there is no such section{hint}");
                self.problem(document.origin_of(name), text, message);
            }
        }
    }

    fn unknown_overrides(&self) {
        let known: Vec<String> = self.known(KeyReference::path);
        for key in self.overrides.keys() {
            if !known.iter().any(|path| path == key) {
                let hint = did_you_mean(key, known.iter().map(String::as_str));
                self.problem(Origin::Flag, key, format!("there is no such key{hint}"));
            }
        }
    }

    fn unknown_variables(&self) {
        let known: Vec<String> = self.known(|key| key.variable.clone());
        for name in self.environment.names() {
            let ours = name.starts_with(PREFIX) && name != FILE_VARIABLE;
            if !ours
                || self.is_kubernetes_link(name)
                || known.iter().any(|variable| variable == name)
            {
                continue;
            }
            let hint = did_you_mean(name, known.iter().map(String::as_str));
            let variable = name.to_owned();
            let message = format!("no setting has this name, so it changes nothing{hint}");
            self.warning(Origin::Environment { variable }, "", message);
        }
    }

    /// Whether Kubernetes sets `name` for a service whose name begins with `daypass`. A bare
    /// `…_PORT` is one only with the address that Kubernetes puts there: others may have meant a
    /// setting.
    fn is_kubernetes_link(&self, name: &str) -> bool {
        let protocols = ["TCP", "UDP", "SCTP"];
        let address = || {
            self.environment
                .get(name)
                .is_some_and(|value| value.contains("://"))
        };
        name.ends_with("_SERVICE_HOST")
            || name.ends_with("_SERVICE_PORT")
            || name.contains("_SERVICE_PORT_")
            || (name.ends_with("_PORT") && address())
            || name
                .split_once("_PORT_")
                .is_some_and(|(_, rest)| rest.split('_').any(|part| protocols.contains(&part)))
    }

    fn known<T>(&self, of: impl Fn(&KeyReference) -> T) -> Vec<T> {
        self.found.borrow().keys.iter().map(of).collect()
    }
}

fn finding(origin: Origin, key: &str, message: impl Into<String>) -> Finding {
    Finding {
        origin,
        key: key.to_owned(),
        message: message.into(),
    }
}

/// `; did you mean …?` if one of `known` is close to `text`, else nothing.
pub(super) fn did_you_mean<'k>(text: &str, known: impl Iterator<Item = &'k str>) -> String {
    /// Two letters in five may differ: slips of the finger, and names cut short.
    const CLOSE: f64 = 0.6;
    known
        .map(|name| (strsim::normalized_damerau_levenshtein(text, name), name))
        .filter(|(closeness, _)| *closeness >= CLOSE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}
