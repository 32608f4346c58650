//! Which headers end at a proxy (RFC 9110 §7.6.1), in both directions.
//!
//! 1. What `Connection` names is removed, then `Connection` and the well-known hop-by-hop fields.
//! 2. Framing (`Transfer-Encoding`) is ours to write anew. `Content-Length` stays: it is the
//!    sender's, and hyper holds the body to it.
//! 3. `Trailer` stays although HTTP/1 once listed it: without it hyper sends no trailers onward.
//! 4. `Expect` is answered by our server; `TE` is answered per hop.

use http::{HeaderMap, HeaderName, header};
use smallvec::SmallVec;

use super::names::Names;

/// Names of the fields that always end here.
const ALWAYS: Names = Names::new(&[
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "upgrade",
    "transfer-encoding",
    "expect",
    "http2-settings",
]);

/// Fields that a peer may name in `Connection` without effect: removing them would change what the
/// message means rather than how it travels.
const NEVER: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE];

/// Removes every hop-by-hop field of `headers`, and what `also` says.
///
/// Looks at each field once instead of asking for every name: few of the names are ever there, and
/// asking costs a hash each.
pub fn strip(headers: &mut HeaderMap, also: impl Fn(&HeaderName) -> bool) {
    let mut names_others = false;
    // Few end here, for which there is room without asking for memory.
    let mut ending = SmallVec::<[HeaderName; 4]>::new();
    for (name, value) in &*headers {
        let ends_here = if *name == header::CONNECTION {
            // What nearly every `Connection` says names no field that would be left in the end.
            names_others |= !matches!(value.as_bytes(), b"close" | b"keep-alive");
            true
        } else {
            ALWAYS.has(name.as_str()) || also(name)
        };
        if ends_here && ending.last() != Some(name) {
            ending.push(name.clone());
        }
    }
    if names_others {
        strip_named(headers);
    }
    for name in ending {
        headers.remove(name);
    }
}

fn strip_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !NEVER.contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
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
        strip(&mut headers, |_| false);
        assert_eq!(headers, map(&[("x-public", "2"), ("trailer", "x-sum")]));
    }

    #[test]
    fn connection_cannot_name_what_the_message_means() {
        let mut headers = map(&[
            ("connection", "host, content-length, content-type"),
            ("host", "a"),
            ("content-length", "3"),
        ]);
        strip(&mut headers, |_| false);
        assert_eq!(headers, map(&[("host", "a"), ("content-length", "3")]));
    }

    #[test]
    fn what_the_caller_of_this_names_goes_in_the_same_pass() {
        let mut headers = map(&[("x", "1"), ("y", "2"), ("x", "3"), ("te", "trailers")]);
        strip(&mut headers, |name| name.as_str() == "x");
        assert_eq!(headers, map(&[("y", "2")]));
    }

    #[test]
    fn a_malformed_connection_header_is_still_removed() {
        let mut headers = map(&[("connection", ",, bad name,"), ("x", "1")]);
        strip(&mut headers, |_| false);
        assert_eq!(headers, map(&[("x", "1")]));
    }
}
