//! pingora doing what Daypass does for a cached token, and nothing else.
//!
//! 1. `X-User-Id` becomes a bearer token from a map; who is not in it is answered 424.
//! 2. Credentials of the caller and hop-by-hop fields end here, by pingora's own policy where it has one.
//! 3. The peer is made once and cloned: what a request needs of it is not made anew.
//! 4. The access log is the line of pingora's own examples, by the logger of those examples.
//!
//! Settings are in the environment, because `../run` starts it: `LISTEN`, `UPSTREAM` (addresses), `USERS`
//! (a file with a user and a token in each line), `THREADS`, `CA` (what to trust), `UPSTREAM_TLS`,
//! `UPSTREAM_H2`, `CLIENT_H2`. `RUST_LOG=info` for the access log, `error` for none.

use std::{collections::HashMap, env, fs, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderValue, header};
use log::info;
use pingora::{
    Error, Result,
    apps::HttpServerOptions,
    http::{RequestHeader, ResponseHeader},
    listeners::{L4BufferSettings, ListenerConfig},
    proxy::{ProxyHttp, ProxyServiceBuilder, Session},
    server::{Server, configuration::ServerConf},
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy},
};

/// What stands before the provider's own path.
const PREFIX: &[u8] = b"/calcom";
/// Credentials of the caller; hop-by-hop fields are in pingora's policy.
const FORBIDDEN: [&str; 6] = [
    "x-user-id",
    "cookie",
    "origin",
    "referer",
    "x-cal-client-id",
    "x-cal-secret-key",
];

struct Peer {
    upstream: HttpPeer,
    host: HeaderValue,
    bearers: HashMap<Vec<u8>, HeaderValue>,
}

#[async_trait]
impl ProxyHttp for Peer {
    /// The bearer token of the request's user.
    type CTX = Option<HeaderValue>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        let request = session.req_header();
        if request.raw_path().starts_with(PREFIX)
            && let Some(user) = request.headers.get("x-user-id")
            && let Some(bearer) = self.bearers.get(user.as_bytes())
        {
            *ctx = Some(bearer.clone());
            return Ok(false);
        }
        session.respond_error(424).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.clone()))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let path = request.raw_path()[PREFIX.len()..].to_vec();
        request.set_raw_path(&path)?;
        for name in FORBIDDEN {
            request.remove_header(name);
        }
        request.insert_header(header::HOST, self.host.clone())?;
        if let Some(bearer) = ctx.take() {
            request.insert_header(header::AUTHORIZATION, bearer)?;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Self::CTX,
    ) -> Result<()> {
        response.remove_header(&header::SET_COOKIE);
        Ok(())
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Self::CTX) {
        let status = session
            .response_written()
            .map_or(0, |response| response.status.as_u16());
        info!(
            "{} response code: {status}",
            self.request_summary(session, ctx)
        );
    }
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some()
}

fn setting(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// Where every request goes. Timeouts are those of the other proxies.
fn upstream(address: &str) -> HttpPeer {
    let mut peer = HttpPeer::new(address, is_set("UPSTREAM_TLS"), "localhost".to_owned());
    let options = &mut peer.options;
    options.connection_timeout = Some(Duration::from_secs(10));
    options.read_timeout = Some(Duration::from_secs(30));
    options.idle_timeout = Some(Duration::from_secs(60));
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    if is_set("UPSTREAM_H2") {
        options.set_http_version(2, 2);
        // What the upstream allows; pingora's own default is one request for each connection.
        options.max_h2_streams = 128;
    }
    peer
}

fn bearers() -> HashMap<Vec<u8>, HeaderValue> {
    let lines = fs::read_to_string(setting("USERS")).expect("the users can be read");
    let each = lines.lines().filter_map(|line| line.split_once(' '));
    each.map(|(user, token)| {
        let bearer = HeaderValue::try_from(format!("Bearer {token}")).expect("a token is ASCII");
        (user.as_bytes().to_vec(), bearer)
    })
    .collect()
}

fn main() {
    env_logger::init();
    let configuration = ServerConf {
        threads: setting("THREADS").parse().expect("THREADS is a number"),
        ca_file: Some(setting("CA")),
        // Told to end, it ends.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let address = setting("UPSTREAM");
    let proxy = Peer {
        upstream: upstream(&address),
        host: HeaderValue::try_from(address).expect("an address is ASCII"),
        bearers: bearers(),
    };
    let mut options = HttpServerOptions::default();
    options.h2c = is_set("CLIENT_H2");
    let mut service = ProxyServiceBuilder::new(&Arc::clone(&server.configuration), proxy)
        .server_options(options)
        .build();
    // Heads and bodies have buffers of their own; the one before them, of 64 KiB for each connection, is for
    // TLS, which reads little at once (`DEFAULT_L4_READ_BUFFER_SIZE`). Callers here speak without.
    let buffer = L4BufferSettings::default().read(0);
    service.add_listener(ListenerConfig::tcp(setting("LISTEN")).l4_buffer(buffer));
    server.add_service(service);
    server.run_forever();
}
