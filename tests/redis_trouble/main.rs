//! What the Redis store does when a server, its settings or the network fails it. Against real
//! servers.

#[cfg(test)]
mod access;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod lost_answers;
#[cfg(test)]
mod lost_beside;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod notices;
#[cfg(test)]
mod older;
#[cfg(test)]
mod promises;
#[cfg(test)]
#[path = "../servers/redis.rs"]
mod servers;
#[cfg(test)]
mod trouble;
#[cfg(test)]
mod world;
