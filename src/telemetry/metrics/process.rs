//! What Prometheus expects every process to tell of itself, and what there is once in a process: its log.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use crate::{base::clock::Timestamp, telemetry::access};

/// Asked at each scrape.
#[derive(Debug)]
pub(super) struct Process {
    started: Timestamp,
}

// === impl Process ===

impl Process {
    pub(super) const fn new(started: Timestamp) -> Self {
        Self { started }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let lost = encoder.encode_descriptor(
            "daypass_access_log_lost",
            "Lines of the access log that were lost because nobody read them in time",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(access::lost()).encode(lost)?;
        let start = encoder.encode_descriptor(
            "process_start_time",
            "When this process started, since the Unix epoch",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        ConstGauge::new(self.started.as_secs()).encode(start)?;
        let Some(bytes) = resident_bytes() else {
            return Ok(());
        };
        let memory = encoder.encode_descriptor(
            "process_resident_memory",
            "Memory in use",
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?;
        ConstGauge::new(bytes).encode(memory)
    }
}

/// From Linux's `/proc`; `None` elsewhere. In kB there, whatever the page size.
fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}
