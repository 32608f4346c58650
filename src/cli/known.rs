//! Providers by name, as the command line takes them: what there is, and what was probably meant.

use super::Error;
use crate::{base::ids::ProviderName, config::Settings};

/// From this similarity on, a name is a misspelling of another.
const CLOSE: f64 = 0.8;

/// Refuses a provider that the configuration does not have.
pub(super) fn provider(name: &ProviderName, settings: &Settings) -> Result<(), Error> {
    if is_provider(name, settings) {
        return Ok(());
    }
    Err(Error::Usage(unknown(name, settings)))
}

/// Whether the configuration has a provider of this name.
pub(super) fn is_provider(name: &ProviderName, settings: &Settings) -> bool {
    settings.providers.iter().any(|known| known.name() == name)
}

/// That there is no provider `name`, which there are, and which was probably meant.
pub(super) fn unknown(name: &ProviderName, settings: &Settings) -> String {
    let names = || settings.providers.iter().map(|known| known.name().as_str());
    let meant = names()
        .map(|known| (strsim::jaro_winkler(name.as_str(), known), known))
        .filter(|(closeness, _)| *closeness >= CLOSE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map_or_else(String::new, |(_, known)| {
            format!("; did you mean `{known}`?")
        });
    let all: Vec<_> = names().collect();
    format!(
        "no provider is called {name}; there are: {}{meant}",
        all.join(", ")
    )
}
