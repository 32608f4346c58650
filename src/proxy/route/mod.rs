//! Finds out whom a request is for, and where it goes.
//!
//! Everything outside this layer sees the caller's request; everything inside a [`Destination`].
//!
//! * Request: checked in this order, and refused ([`Refusal`]) at the first fault: method, host,
//!   path, provider, user. The address is then built from the provider's `api_base`, never from
//!   anything the caller said; the user header is taken out.
//! * Response: untouched.
//! * Order: inside the rescue layer, outside everything that needs to know a provider.
//!
//! Addressing: [`host`](super::host) decides between `/{provider}/rest` and the provider's own host.
//! An `https://` absolute form is taken like `http://`: whoever speaks it in the clear has reached
//! this process already.

use std::{
    fmt, mem,
    sync::{Arc, OnceLock},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header,
    uri::Authority,
};
use thiserror::Error;
use tower::{BoxError, Layer};

use super::{
    Config,
    host::{Addressee, Form, Hosts},
    policy::{Gate, Policy},
    target::{self, InvalidTarget},
};
use crate::{
    base::ids::{ConnectionKey, InvalidId, ProviderName, UserId},
    http::{
        access_log::{Record, Tracked},
        body::Body,
        service::{Gated, Service},
    },
    provider::{Judgement, SharedProvider},
};

/// A provider, and what this room needs to know of it in advance.
#[derive(Debug)]
pub(super) struct Upstream {
    /// The provider.
    pub(super) provider: SharedProvider,
    /// Whether its error bodies are read, which needs them uncompressed.
    pub(super) judges_bodies: bool,
    /// What may be called, and how often, if that is restricted.
    pub(super) gate: Option<Gate>,
}

/// Whose request it is; visible ASCII, checked.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct User(HeaderValue);

/// A request that goes to a provider.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) request: Request<Body>,
    pub(super) target: Target,
    pub(super) upstream: Arc<Upstream>,
    pub(super) user: User,
    pub(super) caller: Caller,
    pub(super) record: Arc<Record>,
}

/// What the caller asks for, from which the address at the provider is made.
#[derive(Debug)]
pub(super) struct Target {
    /// As the caller wrote it.
    uri: Uri,
    /// How much of its path names the provider.
    from: usize,
}

/// How the caller wrote the provider, and so how links must look to be usable to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// `/{provider}/…` at this host, if it said which.
    Prefix(Option<Authority>),
    /// The provider's own host.
    Host,
}

/// A request that this process answers itself: `/-/{provider}/{action}`.
#[derive(Debug)]
pub(super) struct LocalCall {
    pub(super) method: Method,
    pub(super) key: ConnectionKey,
    pub(super) action: String,
    pub(super) query: String,
    pub(super) body: Body,
}

/// Where a request goes.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the common one; boxing it would cost every request"
)]
pub(super) enum Destination {
    Provider(Routed),
    Local(LocalCall),
}

/// Why a request goes nowhere. The caller's fault; retrying unchanged is of no use.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("CONNECT would open a tunnel, inside which no token can be added")]
    Connect,
    #[error("no provider is reached at {0}")]
    Host(String),
    #[error("more than one provider is reached at {0}")]
    AmbiguousHost(String),
    #[error(transparent)]
    Target(#[from] InvalidTarget),
    #[error("no provider is called {name:?}")]
    UnknownProvider { name: String, known: Vec<String> },
    #[error("the request does not say for which user")]
    MissingUser(HeaderName),
    #[error("the {0} header is not one user id")]
    InvalidUser(HeaderName, #[source] Option<InvalidId>),
}

/// Applies [`Route`].
#[derive(Clone, Debug)]
pub(super) struct RouteLayer(Arc<Table>);

/// Routes; see the [module docs](self).
#[derive(Clone, Debug)]
pub(super) struct Route<S> {
    inner: S,
    table: Arc<Table>,
}

#[derive(Debug)]
struct Table {
    upstreams: Vec<Arc<Upstream>>,
    hosts: Hosts,
    user_header: HeaderName,
    usual: OnceLock<Usual>,
}

/// What the first good `Host` header meant. An app always writes the same, and reading it anew is a
/// quarter of what routing a request costs.
#[derive(Debug)]
struct Usual {
    host: HeaderValue,
    authority: Authority,
    addressee: Addressee,
}

// === impl Upstream ===

impl Upstream {
    pub(super) fn new(provider: SharedProvider, policy: Option<&Policy>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let judges_bodies = [401, 403, 498].into_iter().any(|status| {
            http::StatusCode::from_u16(status).is_ok_and(|status| {
                matches!(provider.judge(status, &headers), Judgement::ReadBody { .. })
            })
        });
        Self {
            gate: policy.and_then(|policy| Gate::new(provider.name(), policy)),
            provider,
            judges_bodies,
        }
    }
}

// === impl User ===

impl User {
    /// As the caller wrote it.
    pub(super) fn as_str(&self) -> &str {
        // Checked when it was made: always visible ASCII.
        self.0.to_str().unwrap_or_default()
    }

    /// Together with `provider`, the key of a connection.
    pub(super) fn at(&self, provider: &ProviderName) -> Result<ConnectionKey, InvalidId> {
        Ok(ConnectionKey {
            provider: provider.clone(),
            user: UserId::parse(self.as_str())?,
        })
    }

    pub(super) fn take(headers: &mut HeaderMap, name: &HeaderName) -> Result<Self, Refusal> {
        let before = headers.len();
        let Some(value) = headers.remove(name) else {
            return Err(Refusal::MissingUser(name.clone()));
        };
        if before - headers.len() > 1 {
            return Err(Refusal::InvalidUser(name.clone(), None));
        }
        match value.to_str() {
            Ok("") => Err(Refusal::MissingUser(name.clone())),
            Ok(text) if UserId::is_valid(text) => Ok(Self(value)),
            _ => Err(Refusal::InvalidUser(name.clone(), Some(InvalidId::User))),
        }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Target ===

impl Target {
    /// `uri` without the first `from` bytes of its path, which end before a slash.
    pub(super) const fn new(uri: Uri, from: usize) -> Self {
        Self { uri, from }
    }

    /// The path below the API's own.
    fn path(&self) -> &str {
        match self.uri.path().get(self.from..) {
            None | Some("") => "/",
            Some(path) => path,
        }
    }

    /// The address at `upstream`.
    pub(super) fn address(&self, upstream: &Upstream) -> Result<Uri, InvalidTarget> {
        let base = upstream.provider.api_base();
        let whole = target::build(base.prefix(), self.path(), self.uri.query());
        match whole.map(|whole| base.address(whole)) {
            Ok(Ok(uri)) => Ok(uri),
            // The library refuses only bytes that no target may have.
            Ok(Err(_)) | Err(_) => Err(InvalidTarget::StrayByte),
        }
    }
}

// === impl RouteLayer ===

impl RouteLayer {
    /// Routes to `providers` as `config` says.
    pub(super) fn new(config: &Config, providers: Vec<SharedProvider>) -> Self {
        let hosts = Hosts::new(config, providers.iter().map(|provider| provider.api_base()));
        let upstreams = providers
            .into_iter()
            .map(|provider| {
                let policy = config.policies.get(provider.name());
                Arc::new(Upstream::new(provider, policy))
            })
            .collect();
        Self(Arc::new(Table {
            upstreams,
            hosts,
            user_header: config.user_header.clone(),
            usual: OnceLock::new(),
        }))
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = Route<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Route {
            inner,
            table: Arc::clone(&self.0),
        }
    }
}

// === impl Route ===

impl<S> Service<Tracked<Body>> for Route<S>
where
    S: Service<Destination, Response = Response<Body>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Gated<S::Future, Refusal>;

    fn call(&self, tracked: Tracked<Body>) -> Self::Future {
        match self.table.route(tracked) {
            Ok(destination) => Gated::passed(self.inner.call(destination)),
            Err(refusal) => Gated::refused(refusal),
        }
    }
}

// === impl Table ===

impl Table {
    fn route(&self, tracked: Tracked<Body>) -> Result<Destination, Refusal> {
        let Tracked {
            mut request,
            record,
        } = tracked;
        if request.method() == Method::CONNECT {
            return Err(Refusal::Connect);
        }
        let (authority, addressee) = self.addressee(&request)?;
        let uri = mem::take(request.uri_mut());
        let path = uri.path();
        if !path.starts_with('/') {
            return Err(InvalidTarget::NoPath.into());
        }
        let (upstream, from, caller) = match addressee {
            Addressee::Provider(index) => (self.at(index)?, 0, Caller::Host),
            Addressee::Ourselves => {
                if let Some(local) = path.strip_prefix("/-/") {
                    return self.local(local, &uri, request, &record);
                }
                match self.by_prefix(path) {
                    Ok((upstream, from)) => (upstream, from, Caller::Prefix(authority)),
                    // A trick is called a trick, whatever name it would make.
                    Err(unknown) => return Err(fault(path).unwrap_or(unknown)),
                }
            }
            Addressee::Ambiguous => return Err(Refusal::AmbiguousHost(shown(authority))),
            Addressee::Stranger => return Err(Refusal::Host(shown(authority))),
        };
        let target = Target::new(uri, from);
        target::check_path(target.path())?;
        *request.uri_mut() = target.address(upstream)?;
        let user = User::take(request.headers_mut(), &self.user_header)?;
        let upstream = Arc::clone(upstream);
        note(&record, upstream.provider.name(), &user);
        Ok(Destination::Provider(Routed {
            request,
            target,
            upstream,
            user,
            caller,
            record,
        }))
    }

    /// The host that the caller addressed, and whom it stands for.
    fn addressee(
        &self,
        request: &Request<Body>,
    ) -> Result<(Option<Authority>, Addressee), Refusal> {
        let host = only(request.headers(), &header::HOST).filter(|_| is_origin(request.uri()));
        if let (Some(usual), Some(host)) = (self.usual.get(), host)
            && usual.host == *host
        {
            return Ok((Some(usual.authority.clone()), usual.addressee));
        }
        let (authority, form) = authority(request)?;
        let addressee = match &authority {
            Some(authority) => self.hosts.addressee(authority, form),
            None => Addressee::Ourselves,
        };
        if let (Some(host), Some(authority)) = (host, &authority)
            && matches!(addressee, Addressee::Ourselves | Addressee::Provider(_))
        {
            // Losing a race, or coming second, leaves what is there.
            let _taken = self.usual.set(Usual {
                host: host.clone(),
                authority: authority.clone(),
                addressee,
            });
        }
        Ok((authority, addressee))
    }

    /// The provider that the first segment of `path` names, and how long that is, with its slash.
    fn by_prefix(&self, path: &str) -> Result<(&Arc<Upstream>, usize), Refusal> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let slash = path.bytes().position(|byte| byte == b'/');
        let name = slash.and_then(|slash| path.get(..slash)).unwrap_or(path);
        Ok((self.named(name)?, name.len() + 1))
    }

    fn named(&self, name: &str) -> Result<&Arc<Upstream>, Refusal> {
        let is_it = |upstream: &&Arc<Upstream>| upstream.provider.name().as_str() == name;
        self.upstreams
            .iter()
            .find(is_it)
            .ok_or_else(|| self.unknown(name))
    }

    fn at(&self, index: usize) -> Result<&Arc<Upstream>, Refusal> {
        self.upstreams.get(index).ok_or_else(|| self.unknown(""))
    }

    fn unknown(&self, name: &str) -> Refusal {
        let names = self.upstreams.iter();
        Refusal::UnknownProvider {
            name: name.to_owned(),
            known: names
                .map(|upstream| upstream.provider.name().to_string())
                .collect(),
        }
    }

    /// `local` is what follows `/-/`.
    fn local(
        &self,
        local: &str,
        uri: &Uri,
        mut request: Request<Body>,
        record: &Record,
    ) -> Result<Destination, Refusal> {
        let (name, action) = local.split_once('/').unwrap_or((local, ""));
        let provider = self.named(name)?.provider.name();
        let user = User::take(request.headers_mut(), &self.user_header)?;
        note(record, provider, &user);
        let key = user
            .at(provider)
            .map_err(|why| Refusal::InvalidUser(self.user_header.clone(), Some(why)))?;
        Ok(Destination::Local(LocalCall {
            method: request.method().clone(),
            key,
            action: action.to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            body: request.into_body(),
        }))
    }
}

/// The host that the caller addressed, and how it did. An absolute target outranks the Host header
/// (RFC 9112 §3.2.2); HTTP/1.0 may do without either.
fn authority(request: &Request<Body>) -> Result<(Option<Authority>, Form), Refusal> {
    let (uri, version) = (request.uri(), request.version());
    let authority = match uri.authority() {
        Some(authority) => Some(authority.clone()),
        None => host_header(request.headers(), version)?,
    };
    if authority
        .as_ref()
        .is_some_and(|host| host.as_str().contains('@'))
    {
        return Err(InvalidTarget::Host.into());
    }
    if !matches!(uri.scheme_str(), None | Some("http" | "https")) {
        return Err(InvalidTarget::Scheme.into());
    }
    let absolute = version < Version::HTTP_2 && uri.scheme().is_some();
    let form = if absolute {
        Form::Absolute
    } else {
        Form::Origin
    };
    Ok((authority, form))
}

/// What is wrong with `path`, if anything is.
fn fault(path: &str) -> Option<Refusal> {
    target::check_path(path).err().map(Refusal::from)
}

/// The value of a field that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// Whether a target is a path alone, so that the Host header says where it is.
fn is_origin(uri: &Uri) -> bool {
    uri.scheme().is_none() && uri.authority().is_none()
}

fn host_header(headers: &HeaderMap, version: Version) -> Result<Option<Authority>, Refusal> {
    let mut lines = headers.get_all(header::HOST).iter();
    match (lines.next(), lines.next()) {
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(host) => Ok(Some(host)),
            Err(_) => Err(InvalidTarget::Host.into()),
        },
        (None, _) if version < Version::HTTP_11 => Ok(None),
        _ => Err(InvalidTarget::Host.into()),
    }
}

fn note(record: &Record, provider: &ProviderName, user: &User) {
    record.note(|facts| {
        facts.provider = Some(provider.clone());
        facts.user = Some(user.0.clone());
    });
}

fn shown(authority: Option<Authority>) -> String {
    authority.map_or_else(String::new, |authority| authority.to_string())
}

#[cfg(test)]
mod tests;
