//! The configuration: one [`Settings`] with every room's own `Config`, or every problem at once.
//!
//! 1. Layers, the later ones win: the TOML file, the environment (`DAYPASS_<SECTION>_<KEY>`), flags.
//! 2. Every problem is reported, each with its line or variable, its key, and what was expected
//!    there. A value is never repeated: it may be a secret.
//! 3. Unknown keys are problems: a misspelt `min_validty` would otherwise run on the default.
//! 4. Each section is one file that reads its keys, says why each default is what it is, and checks
//!    what its keys mean together. [`Section`](section::Section) keeps the books.
//! 5. Rooms know nothing of files or variables: they are handed their `Config`.
//!
//! Paths in the configuration are relative to the working directory.

use std::path::{Path, PathBuf};

use crate::{
    admin as admin_room, connect, meeting, proxy, store as store_room, telemetry as log, token,
    webhook,
};

mod admin;
mod context;
mod document;
#[cfg(test)]
mod documents;
mod duration;
mod encryption;
mod ingress;
mod key_file;
mod listeners;
mod meetings;
mod outbound;
mod problem;
mod providers;
mod read;
mod reference;
mod refresh;
mod secret;
mod section;
mod size;
mod source;
mod store;
mod telemetry;
#[cfg(test)]
mod tests;
mod tls;
mod webhooks;

use context::Context;
use document::Document;
pub use duration::parse as parse_duration;
pub use encryption::{Encryption, EncryptionKey};
pub use key_file::{KeyFile, KeyFileError, ensure_key_file, key_file_beside, read_key_file};
pub use problem::{Finding, Origin, Problems};
pub use providers::ProviderConfig;
pub use reference::KeyReference;
pub use secret::{Reload, WatchedSecrets};
pub use source::{Environment, FILE_VARIABLE};
pub use store::parse as parse_store;

/// What the command line has to say about the configuration.
#[derive(Clone, Default)]
#[expect(missing_debug_implementations, reason = "overrides may hold secrets")]
pub struct Request {
    /// The file it names; without one, the usual places are tried.
    pub file: Option<PathBuf>,
    /// Keys it sets, as dotted path and text: `("outbound.listen", "127.0.0.1:0")`.
    pub overrides: Vec<(String, String)>,
}

/// A configuration without a problem.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The secrets that came from files; [`WatchedSecrets::watch`] keeps them true.
    pub secrets: WatchedSecrets,
    /// What looks wrong, but need not be.
    pub warnings: Vec<Finding>,
    /// Which file was read, if any.
    pub file: Option<PathBuf>,
    /// Every key that could have been set.
    pub keys: Vec<KeyReference>,
}

/// Every room's settings.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Settings {
    /// `[outbound]`.
    pub outbound: proxy::Config,
    /// `[ingress]`.
    pub ingress: connect::Config,
    /// `[admin]`.
    pub admin: admin_room::Config,
    /// `[store]`.
    pub store: store_room::Config,
    /// `[encryption]`.
    pub encryption: Encryption,
    /// `[refresh]`.
    pub refresh: token::Config,
    /// `[providers.*]`, by name; never empty.
    pub providers: Vec<ProviderConfig>,
    /// `[app]` and `[webhooks]`.
    pub webhooks: webhook::Config,
    /// `[meetings]`.
    pub meetings: meeting::Config,
    /// `[telemetry]`.
    pub telemetry: log::Config,
    /// `tls.ca_file`: trusted in addition to the platform's roots.
    pub tls_ca_file: Option<PathBuf>,
}

/// Finds, reads and checks the configuration.
pub fn load(request: &Request, environment: &Environment) -> Result<Loaded, Problems> {
    let source = match source::find_file(request.file.as_deref(), environment) {
        Ok(source) => source,
        Err(problem) => return Err(only(vec![problem])),
    };
    let Some(source) = source else {
        return assemble(None, request, environment);
    };
    load_text(&source.path, &source.text, request, environment)
}

fn load_text(
    path: &Path,
    text: &str,
    request: &Request,
    environment: &Environment,
) -> Result<Loaded, Problems> {
    let document = Document::parse(path, text).map_err(only)?;
    let mut loaded = assemble(Some(&document), request, environment)?;
    loaded.file = Some(path.to_owned());
    Ok(loaded)
}

fn assemble(
    document: Option<&Document<'_>>,
    request: &Request,
    environment: &Environment,
) -> Result<Loaded, Problems> {
    let context = Context::new(document, environment, &request.overrides);
    let settings = read_all(&context);
    let outcome = context.finish();
    match settings {
        Some(settings) if outcome.problems.is_empty() => Ok(Loaded {
            settings,
            secrets: outcome.secrets,
            warnings: outcome.warnings,
            file: None,
            keys: outcome.keys,
        }),
        _ => Err(Problems {
            problems: outcome.problems,
            warnings: outcome.warnings,
        }),
    }
}

/// What listens; each where no other does.
struct Doors {
    outbound: Option<proxy::Config>,
    ingress: Option<connect::Config>,
    admin: Option<admin_room::Config>,
}

impl Doors {
    fn read(context: &Context<'_>) -> Self {
        let outbound = context.section("outbound", outbound::read);
        let listen = outbound.as_ref().map(|config| config.listen.clone());
        let mut taken = vec![("outbound.listen", listen)];
        let ingress = context.section("ingress", |section| {
            let config = ingress::read(section)?;
            listeners::check(section, &config.listen, &taken);
            Some(config)
        });
        let listen = ingress.as_ref().map(|config| config.listen.clone());
        taken.push(("ingress.listen", listen));
        let admin = context.section("admin", |section| {
            let config = admin::read(section)?;
            listeners::check(section, &config.listen, &taken);
            Some(config)
        });
        Self {
            outbound,
            ingress,
            admin,
        }
    }
}

/// Reads every section before it gives up on any.
fn read_all(context: &Context<'_>) -> Option<Settings> {
    let Doors {
        mut outbound,
        ingress,
        admin,
    } = Doors::read(context);
    let store = context.section("store", store::read);
    let backend = store.as_ref().map(|config| &config.backend);
    let encryption = context.section("encryption", |section| {
        let read = encryption::read(section);
        encryption::require(section, read.as_ref(), backend);
        read
    });
    let mut refresh = context.section("refresh", refresh::read);
    let providers::Read {
        providers,
        policies,
        token_calls,
    } = providers::read(context);
    if let Some(refresh) = &mut refresh {
        refresh.token_calls = token_calls;
        if let Some(outbound) = &outbound {
            // Three quarters are left to requests that need not wait.
            refresh.queue_places = (outbound.max_in_flight / 4).max(1);
        }
    }
    if let Some(outbound) = &mut outbound {
        outbound::restrict(context, outbound, policies);
    }
    let app = context.section("app", webhooks::read_app);
    let webhooks = context.section("webhooks", |section| webhooks::read(section, app));
    let meetings = context.section("meetings", meetings::read);
    let telemetry = context.section("telemetry", telemetry::read);
    if let (Some(outbound), Some(telemetry)) = (&mut outbound, &telemetry) {
        outbound.propagate_trace_context = telemetry.traces.propagate;
    }
    let tls_ca_file = context.section("tls", tls::read);
    Some(Settings {
        outbound: outbound?,
        ingress: ingress?,
        admin: admin?,
        store: store?,
        encryption: encryption?,
        refresh: refresh?,
        providers,
        webhooks: webhooks?,
        meetings: meetings?,
        telemetry: telemetry?,
        tls_ca_file,
    })
}

const fn only(problems: Vec<Finding>) -> Problems {
    Problems {
        problems,
        warnings: Vec::new(),
    }
}
