//! `[admin]`: where operators, probes and Prometheus call.

use super::{secret::visible, section::Section};
use crate::admin::Config;

pub(super) fn read(section: &Section<'_>) -> Option<Config> {
    let listen = section.listen("listen", "127.0.0.1:7422");
    let token = section.secret("token", visible);
    let given = section.find("token").is_some() || section.find("token_file").is_some();
    if let Some(listen) = &listen
        && !listen.is_local()
        && !given
    {
        section.problem(
            "listen",
            "whoever reaches this listener can manage every connection: set admin.token or \
             admin.token_file, or listen on a loopback address or a unix socket",
        );
    }
    // A quarter: what reviews look back on.
    let audit_retention = section.duration("audit_retention", "90d");
    Some(Config {
        listen: listen?,
        token,
        audit_retention: audit_retention?,
    })
}
