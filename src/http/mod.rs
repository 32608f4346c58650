//! HTTP as this house speaks it, whoever the other side is.
//!
//! * [`tls`]: the one TLS configuration: trust roots, and the CA file of the configuration.

pub mod tls;
