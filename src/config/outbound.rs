//! `[outbound]`: where the app calls.

use http::HeaderName;

use super::{context::Context, problem::Origin, providers::Policies, section::Section};
use crate::proxy::{Config, Mode};

/// Headers that mean something else already: connection handling, credentials, addressing. One of
/// them as the user's name would be stripped, overwritten or leaked.
const TAKEN: [&str; 23] = [
    "accept",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-cal-client-id",
    "x-cal-secret-key",
];

pub(super) fn read(section: &Section<'_>) -> Option<Config> {
    // Loopback: in a pod, that is the app container and nobody else.
    let listen = section.listen("listen", "127.0.0.1:7420");
    let user_header = section.text("user_header", "x-user-id", user_header);
    let allow_remote = section.switch("allow_remote", "false");
    // Off: an app that never sees a token cannot leak one.
    let token_reads = section.switch("token_reads", "false");
    // Far more than any JSON body of these APIs; times `max_in_flight` it bounds the memory.
    let replay_body_bytes = section.size("replay_body_bytes", "1MiB");
    // Longer than the slowest documented call of both providers.
    let response_timeout = section.duration("response_timeout", "30s");
    // Well below the 4096 or so file descriptors that two sockets each would need.
    let max_in_flight = section.count("max_in_flight", "1024");
    if let (Some(listen), Some(false)) = (&listen, allow_remote)
        && !listen.is_local()
    {
        section.problem(
            "listen",
            "whoever reaches this listener can act as any user: listen on a loopback address or a \
             unix socket, or set outbound.allow_remote = true if the network in front of it is trusted",
        );
    }
    Some(Config {
        listen: listen?,
        user_header: user_header?,
        allow_remote: allow_remote?,
        token_reads: token_reads?,
        replay_body_bytes: replay_body_bytes?,
        response_timeout: response_timeout?,
        max_in_flight: max_in_flight?,
        propagate_trace_context: false,
        policies: Policies::new(),
    })
}

/// Adds what may be called at each provider.
pub(super) fn restrict(context: &Context<'_>, config: &mut Config, policies: Policies) {
    for (name, policy) in &policies {
        if config.token_reads && policy.mode == Mode::Enforce && !policy.allow.is_empty() {
            context.warning(
                Origin::Unset,
                &format!("providers.{name}.policy.allow"),
                "outbound.token_reads is on: an app that reads tokens can make any call without Daypass",
            );
        }
    }
    config.policies = policies;
}

fn user_header(text: &str) -> Result<HeaderName, String> {
    let Ok(name) = HeaderName::try_from(text) else {
        return Err("expected the name of a header, such as \"x-user-id\"".to_owned());
    };
    let forwarded = name.as_str().starts_with("x-forwarded-");
    if forwarded || TAKEN.contains(&name.as_str()) {
        return Err(
            "this header has a meaning of its own: choose another, such as \"x-user-id\""
                .to_owned(),
        );
    }
    Ok(name)
}
