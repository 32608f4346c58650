//! `[ingress]`: where providers and browsers call.

use url::Url;

use super::{read::web_url, section::Section};
use crate::{connect::Config, provider::secure_url};

pub(super) fn read(section: &Section<'_>) -> Option<Config> {
    // Loopback until told otherwise: what stands on the edge is asked for.
    let listen = section.listen("listen", "127.0.0.1:7421");
    let public_url = section.optional_url("public_url");
    let allowed_return_origins = section.list("allowed_return_origins", origin);
    // Off: it hands tokens to browsers.
    let atoms_origins = section.list("atoms_origins", origin);
    // Both providers' webhooks stay far below this.
    let max_body_bytes = section.size("max_body_bytes", "1MiB");
    if let Some(url) = &public_url
        && secure_url(url.as_str()).is_err()
    {
        section.warning(
            "public_url",
            "should be https and have no user name, query or fragment: providers refuse other \
             callbacks in production",
        );
    }
    Some(Config {
        listen: listen?,
        public_url,
        allowed_return_origins: allowed_return_origins?,
        atoms_origins: atoms_origins?,
        max_body_bytes: max_body_bytes?,
    })
}

fn origin(text: &str) -> Result<Url, String> {
    let url = web_url(text)?;
    let bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if bare {
        Ok(url)
    } else {
        Err("expected origins, without a path: \"https://app.example.org\"".to_owned())
    }
}
