//! The client before providers that are scripted byte by byte, on real sockets.

mod closing;
mod early;
mod http1;
mod http2;
mod once;
mod refused;
mod world;
