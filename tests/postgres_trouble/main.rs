//! What the PostgreSQL store does when the server, the network or the operator fails it, on real
//! servers: each complaint is clear, names no password, and nothing is lost.

#[cfg(test)]
mod clock;
#[cfg(test)]
mod control;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod plans;
#[cfg(test)]
#[path = "../store_contract/postgres_server.rs"]
mod postgres_server;
#[cfg(test)]
mod records;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod sign_in;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod writes;
