//! How much of the machine a training uses: processor and memory of this process, and the GPU where there is one.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use tch::Device;

use crate::journal::Journal;

/// Ticks of a second in `/proc`, on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// How often the GPU is asked at most: each time starts a program.
const GPU_PAUSE: Duration = Duration::from_secs(10);

/// Measures between two samples.
#[derive(Debug)]
pub(crate) struct Usage {
    last: (Instant, Option<f64>),
    gpu: Option<usize>,
    gpu_asked: Option<Instant>,
}

impl Usage {
    /// Begins to measure.
    pub(crate) fn new(device: Device) -> Self {
        let gpu = match device {
            Device::Cuda(index) => Some(index),
            _ => None,
        };
        Self { last: (Instant::now(), processor_seconds()), gpu, gpu_asked: None }
    }

    /// Processors used since the last sample (1 is one whole one), memory, and what the GPU's driver says.
    pub(crate) fn sample(&mut self, journal: &Journal) -> Vec<(&'static str, f64)> {
        let mut samples = Vec::new();
        let now = (Instant::now(), processor_seconds());
        if let (Some(before), Some(after)) = (self.last.1, now.1) {
            let elapsed = now.0.duration_since(self.last.0).as_secs_f64();
            if elapsed > 0.0 {
                samples.push(("processors", (after - before) / elapsed));
            }
        }
        self.last = now;
        samples.extend(memory_bytes().map(|bytes| ("memory_bytes", bytes)));
        if let Some(index) = self.gpu
            && self.gpu_asked.is_none_or(|asked| asked.elapsed() >= GPU_PAUSE)
        {
            self.gpu_asked = Some(Instant::now());
            if let Some((busy, bytes)) = gpu(index) {
                samples.extend([("gpu_share", busy), ("gpu_memory_bytes", bytes)]);
            } else {
                journal.warn("nvidia-smi does not answer: there are no metrics of the GPU");
                self.gpu = None;
            }
        }
        samples
    }
}

/// Seconds of processors that this process has used.
pub(crate) fn processor_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program may hold spaces; it ends at the last bracket.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn memory_bytes() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes: f64 =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0)
}

/// Share of time in which the GPU was busy, and bytes of its memory in use.
fn gpu(index: usize) -> Option<(f64, f64)> {
    let out = Command::new("nvidia-smi")
        .args(["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-i"])
        .arg(index.to_string())
        .output()
        .ok()
        .filter(|out| out.status.success())?;
    read_gpu(&String::from_utf8_lossy(&out.stdout))
}

/// Reads `37, 1024`: percent and mebibytes.
fn read_gpu(text: &str) -> Option<(f64, f64)> {
    let (busy, memory) = text.trim().split_once(',')?;
    let busy: f64 = busy.trim().parse().ok()?;
    let memory: f64 = memory.trim().parse().ok()?;
    Some((busy / 100.0, memory * 1_048_576.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Stop;

    #[test]
    fn a_busy_process_is_seen() {
        let (journal, _events) = Journal::new(Stop::default());
        let mut usage = Usage::new(Device::Cpu);
        let started = Instant::now();
        let mut sum = 0_u64;
        while started.elapsed() < Duration::from_millis(300) {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        let samples = usage.sample(&journal);
        assert!(
            samples.iter().any(|(name, value)| *name == "processors" && *value > 0.0),
            "{samples:?} {sum}"
        );
        assert!(samples.iter().any(|(name, value)| *name == "memory_bytes" && *value > 1e6), "{samples:?}");
    }

    #[test]
    fn the_driver_answers_in_percent_and_mebibytes() {
        assert_eq!(read_gpu("37, 1024\n"), Some((0.37, 1_073_741_824.0)));
        assert_eq!(read_gpu("[N/A], 3\n"), None);
    }
}
