//! A copy of a request's head, kept in case the request must be sent once more.
//!
//! Every request pays for the copy and hardly any needs it. So it is a plain list: what a map has
//! besides, to find things in it, costs more than the copies of the names and values.

use http::{HeaderName, HeaderValue, Method, Request, Uri, request::Parts};

/// A head, without version and extensions, which are each attempt's own.
#[derive(Debug)]
pub(super) struct KeptHead {
    method: Method,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

// === impl KeptHead ===

impl KeptHead {
    /// Copies what `parts` say.
    pub(super) fn of(parts: &Parts) -> Self {
        let mut headers = Vec::with_capacity(parts.headers.len());
        for (name, value) in &parts.headers {
            headers.push((name.clone(), value.clone()));
        }
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers,
        }
    }

    /// The request again, with `body`.
    pub(super) fn into_request<B>(self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        let headers = request.headers_mut();
        headers.reserve(self.headers.len());
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_head_is_the_same_head() {
        let mut secret = HeaderValue::from_static("s");
        secret.set_sensitive(true);
        let request = Request::put("http://api.example.org/a?b")
            .header("x-twice", "1")
            .header("x-other", secret)
            .header("x-twice", "2")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let again = KeptHead::of(&parts).into_request(());
        assert_eq!(*again.method(), Method::PUT);
        assert_eq!(*again.uri(), parts.uri);
        assert_eq!(*again.headers(), parts.headers);
        assert!(again.headers()["x-other"].is_sensitive());
    }
}
