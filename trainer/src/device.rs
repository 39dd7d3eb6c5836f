//! Which device a run computes on; a GPU belongs to one worker at a time.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use tch::Device;

use crate::journal::{Halt, Journal};

/// The libtorch that this program is built for.
pub(crate) const LIBTORCH: &str = "2.13.0";

/// Pause between looks at a GPU that another worker uses.
const PAUSE: Duration = Duration::from_secs(1);

/// A device, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// The device.
    pub(crate) device: Device,
    /// Locked, so that no other worker takes the GPU; the system unlocks it when the process ends, however it does.
    _lock: Option<File>,
}

/// The device that `word` names, once no other worker of this machine uses it.
///
/// # Errors
///
/// Says what to do when the word is unknown or the GPU is not there.
pub(crate) fn claim(word: &str, journal: &Journal) -> Result<Claimed, Halt> {
    let gpus =
        if tch::Cuda::is_available() { usize::try_from(tch::Cuda::device_count()).unwrap_or(0) } else { 0 };
    let Some(candidates) = candidates(word, gpus).map_err(Halt::Failed)? else {
        let why = if word == "auto" { "device auto: cpu, libtorch sees no GPU" } else { "device cpu" };
        journal.info(why);
        return Ok(Claimed { device: Device::Cpu, _lock: None });
    };
    let folder = std::env::temp_dir();
    let mut has_said = false;
    loop {
        journal.checkpoint()?;
        for &index in &candidates {
            match lock(&folder, index) {
                Ok(Some(lock)) => {
                    journal.info(format!("device {word}: cuda:{index} of {gpus}"));
                    return Ok(Claimed { device: Device::Cuda(index), _lock: Some(lock) });
                }
                Ok(None) => {}
                Err(problem) => return Err(Halt::Failed(problem)),
            }
        }
        if !has_said {
            journal.warn(format!("device {word}: waiting for a GPU, other workers of this machine use them"));
            has_said = true;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The GPUs that would do, of `gpus`; none where the word means the processor.
fn candidates(word: &str, gpus: usize) -> Result<Option<Vec<usize>>, String> {
    match word.split_once(':').unwrap_or((word, "")) {
        ("cpu", "") => Ok(None),
        ("auto", "") => Ok((gpus > 0).then(|| (0..gpus).collect())),
        ("cuda", index) => {
            let index: usize = if index.is_empty() { Ok(0) } else { index.parse() }
                .map_err(|_| format!("device `{word}` is not auto, cpu or cuda:N"))?;
            if index >= gpus {
                return Err(format!(
                    "device `{word}` is not there: libtorch sees {gpus} GPUs; use `cpu` or `auto`, or install the CUDA build"
                ));
            }
            Ok(Some(vec![index]))
        }
        _ => Err(format!("device `{word}` is not auto, cpu or cuda:N")),
    }
}

/// The lock of a GPU; none where another worker has it.
fn lock(folder: &Path, index: usize) -> Result<Option<File>, String> {
    let path = folder.join(format!("driftline-cuda-{index}.lock"));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| format!("the lock `{}`: {error}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(format!("the lock `{}`: {error}", path.display())),
    }
}

/// The word for `device` in the registry.
pub(crate) fn name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_belongs_to_one_worker() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path(), 0).unwrap().unwrap();
        assert!(lock(folder.path(), 0).unwrap().is_none());
        assert!(lock(folder.path(), 1).unwrap().is_some());
        drop(first);
        assert!(lock(folder.path(), 0).unwrap().is_some());
    }

    #[test]
    fn words_name_devices() {
        assert_eq!(candidates("auto", 0), Ok(None));
        assert_eq!(candidates("auto", 2), Ok(Some(vec![0, 1])));
        assert_eq!(candidates("cuda:1", 2), Ok(Some(vec![1])));
        assert_eq!(candidates("cpu", 2), Ok(None));
        for (word, expected) in
            [("cuda:2", "libtorch sees 2 GPUs"), ("cuda:x", "is not auto"), ("tpu", "is not auto")]
        {
            assert!(candidates(word, 2).unwrap_err().contains(expected), "{word}");
        }
    }
}
