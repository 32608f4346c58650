//! What the SQLite store does when the file, the disk or the process fails it.
//!
//! Tests that need rights over the machine (to mount a small or a read-only file system) say so and
//! end without them. Some run this same program again as other processes: the ignored tests in
//! `processes` are what it does there, told through its standard input.

#[cfg(test)]
mod events;
#[cfg(test)]
mod files;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod records;
#[cfg(test)]
mod rows;
