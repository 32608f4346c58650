//! The problems of the admin listener, each with its status, its word and its title: what answers are
//! made from, and what the description of the API tells.
//!
//! The words are those of the outbound listener where the trouble is the same.

use http::StatusCode;

use crate::http::problem::Problem;

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) status: StatusCode,
    /// What follows `urn:daypass:problem:`.
    pub(super) slug: &'static str,
    pub(super) title: &'static str,
    /// A type of RFC 9209 §2.3.
    proxy_error: &'static str,
}

macro_rules! kinds {
    ($($name:ident: $status:ident, $slug:literal, $title:literal, $proxy_error:literal;)*) => {
        $(pub(super) const $name: Kind = Kind {
            status: StatusCode::$status,
            slug: $slug,
            title: $title,
            proxy_error: $proxy_error,
        };)*

        /// All there are.
        pub(super) const ALL: &[Kind] = &[$($name),*];
    };
}

kinds! {
    INVALID_PARAMETER: BAD_REQUEST, "invalid-parameter", "A parameter cannot be used", "http_request_error";
    INVALID_CURSOR: BAD_REQUEST, "invalid-cursor", "The cursor cannot be used", "http_request_error";
    INVALID_BODY: BAD_REQUEST, "invalid-body", "The body cannot be used", "http_request_error";
    INVALID_RETURN_TO: BAD_REQUEST, "invalid-return-to", "The browser cannot be sent there", "http_request_error";
    UNAUTHORIZED: UNAUTHORIZED, "unauthorized", "The admin token is needed", "http_request_error";
    ADMIN_TOKEN_NOT_CONFIGURED: FORBIDDEN, "admin-token-not-configured", "There is no admin token to show", "http_request_error";
    ORIGIN_NOT_ALLOWED: FORBIDDEN, "origin-not-allowed", "Not from this page", "http_request_error";
    NOT_FOUND: NOT_FOUND, "not-found", "There is nothing here", "http_request_error";
    UNKNOWN_PROVIDER: NOT_FOUND, "unknown-provider", "No such provider", "http_request_error";
    NOT_CONNECTED: NOT_FOUND, "not-connected", "The user is not connected", "http_request_error";
    UNKNOWN_DELIVERY: NOT_FOUND, "unknown-delivery", "No such delivery", "http_request_error";
    METHOD_NOT_ALLOWED: METHOD_NOT_ALLOWED, "method-not-allowed", "This address cannot be used like that", "http_request_error";
    NEEDS_REAUTH: CONFLICT, "needs-reauth", "The user must connect again", "http_request_error";
    OTHER_ACCOUNT: CONFLICT, "other-account", "The user is connected with another account", "http_request_error";
    MANAGED_USER_TAKEN: CONFLICT, "managed-user-taken", "The managed user belongs to another user", "http_request_error";
    NOT_MANAGED: CONFLICT, "not-managed", "The user is not a managed one", "http_request_error";
    NO_MANAGED_USERS: CONFLICT, "no-managed-users", "There are no managed users", "http_request_error";
    NO_MEETINGS: CONFLICT, "no-meetings", "There are no meetings here", "http_request_error";
    UNROUTED_DELIVERY: CONFLICT, "unrouted-delivery", "The event has nobody to be delivered to", "http_request_error";
    BODY_TOO_LARGE: PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large", "http_request_error";
    NOT_JSON: UNSUPPORTED_MEDIA_TYPE, "not-json", "The body is not JSON", "http_request_error";
    MANAGED_USER_REFUSED: UNPROCESSABLE_ENTITY, "managed-user-refused", "The provider does not make such a user", "http_request_error";
    INCONSISTENT_RECORD: INTERNAL_SERVER_ERROR, "inconsistent-record", "What is stored contradicts itself", "proxy_internal_error";
    INTERNAL_ERROR: INTERNAL_SERVER_ERROR, "internal-error", "Something is broken", "proxy_internal_error";
    METRICS_UNAVAILABLE: INTERNAL_SERVER_ERROR, "metrics-unavailable", "The metrics cannot be written", "proxy_internal_error";
    UPSTREAM_UNREACHABLE: BAD_GATEWAY, "upstream-unreachable", "The provider cannot be reached", "destination_unavailable";
    UPSTREAM_PROTOCOL: BAD_GATEWAY, "upstream-protocol", "The provider did not do it", "http_protocol_error";
    STORE_UNAVAILABLE: SERVICE_UNAVAILABLE, "store-unavailable", "The store does not do it", "proxy_internal_response";
    REFRESH_FAILED: SERVICE_UNAVAILABLE, "refresh-failed", "The token could not be renewed", "proxy_internal_response";
    PROVIDER_MISCONFIGURED: SERVICE_UNAVAILABLE, "provider-misconfigured", "The provider refuses this installation", "proxy_internal_response";
    PROVIDER_BUSY: SERVICE_UNAVAILABLE, "provider-busy", "The provider asks for fewer calls", "proxy_internal_response";
    CONNECT_NOT_CONFIGURED: SERVICE_UNAVAILABLE, "connect-not-configured", "Nobody can be connected here", "proxy_configuration_error";
    OVERLOADED: SERVICE_UNAVAILABLE, "overloaded", "Shutting down", "proxy_internal_response";
}

// === impl Kind ===

impl Kind {
    /// A problem of this kind.
    pub(super) fn problem(self) -> Problem {
        Problem::new(self.status, self.slug, self.title, self.proxy_error)
    }

    /// As in the `type` of an answer.
    pub(super) fn urn(self) -> String {
        format!("urn:daypass:problem:{}", self.slug)
    }
}
