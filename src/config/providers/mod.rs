//! `[providers.<name>]`: which providers there are. One file per kind.
//!
//! 1. A provider exists if the file has a table for it, or if the environment or the command line
//!    gives it a `kind`.
//! 2. Without any, the two hosted services exist under the names `calcom` and `calendly`.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    context::{Context, PREFIX},
    problem::Origin,
    section::Section,
};
use crate::{
    base::ids::ProviderName,
    provider::{Kind, calcom as calcom_room, calendly as calendly_room},
    proxy::Policy,
};

mod calcom;
mod calendly;
mod policy;

/// The kinds, by their names in the configuration.
const KINDS: [(&str, Kind); 2] = [
    (Kind::Calcom.as_str(), Kind::Calcom),
    (Kind::Calendly.as_str(), Kind::Calendly),
];

/// What may be called, and how often, by provider.
pub(super) type Policies = BTreeMap<ProviderName, Policy>;

/// How many token calls a minute a provider takes, where that is configured.
pub(super) type TokenCalls = BTreeMap<ProviderName, u32>;

/// All providers, and what else their tables say.
pub(super) struct Read {
    pub(super) providers: Vec<ProviderConfig>,
    pub(super) policies: Policies,
    pub(super) token_calls: TokenCalls,
}

/// What one table says.
type One = (ProviderConfig, Policy, Option<u32>);

/// One configured provider.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub enum ProviderConfig {
    /// Cal.com, hosted or self-hosted.
    Calcom(calcom_room::Config),
    /// Calendly.
    Calendly(calendly_room::Config),
}

// === impl ProviderConfig ===

impl ProviderConfig {
    /// Its name in the configuration.
    pub const fn name(&self) -> &ProviderName {
        match self {
            Self::Calcom(config) => &config.name,
            Self::Calendly(config) => &config.name,
        }
    }

    /// Which service it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Calcom(_) => Kind::Calcom,
            Self::Calendly(_) => Kind::Calendly,
        }
    }
}

/// All providers, by name, and what may be called there; what cannot be read is reported and left out.
pub(super) fn read(context: &Context<'_>) -> Read {
    context.note_section("providers");
    if let Some(document) = context.document
        && let Some(node) = document.root().get("providers")
        && document.table("providers").is_none()
    {
        let message = "expected tables: write `[providers.<name>]` above each provider's keys";
        context.problem(document.origin_of(node), "providers", message);
    }
    let names = names(context);
    if names.is_empty() {
        let usual = KINDS.iter();
        let read = usual.filter_map(|(name, kind)| read_one(context, name, Some(*kind)));
        return apart(read);
    }
    let read = names
        .iter()
        .filter_map(|name| read_one(context, name, None));
    apart(read)
}

fn apart(read: impl Iterator<Item = One>) -> Read {
    let mut apart = Read {
        providers: Vec::new(),
        policies: Policies::new(),
        token_calls: TokenCalls::new(),
    };
    for (provider, policy, token_calls) in read {
        let name = provider.name();
        apart.policies.insert(name.clone(), policy);
        if let Some(calls) = token_calls {
            apart.token_calls.insert(name.clone(), calls);
        }
        apart.providers.push(provider);
    }
    apart
}

/// The names in all layers.
fn names(context: &Context<'_>) -> BTreeSet<String> {
    let table = context
        .document
        .and_then(|document| document.table("providers"));
    let in_file = table.into_iter().flat_map(|table| table.keys());
    let in_file = in_file.map(|name| name.get_ref().clone().into_owned());
    let in_environment = context.environment.names().filter_map(|variable| {
        let name = variable
            .strip_prefix(PREFIX)?
            .strip_prefix("PROVIDERS_")?
            .strip_suffix("_KIND")?;
        Some(name.to_ascii_lowercase().replace('_', "-"))
    });
    let in_flags = context.overrides.keys().filter_map(|key| {
        let name = key.strip_prefix("providers.")?.strip_suffix(".kind")?;
        Some(name.to_owned())
    });
    in_file.chain(in_environment).chain(in_flags).collect()
}

/// Reads the provider `name`, whose kind is `implied` if it is one of the two that always exist.
fn read_one(context: &Context<'_>, name: &str, implied: Option<Kind>) -> Option<One> {
    let path = format!("providers.{name}");
    let table = context
        .document
        .and_then(|document| document.table("providers"));
    let node = table.and_then(|table| table.get(name));
    let parsed = match ProviderName::parse(name) {
        Ok(parsed) => parsed,
        Err(error) => {
            let origin = match (context.document, node) {
                (Some(document), Some(node)) => document.origin_of(node),
                _ => Origin::Unset,
            };
            context.problem(origin, &path, error.to_string());
            return None;
        }
    };
    let section = Section::open(context, path, node).with_fallbacks(match name {
        "calcom" => &calcom::FALLBACKS,
        "calendly" => &calendly::FALLBACKS,
        _ => &[],
    });
    let Some(kind) = read_kind(&section, implied) else {
        // Which keys exist depends on the kind, so nothing more can be said of the others.
        return None;
    };
    let config = match kind {
        Kind::Calcom => calcom::read(&section, parsed).map(ProviderConfig::Calcom),
        Kind::Calendly => calendly::read(&section, parsed).map(ProviderConfig::Calendly),
    };
    let policy = policy::read(&section);
    let token_calls = section.optional("token_calls_per_minute", "number", calls);
    section.finish();
    Some((config?, policy?, token_calls))
}

fn calls(text: &str) -> Result<u32, String> {
    let expected = "expected a whole number, or 0 for no limit";
    text.trim().parse().ok().ok_or_else(|| expected.to_owned())
}

fn read_kind(section: &Section<'_>, implied: Option<Kind>) -> Option<Kind> {
    let kind = section.optional("kind", "word", |text| super::read::one_of(text, &KINDS));
    if section.find("kind").is_none() && implied.is_none() {
        section.problem("kind", "is missing: expected \"calcom\" or \"calendly\"");
    }
    kind.or(implied)
}

/// Whether a secret or its file is given, usable or not.
fn is_given(section: &Section<'_>, key: &str) -> bool {
    section.find(key).is_some() || section.find(&format!("{key}_file")).is_some()
}

/// Reports a secret without the id it belongs to.
fn secret_needs_id(section: &Section<'_>, secret: &str, id: &str) {
    if is_given(section, secret) && section.find(id).is_none() {
        section.problem(secret, format!("is of no use without {id}"));
    }
}
