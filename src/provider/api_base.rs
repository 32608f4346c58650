//! Where a provider's API lives: the one place a user's token may be sent to.
//!
//! 1. `https`, or plain `http` on a loopback address only (sandbox, tests).
//! 2. An origin and perhaps a path prefix; no user info, query or fragment.
//! 3. Targets are joined, never resolved: no path of a caller can leave the origin.

use std::fmt;

use http::{
    Uri,
    uri::{Authority, Parts, PathAndQuery, Scheme},
};
use thiserror::Error;
use url::{Host, Url};

/// An origin and a path prefix that requests are joined to; see the [module docs](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiBase {
    scheme: Scheme,
    authority: Authority,
    prefix: String,
}

/// Text that cannot be the base of an API.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidApiBase {
    /// Not a URL at all.
    #[error("not an absolute URL")]
    NotAUrl,
    /// Plain `http` to somewhere else than this machine would send tokens in the clear.
    #[error("must be https (plain http is accepted for loopback addresses only)")]
    Insecure,
    /// Something an API base has no use for.
    #[error("must have no user name, query or fragment")]
    Surplus,
}

// === impl ApiBase ===

impl ApiBase {
    /// Reads `https://host[:port][/prefix]`.
    pub fn parse(text: &str) -> Result<Self, InvalidApiBase> {
        let url = secure_url(text)?;
        let Ok(uri) = url.as_str().parse::<Uri>() else {
            return Err(InvalidApiBase::NotAUrl);
        };
        let parts = uri.into_parts();
        match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority)) => Ok(Self {
                scheme,
                authority,
                prefix: url.path().trim_end_matches('/').to_owned(),
            }),
            _ => Err(InvalidApiBase::NotAUrl),
        }
    }

    /// The host and, if it is not the scheme's own, the port.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// `https`, or `http` on loopback.
    pub const fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// What precedes every path: empty, or `/…` without a slash at its end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The address of `target` (a path and query that begins with `/`) at this API.
    pub fn join(&self, target: &PathAndQuery) -> Result<Uri, http::Error> {
        let builder = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone());
        if self.prefix.is_empty() {
            builder.path_and_query(target.clone()).build()
        } else {
            builder
                .path_and_query(format!("{}{target}", self.prefix))
                .build()
        }
    }

    /// The address of `whole`: a path that begins with the prefix already, and a query.
    pub fn address(&self, whole: PathAndQuery) -> Result<Uri, http::Error> {
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(whole);
        Ok(Uri::from_parts(parts)?)
    }

    /// The address of the resource that these path segments name, each taken as it is: none of them
    /// can lead elsewhere.
    pub(super) fn resource<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Option<Url> {
        let mut url = Url::parse(&self.to_string()).ok()?;
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .extend(segments);
        Some(url)
    }
}

impl fmt::Display for ApiBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

/// Reads a provider URL: `https`, or plain `http` on a loopback address; no user, query or fragment.
pub fn secure_url(text: &str) -> Result<Url, InvalidApiBase> {
    let Ok(url) = Url::parse(text) else {
        return Err(InvalidApiBase::NotAUrl);
    };
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(InvalidApiBase::NotAUrl),
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        return Err(InvalidApiBase::Insecure);
    }
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if plain {
        Ok(url)
    } else {
        Err(InvalidApiBase::Surplus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_targets_behind_the_prefix() {
        let target = PathAndQuery::from_static("/v2/me?a=1");
        let plain = ApiBase::parse("https://api.cal.com").unwrap();
        assert_eq!(
            plain.join(&target).unwrap(),
            "https://api.cal.com/v2/me?a=1"
        );
        let prefixed = ApiBase::parse("https://cal.example.org/api/").unwrap();
        assert_eq!(
            prefixed.join(&target).unwrap(),
            "https://cal.example.org/api/v2/me?a=1"
        );
    }

    #[test]
    fn a_segment_cannot_lead_elsewhere() {
        let base = ApiBase::parse("https://cal.example.org/api").unwrap();
        for (segments, expected) in [
            (["v2", "me"], "https://cal.example.org/api/v2/me"),
            (
                ["v2", "a/../b"],
                "https://cal.example.org/api/v2/a%2F..%2Fb",
            ),
            (["v2", "a?b#c"], "https://cal.example.org/api/v2/a%3Fb%23c"),
            (["v2", ".."], "https://cal.example.org/api/v2"),
            (
                ["v2", "//evil"],
                "https://cal.example.org/api/v2/%2F%2Fevil",
            ),
        ] {
            assert_eq!(base.resource(segments).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for fine in [
            "http://127.0.0.1:9000",
            "http://localhost:1",
            "http://[::1]:2",
        ] {
            assert!(ApiBase::parse(fine).is_ok(), "{fine}");
        }
        for insecure in [
            "http://api.cal.com",
            "http://127.0.0.1.example.org",
            "ftp://localhost",
        ] {
            assert_eq!(
                ApiBase::parse(insecure),
                Err(InvalidApiBase::Insecure),
                "{insecure}"
            );
        }
    }

    #[test]
    fn surplus_parts_are_refused() {
        for surplus in [
            "https://u@api.cal.com",
            "https://api.cal.com/?q",
            "https://api.cal.com/#f",
        ] {
            assert_eq!(
                ApiBase::parse(surplus),
                Err(InvalidApiBase::Surplus),
                "{surplus}"
            );
        }
    }
}
