//! A copy of a request's head, kept in case the request must be sent once more.
//!
//! Every request pays for the copy and hardly any needs it. So it is a plain list: what a map has
//! besides, to find things in it, costs more than the copies of the names and values. And of the address
//! it has what the caller wrote, from which it is made again.

use http::{HeaderName, HeaderValue, Method, Request, request::Parts};
use smallvec::SmallVec;

use super::{
    route::{Target, Upstream},
    target::InvalidTarget,
};

/// As many fields as most requests have; more take memory of their own.
const USUAL: usize = 8;

/// A head, without version and extensions, which are each attempt's own.
#[derive(Debug)]
pub(super) struct KeptHead {
    method: Method,
    target: Target,
    headers: SmallVec<[(HeaderName, HeaderValue); USUAL]>,
}

// === impl KeptHead ===

impl KeptHead {
    /// Copies what `parts` say; their address was made of `target`.
    pub(super) fn of(parts: &Parts, target: Target) -> Self {
        let headers = parts.headers.iter();
        Self {
            method: parts.method.clone(),
            target,
            headers: headers
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }

    /// The request again, to `upstream` and with `body`.
    pub(super) fn into_request<B>(
        self,
        upstream: &Upstream,
        body: B,
    ) -> Result<Request<B>, InvalidTarget> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.target.address(upstream)?;
        let headers = request.headers_mut();
        headers.reserve(self.headers.len());
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::proxy::tests::world::scripted;

    #[test]
    fn a_kept_head_is_the_same_head() {
        let upstream = Upstream::new(Arc::new(scripted("127.0.0.1:9".parse().unwrap())), None);
        let mut secret = HeaderValue::from_static("s");
        secret.set_sensitive(true);
        let request = Request::put("/a/%2F?b&access_token=c")
            .header("x-twice", "1")
            .header("x-other", secret)
            .header("x-twice", "2")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let target = Target::new(parts.uri.clone(), 0);
        let again = KeptHead::of(&parts, target).into_request(&upstream, ());
        let again = again.unwrap();
        assert_eq!(*again.method(), Method::PUT);
        assert_eq!(*again.uri(), "http://127.0.0.1:9/a/%2F?b");
        assert_eq!(*again.headers(), parts.headers);
        assert!(again.headers()["x-other"].is_sensitive());
    }
}
