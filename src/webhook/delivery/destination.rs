//! Where an event of a user goes: `app.webhook_url`, which may be a template.
//!
//! | placeholder | stands for | may stand in |
//! |---|---|---|
//! | `{shard}` | the user's shard, `0` to `app.shards` - 1 | host, path, query |
//! | `{provider}` | the provider's name | host, path, query |
//! | `{user}` | the user's id, percent-encoded | path, query |
//!
//! A user's shard is the first eight bytes of SHA-256 of its id, as a big-endian number, modulo
//! `app.shards`: an app in any language can say the same. User ids never reach the host: what a user is
//! called must not decide who is called.

use std::fmt;

use sha2::{Digest, Sha256};
use thiserror::Error;
use url::{Url, form_urlencoded};

use crate::base::ids::{ProviderName, UserId};

/// A checked template.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    template: String,
    shards: u64,
}

/// Why a template is none. The operator must act.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidDestination {
    /// It is no address.
    #[error("expected an address such as \"http://127.0.0.1:3000/webhooks\"")]
    NotAUrl,
    /// It is neither http nor https.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// It has a user name or a password.
    #[error("must have no user name or password: the signature shows who delivers")]
    Credentials,
    /// It has a fragment.
    #[error("must have no #fragment, which is never sent")]
    Fragment,
    /// It has braces around something that is no placeholder.
    #[error("{name:?} is no placeholder: there are {{shard}}, {{provider}} and {{user}}")]
    Placeholder {
        /// What is in braces.
        name: String,
    },
    /// The user is named in the host.
    #[error("{{user}} may stand in path and query only: use {{shard}} in the host")]
    UserInHost,
}

// === impl Destination ===

impl Destination {
    /// Checks a template; `shards` is how many shards the app has, at least one.
    pub fn parse(template: &str, shards: u64) -> Result<Self, InvalidDestination> {
        let mut rest = template;
        while let Some((_, after)) = rest.split_once('{') {
            let closed = after.split_once('}');
            let (name, after) = closed.unwrap_or((after, ""));
            if closed.is_none() || !["shard", "provider", "user"].contains(&name) {
                return Err(InvalidDestination::Placeholder {
                    name: name.to_owned(),
                });
            }
            rest = after;
        }
        let destination = Self {
            template: template.to_owned(),
            shards: shards.max(1),
        };
        let example = destination
            .fill("0", "calendly", "u")
            .ok_or(InvalidDestination::NotAUrl)?;
        if !matches!(example.scheme(), "http" | "https") {
            return Err(InvalidDestination::Scheme);
        }
        if !example.username().is_empty() || example.password().is_some() {
            return Err(InvalidDestination::Credentials);
        }
        if example.fragment().is_some() {
            return Err(InvalidDestination::Fragment);
        }
        // Two users whose hosts differ were told apart by the host.
        let other = destination.fill("0", "calendly", "w");
        if other.is_none_or(|other| other.origin() != example.origin()) {
            return Err(InvalidDestination::UserInHost);
        }
        Ok(destination)
    }

    /// Where an event of `provider` for `user` goes.
    pub fn of(&self, provider: &ProviderName, user: &UserId) -> Option<Url> {
        let shard = self.shard(user).to_string();
        self.fill(&shard, provider.as_str(), user.as_str())
    }

    /// Whether all events go to one host, whoever they are for.
    pub fn is_single(&self) -> bool {
        let origin = |shard, provider| self.fill(shard, provider, "u").map(|url| url.origin());
        origin("0", "calcom") == origin("1", "calcom") && origin("0", "a") == origin("0", "b")
    }

    fn shard(&self, user: &UserId) -> u64 {
        let digest = Sha256::digest(user.as_str());
        let head = digest.first_chunk::<8>().copied().unwrap_or_default();
        u64::from_be_bytes(head)
            .checked_rem(self.shards)
            .unwrap_or(0)
    }

    fn fill(&self, shard: &str, provider: &str, user: &str) -> Option<Url> {
        // Climbing out of the path is no way to be addressed, encoded or not (WHATWG URL, "double-dot").
        if matches!(user, "." | "..") && self.template.contains("{user}") {
            return None;
        }
        // As in a form, which differs from a path in spaces only; a user id has none.
        let user: String = form_urlencoded::byte_serialize(user.as_bytes()).collect();
        let filled = self
            .template
            .replace("{shard}", shard)
            .replace("{provider}", provider)
            .replace("{user}", &user);
        Url::parse(&filled).ok().filter(Url::has_host)
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.template)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.template)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(template: &str, shards: u64, user: &str) -> String {
        let provider = ProviderName::parse("calendly").unwrap();
        let user = UserId::parse(user).unwrap();
        let destination = Destination::parse(template, shards).unwrap();
        destination.of(&provider, &user).unwrap().to_string()
    }

    #[test]
    fn a_plain_address_is_everybodys() {
        let url = "http://127.0.0.1:3000/hooks?from=daypass";
        assert_eq!(of(url, 1, "u_1"), url);
        assert!(Destination::parse(url, 8).unwrap().is_single());
    }

    #[test]
    fn a_template_leads_to_the_users_shard() {
        let template = "http://shard-{shard}.internal/{provider}/{user}";
        // SHA-256("u_1") begins with 0x8f8e…; the app computes the same.
        let first = of(template, 4, "u_1");
        assert_eq!(first, of(template, 4, "u_1"));
        assert!(first.ends_with(".internal/calendly/u_1"), "{first}");
        assert!(!Destination::parse(template, 4).unwrap().is_single());
        let shards: std::collections::BTreeSet<_> = (0..100)
            .map(|n| of("http://s{shard}.internal/", 4, &format!("u_{n}")))
            .collect();
        assert_eq!(shards.len(), 4);
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        let cases = [
            ("app.internal/hooks", InvalidDestination::NotAUrl),
            ("ftp://app.internal/", InvalidDestination::Scheme),
            (
                "http://me:pw@app.internal/",
                InvalidDestination::Credentials,
            ),
            ("http://app.internal/#top", InvalidDestination::Fragment),
            ("http://{user}.internal/", InvalidDestination::UserInHost),
            (
                "http://app.internal/{tenant}",
                InvalidDestination::Placeholder {
                    name: "tenant".to_owned(),
                },
            ),
        ];
        for (template, expected) in cases {
            assert_eq!(Destination::parse(template, 1), Err(expected), "{template}");
        }
    }

    proptest! {
        #[test]
        fn no_user_id_leads_to_another_host(user in "[!-~]{1,40}") {
            let template = "http://app.internal/hooks/{user}/end?u={user}";
            let destination = Destination::parse(template, 1).unwrap();
            let calcom = ProviderName::parse("calcom").unwrap();
            let url = destination.of(&calcom, &UserId::parse(&user).unwrap());
            prop_assert_eq!(url.is_none(), user == "." || user == "..");
            if let Some(url) = url {
                prop_assert_eq!(url.host_str(), Some("app.internal"));
                prop_assert!(url.path().starts_with("/hooks/") && url.path().ends_with("/end"));
            }
        }
    }
}
