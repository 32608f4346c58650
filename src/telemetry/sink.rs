//! Lines on their way out of the process, without making whoever says them wait.
//!
//! 1. A line is put into memory, whole; a thread of its own writes many at once, in their order.
//! 2. A line is written within [`LINGER`] of being put, or when the sink is [flushed](Sink::flush).
//! 3. Memory is bounded: while the reader does not keep up and [`ROOM`] is used, further lines are lost,
//!    and counted. So are those that cannot be written.

use std::{
    fmt,
    io::{self, Write},
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::base::lifecycle::Lifecycle;

/// How long a line waits for others that can be written with it.
const LINGER: Duration = Duration::from_millis(100);
/// So many bytes are written at once without waiting for more.
const ENOUGH: usize = 64 * 1024;
/// How many bytes may wait before lines are lost: some seconds of a busy sidecar.
const ROOM: usize = 1024 * 1024;

/// Takes lines; see the [module docs](self). Its thread ends when it is dropped.
pub(super) struct Sink(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Told of the first line, of enough of them, and when there is no more time.
    lines: Condvar,
    /// Told when everything has been written.
    written: Condvar,
    lost: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    is_writing: bool,
    is_hurried: bool,
    is_over: bool,
}

// === impl Sink ===

impl Sink {
    /// Writes to `out`. Fails if there can be no thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            lines: Condvar::new(),
            written: Condvar::new(),
            lost: AtomicU64::new(0),
        });
        let writer = Arc::clone(&shared);
        drop(Lifecycle::spawn_thread("access-log", move || {
            writer.keep_writing(out);
        })?);
        Ok(Self(shared))
    }

    /// Has `line` append one whole line, if there is room for it.
    pub(super) fn put(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.state.lock();
        let before = state.waiting.len();
        if before >= ROOM {
            drop(state);
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        line(&mut state.waiting);
        let after = state.waiting.len();
        drop(state);
        if before == 0 || (before < ENOUGH && after >= ENOUGH) {
            self.0.lines.notify_one();
        }
    }

    /// Has everything written that was put so far, and waits for it, but no longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let mut state = self.0.state.lock();
        state.is_hurried = true;
        self.0.lines.notify_one();
        let unwritten = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        let written = &self.0.written;
        let _in_time = written.wait_while_for(&mut state, unwritten, limit);
        state.is_hurried = false;
    }

    /// How many lines were lost.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.state.lock().is_over = true;
        self.0.lines.notify_one();
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    fn keep_writing(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        while self.take(&mut batch) {
            if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
                let lines = memchr::memchr_iter(b'\n', &batch).count();
                self.lost.fetch_add(lines as u64, Ordering::Relaxed);
            }
            batch.clear();
            batch.shrink_to(ENOUGH);
        }
    }

    /// Exchanges what waits for the empty `batch`, when it is time to write. `false` at the end.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let mut state = self.state.lock();
        state.is_writing = false;
        if state.waiting.is_empty() {
            self.written.notify_all();
        }
        let nothing = |state: &mut State| state.waiting.is_empty() && !state.is_over;
        self.lines.wait_while(&mut state, nothing);
        let more_may_come =
            |state: &mut State| state.waiting.len() < ENOUGH && !state.is_hurried && !state.is_over;
        let _in_time = self.lines.wait_while_for(&mut state, more_may_come, LINGER);
        mem::swap(&mut state.waiting, batch);
        state.is_writing = !batch.is_empty();
        state.is_writing
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// How long these tests wait for what must happen.
    const LONG: Duration = Duration::from_secs(20);

    /// Passes on what is written, each time when it is let.
    struct Slow {
        let_go: mpsc::Receiver<()>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.let_go.recv().map_err(io::Error::other)?;
            self.written
                .send(bytes.to_vec())
                .map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A sink, what lets it write once, and what it wrote.
    fn slow() -> (Sink, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>) {
        let (go, let_go) = mpsc::channel();
        let (written, writes) = mpsc::channel();
        let sink = Sink::start(Slow { let_go, written }).unwrap();
        (sink, go, writes)
    }

    /// One that is always let.
    fn quick() -> (Sink, mpsc::Receiver<Vec<u8>>) {
        let (sink, go, writes) = slow();
        for _ in 0..1000 {
            go.send(()).unwrap();
        }
        (sink, writes)
    }

    fn put(sink: &Sink, line: &str) {
        sink.put(|to| to.extend_from_slice(line.as_bytes()));
    }

    #[test]
    fn a_line_is_written_without_anybody_asking() {
        let (sink, writes) = quick();
        put(&sink, "a\n");
        assert_eq!(writes.recv_timeout(LONG).unwrap(), b"a\n");
        put(&sink, "b\n");
        assert_eq!(writes.recv_timeout(LONG).unwrap(), b"b\n");
    }

    #[test]
    fn after_a_flush_every_line_is_written() {
        let (sink, writes) = quick();
        for round in 0..20 {
            for line in 0..50 {
                put(&sink, &format!("{round} {line}\n"));
            }
            sink.flush(LONG);
            let all = writes.try_iter().flatten().collect::<Vec<u8>>();
            let last = format!("{round} 49\n");
            assert!(String::from_utf8(all).unwrap().ends_with(&last), "{round}");
        }
        assert_eq!(sink.lost(), 0);
    }

    #[test]
    fn a_flush_does_not_wait_for_a_reader_that_is_stuck() {
        let (sink, _go, _writes) = slow();
        put(&sink, "a\n");
        sink.flush(Duration::from_millis(10));
    }

    #[test]
    fn what_does_not_fit_is_lost_and_counted_and_the_rest_is_whole() {
        let (sink, go, writes) = slow();
        let line = format!("{}\n", "x".repeat(1023));
        let lines = 3 * ROOM / line.len();
        for _ in 0..lines {
            put(&sink, &line);
        }
        assert!(sink.lost() > 0);
        for _ in 0..1000 {
            go.send(()).unwrap();
        }
        sink.flush(LONG);
        let all = writes.try_iter().flatten().collect::<Vec<u8>>();
        let text = String::from_utf8(all).unwrap();
        assert!(text.split_inclusive('\n').all(|read| read == line));
        let read = text.lines().count() as u64;
        assert_eq!(read + sink.lost(), lines as u64);
        put(&sink, &line);
        sink.flush(LONG);
        assert_eq!(writes.recv_timeout(LONG).unwrap(), line.as_bytes());
    }

    #[test]
    fn lines_of_many_threads_are_neither_torn_nor_lost() {
        let (sink, writes) = quick();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let sink = &sink;
                scope.spawn(move || {
                    for line in 0..2000 {
                        sink.put(|to| {
                            for part in ["thread ", &thread.to_string(), " line "] {
                                to.extend_from_slice(part.as_bytes());
                            }
                            to.extend_from_slice(format!("{line}\n").as_bytes());
                        });
                    }
                });
            }
        });
        sink.flush(LONG);
        let all = writes.try_iter().flatten().collect::<Vec<u8>>();
        let text = String::from_utf8(all).unwrap();
        for thread in 0..4 {
            let start = format!("thread {thread} line ");
            let lines = text.lines().filter_map(|line| line.strip_prefix(&start));
            let wanted = (0..2000).map(|line| line.to_string());
            assert!(lines.eq(wanted), "each thread's lines, in their order");
        }
        assert_eq!(text.lines().count(), 8000);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (sink, go, writes) = slow();
        drop((go, writes));
        put(&sink, "a\nb\n");
        sink.flush(LONG);
        assert_eq!(sink.lost(), 2);
    }
}
