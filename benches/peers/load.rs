//! Asks at a constant rate and tells how long each answer took, without coordinated omission.
//!
//! 1. When each request is to be sent is fixed before the run, whatever happens in it: the n-th at
//!    `start + n / rate`, the connections taking turns.
//! 2. A latency counts from that moment, not from when the request could be sent: while a connection waits
//!    for a late answer, the requests due on it wait, and their waiting is in the figure. (So does wrk2.)
//! 3. Beside it stands the time from the real sending, as tools that wait for answers report it: the
//!    difference is what they leave out.
//! 4. An answer that is not 200, or a connection that ends, ends the run: there is no latency of an error.
//!
//! One thread for each connection, so that the kernel wakes whose answer came; nothing but the standard
//! library, so that `rustc` alone builds it. `peers/run` does; `tests/benches.rs` tries it on a server that
//! stalls.
#![cfg_attr(
    test,
    expect(dead_code, reason = "the test calls what is below the command line")
)]
#![expect(
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program of its own, on the real clock; whatever it cannot do must end it"
)]

use std::{
    env, fs, io,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// What is told of a distribution, in percent.
const PERCENTILES: [f64; 9] = [1.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0];

/// What to send where, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    /// Sent as it is, each time; the answer must have a `Content-Length`.
    pub(crate) request: Vec<u8>,
    /// Requests a second, of all connections together.
    pub(crate) rate: f64,
    pub(crate) connections: u32,
    /// Sent before the measured ones, at the same rate.
    pub(crate) warm_up: u32,
    /// Measured requests.
    pub(crate) requests: u32,
}

/// What one request took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// From when it was due.
    pub(crate) since_due: Duration,
    /// From when it was sent.
    pub(crate) since_sent: Duration,
    /// How late it was sent although its connection was free: this program's own fault.
    pub(crate) own_delay: Duration,
}

// === impl Plan ===

impl Plan {
    /// When the `n`-th request is due, after the start.
    fn due(&self, n: u32) -> Duration {
        Duration::from_secs_f64(f64::from(n) / self.rate)
    }

    /// Sends everything, and tells of the measured requests in no order.
    pub(crate) fn run(&self) -> io::Result<Vec<Took>> {
        let ready = Barrier::new(self.connections as usize);
        // Threads that start take a moment to be there.
        let start = Instant::now() + Duration::from_millis(50);
        thread::scope(|scope| {
            let all: Vec<_> = (0..self.connections)
                .map(|connection| {
                    let ready = &ready;
                    scope.spawn(move || self.one_connection(connection, start, ready))
                })
                .collect();
            let mut took = Vec::with_capacity(self.requests as usize);
            for one in all {
                took.extend(one.join().unwrap()?);
            }
            Ok(took)
        })
    }

    fn one_connection(
        &self,
        connection: u32,
        start: Instant,
        ready: &Barrier,
    ) -> io::Result<Vec<Took>> {
        let stream = TcpStream::connect(self.target);
        ready.wait();
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let mut buffer = vec![0; 65536];
        let mut all = Vec::new();
        let last = self.warm_up + self.requests;
        for n in (connection..last).step_by(self.connections as usize) {
            let due = start + self.due(n);
            let free = Instant::now();
            thread::sleep(due.saturating_duration_since(free));
            let sent = Instant::now();
            stream.write_all(&self.request)?;
            receive(&mut stream, &mut buffer)?;
            let done = Instant::now();
            if n >= self.warm_up {
                all.push(Took {
                    since_due: done - due,
                    since_sent: done - sent,
                    own_delay: sent - due.max(free),
                });
            }
        }
        Ok(all)
    }
}

/// Reads one whole answer; it must be a 200.
fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    let head = loop {
        filled += more(stream, &mut buffer[filled..])?;
        if let Some(end) = find(&buffer[..filled], b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") {
        return Err(io::Error::other(format!("not 200: {text}")));
    }
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse::<usize>().ok())
        .ok_or_else(|| io::Error::other(format!("no length: {text}")))?;
    let mut left = (head + length).saturating_sub(filled);
    while left > 0 {
        left = left.saturating_sub(more(stream, buffer)?);
    }
    Ok(())
}

fn more(stream: &mut TcpStream, room: &mut [u8]) -> io::Result<usize> {
    match stream.read(room)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => Ok(read),
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// The smallest value that `percent` of `sorted` do not exceed.
pub(crate) fn percentile(sorted: &[Duration], percent: f64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "there are fewer than 2^52 requests, and a percentage is not negative"
    )]
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// `{"50": microseconds, ...}`
fn distribution(took: &[Took], of: impl Fn(&Took) -> Duration) -> String {
    let mut sorted: Vec<_> = took.iter().map(of).collect();
    sorted.sort_unstable();
    let each = PERCENTILES.map(|percent| {
        let micros = percentile(&sorted, percent).as_secs_f64() * 1e6;
        format!("\"{percent}\": {micros:.1}")
    });
    format!("{{{}}}", each.join(", "))
}

/// `load ADDRESS RATE CONNECTIONS WARM_UP REQUESTS`, with the request on standard input.
fn main() {
    // Sleeps may otherwise last 50 µs longer. Threads inherit it.
    let _not_everywhere = fs::write("/proc/self/timerslack_ns", "1");
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut request = Vec::new();
    io::stdin().read_to_end(&mut request).unwrap();
    let plan = Plan {
        target: arguments[0].parse().unwrap(),
        request,
        rate: arguments[1].parse().unwrap(),
        connections: arguments[2].parse().unwrap(),
        warm_up: arguments[3].parse().unwrap(),
        requests: arguments[4].parse().unwrap(),
    };
    let took = plan.run().unwrap();
    println!(
        "{{\"requests\": {}, \"since_due\": {}, \"since_sent\": {}, \"own_delay\": {}}}",
        took.len(),
        distribution(&took, |one| one.since_due),
        distribution(&took, |one| one.since_sent),
        distribution(&took, |one| one.own_delay),
    );
}
