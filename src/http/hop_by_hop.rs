//! Which headers end at a proxy (RFC 9110 §7.6.1), in both directions.
//!
//! 1. What `Connection` names is removed, then `Connection` and the well-known hop-by-hop fields.
//! 2. Framing (`Transfer-Encoding`) is ours to write anew. `Content-Length` stays: it is the
//!    sender's, and hyper holds the body to it.
//! 3. `Trailer` stays although HTTP/1 once listed it: without it hyper sends no trailers onward.
//! 4. `Expect` is answered by our server; `TE` is answered per hop.

use http::{HeaderMap, HeaderName, header};

/// `Keep-Alive`.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// What some clients say to a proxy instead of `Connection`.
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const ALWAYS: [HeaderName; 9] = [
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::UPGRADE,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    HeaderName::from_static("http2-settings"),
];

/// Fields that a peer may name in `Connection` without effect: removing them would change what the
/// message means rather than how it travels.
const NEVER: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE];

/// Removes every hop-by-hop field of `headers`.
pub fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        strip_named(headers);
    }
    for name in &ALWAYS {
        headers.remove(name);
    }
}

fn strip_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !NEVER.contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(header::CONNECTION);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    http::HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn what_connection_names_goes_too() {
        let mut headers = map(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("x-public", "2"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("trailer", "x-sum"),
        ]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("x-public", "2"), ("trailer", "x-sum")]));
    }

    #[test]
    fn connection_cannot_name_what_the_message_means() {
        let mut headers = map(&[
            ("connection", "host, content-length, content-type"),
            ("host", "a"),
            ("content-length", "3"),
        ]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("host", "a"), ("content-length", "3")]));
    }

    #[test]
    fn a_malformed_connection_header_is_still_removed() {
        let mut headers = map(&[("connection", ",, bad name,"), ("x", "1")]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("x", "1")]));
    }
}
