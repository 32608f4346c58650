//! The addresses under which browsers and providers reach this process.
//!
//! The public URL may have a path: an ingress in front of the cluster may serve Daypass below one, and
//! may or may not take it away. [`Place::prefix`] is what the router answers below as well.

use url::Url;

use crate::base::ids::ProviderName;

/// Where the ingress listener is on the public network.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Without a query or fragment.
    base: Url,
}

// === impl Place ===

impl Place {
    /// Behind `public_url`.
    pub(super) fn new(public_url: &Url) -> Self {
        let mut base = public_url.clone();
        base.set_query(None);
        base.set_fragment(None);
        Self { base }
    }

    /// The page that `ticket` opens.
    pub(super) fn connect(&self, ticket: &str) -> Url {
        self.at(&["connect", ticket])
    }

    /// Where `provider` sends the browser back to, unless its configuration says otherwise.
    pub(super) fn callback(&self, provider: &ProviderName) -> Url {
        self.at(&["oauth", "callback", provider.as_str()])
    }

    /// Whether browsers come over TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// The path of the public URL, without a slash at its end; empty if there is none.
    pub(super) fn prefix(&self) -> &str {
        self.base.path().trim_end_matches('/')
    }

    fn at(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An http(s) URL always has a path.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Place {
        Place::new(&url.parse().unwrap())
    }

    #[test]
    fn addresses_stand_below_the_public_url() {
        for (public, prefix, connect) in [
            (
                "https://d.example.org",
                "",
                "https://d.example.org/connect/t",
            ),
            (
                "https://d.example.org/",
                "",
                "https://d.example.org/connect/t",
            ),
            (
                "https://d.example.org/a/b/",
                "/a/b",
                "https://d.example.org/a/b/connect/t",
            ),
            (
                "http://127.0.0.1:7421/x?y#z",
                "/x",
                "http://127.0.0.1:7421/x/connect/t",
            ),
        ] {
            let place = place(public);
            assert_eq!(place.prefix(), prefix, "{public}");
            assert_eq!(place.connect("t").as_str(), connect);
        }
        let callback = place("https://d.example.org").callback(&"calcom-eu".parse().unwrap());
        let expected = "https://d.example.org/oauth/callback/calcom-eu";
        assert_eq!(callback.as_str(), expected);
    }

    #[test]
    fn only_https_is_secure() {
        assert!(place("https://d.example.org").is_secure());
        assert!(!place("http://127.0.0.1:7421").is_secure());
    }
}
