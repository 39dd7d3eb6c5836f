//! What a training is written down as in the middle, so that another process goes on to the same result.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, TchError, Tensor};

/// Key of the JSON document in the file's metadata.
const DOCUMENT_KEY: &str = "driftline_checkpoint";

/// Where a training stands, beside its tensors. Everything random is drawn from seed, epoch and step, so there is no
/// generator's state among it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Epochs done.
    pub(crate) epoch: usize,
    /// Steps done within the next one.
    pub(crate) step: usize,
    /// Steps done in all.
    pub(crate) updates: u64,
    /// Losses of the rows of this epoch times their weights.
    pub(crate) loss_sum: f64,
    /// Those weights.
    pub(crate) weight_sum: f64,
    /// Parts that a step is computed in.
    pub(crate) parts: usize,
    /// The learning rate, which falls when training diverges.
    pub(crate) rate: f64,
    /// How often it fell.
    pub(crate) restarts: u32,
    /// Factor of losses in half precision; 1 in single precision.
    pub(crate) loss_scale: f64,
    /// The best epoch and its loss on the validation part.
    pub(crate) best: Option<(usize, f64)>,
    /// Seconds trained.
    pub(crate) seconds: f64,
}

/// Where checkpoints are, and of what they have to be.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    /// The file.
    pub(crate) path: PathBuf,
    /// How long training goes on without one.
    pub(crate) every: Duration,
    /// Hash of everything that decides the result; a checkpoint of something else is not taken up.
    pub(crate) identity: String,
}

/// What the file's metadata hold.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<T> {
    identity: String,
    state: T,
}

/// What a checkpoint holds: where training was, and its tensors by name.
pub(crate) type Written = (State, HashMap<String, Tensor>);

impl Checkpoints {
    /// Another file of the same run, for something else than the final training.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }

    /// Writes `state` and `tensors`, whole or not at all.
    ///
    /// # Errors
    ///
    /// Names the file and says why.
    pub(crate) fn save(&self, state: &State, tensors: &[(&str, &Tensor)]) -> Result<(), String> {
        let fail = |problem: String| format!("the checkpoint `{}`: {problem}", self.path.display());
        let document = Document { identity: self.identity.clone(), state };
        let document = serde_json::to_string(&document).map_err(|error| fail(error.to_string()))?;
        let mut stored = Vec::with_capacity(tensors.len());
        for (name, tensor) in tensors {
            let data = bytes(tensor).map_err(|error| fail(error.to_string()))?;
            stored.push((*name, data));
        }
        let mut views = Vec::with_capacity(stored.len());
        for (name, data) in &stored {
            let view = TensorView::new(Dtype::F32, vec![data.len() / 4], data)
                .map_err(|error| fail(error.to_string()))?;
            views.push((*name, view));
        }
        let metadata = HashMap::from([(DOCUMENT_KEY.to_owned(), document)]);
        let content =
            safetensors::serialize(views, Some(metadata)).map_err(|error| fail(error.to_string()))?;
        write_atomically(&self.path, &content).map_err(|error| fail(error.to_string()))
    }

    /// The checkpoint, if there is one of this run.
    ///
    /// # Errors
    ///
    /// Says why the file is of no use; training then starts anew.
    pub(crate) fn load(&self) -> Result<Option<Written>, String> {
        let fail = |problem: String| format!("the checkpoint `{}`: {problem}", self.path.display());
        let content = match fs::read(&self.path) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error.to_string())),
        };
        let (_, metadata) = SafeTensors::read_metadata(&content).map_err(|error| fail(error.to_string()))?;
        let text = metadata
            .metadata()
            .as_ref()
            .and_then(|entries| entries.get(DOCUMENT_KEY))
            .ok_or_else(|| fail("it is not one of driftline's".to_owned()))?;
        let document: Document<State> =
            serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
        if document.identity != self.identity {
            return Err(fail("it is of other rows, another specification or another build".to_owned()));
        }
        let stored = SafeTensors::deserialize(&content).map_err(|error| fail(error.to_string()))?;
        let mut tensors = HashMap::new();
        for (name, view) in stored.tensors() {
            let numbers: Vec<f32> = view
                .data()
                .chunks_exact(4)
                .map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap_or_default()))
                .collect();
            let tensor = Tensor::f_from_slice(&numbers).map_err(|error| fail(error.to_string()))?;
            tensors.insert(name, tensor);
        }
        Ok(Some((document.state, tensors)))
    }

    /// Removes the file, which is of no more use.
    pub(crate) fn clear(&self) {
        // One that stays is not taken up by another run, as it has another folder.
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>, TchError> {
    let flat =
        tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view(-1)?;
    let numbers = Vec::<f32>::try_from(&flat)?;
    Ok(numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
}

/// Writes a file whole or not at all: to a neighbour first, which is removed when that fails.
///
/// # Errors
///
/// Those of the file system.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        // The first error says what is wrong.
        fs::remove_file(&temporary).unwrap_or_default();
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            epoch: 3,
            step: 7,
            updates: 97,
            loss_sum: 0.1 + 0.2,
            weight_sum: 1.0 / 3.0,
            parts: 2,
            rate: 1e-3,
            restarts: 1,
            loss_scale: 1.0,
            best: Some((2, 0.5)),
            seconds: 1.5,
        }
    }

    fn checkpoints(folder: &Path, identity: &str) -> Checkpoints {
        let path = folder.join("deep/run.checkpoint");
        Checkpoints { path, every: Duration::from_secs(1), identity: identity.to_owned() }
    }

    #[test]
    fn every_bit_comes_back_and_only_to_the_same_run() {
        let folder = tempfile::tempdir().unwrap();
        let ours = checkpoints(folder.path(), "a");
        assert!(ours.load().unwrap().is_none());
        let weights = Tensor::from_slice(&[0.1_f32, -2.0, f32::MIN_POSITIVE]);
        ours.save(&state(), &[("weights", &weights)]).unwrap();
        let (found, tensors) = ours.load().unwrap().unwrap();
        assert_eq!(found, state());
        assert!(tensors["weights"].equal(&weights));
        let problem = checkpoints(folder.path(), "b").load().unwrap_err();
        assert!(problem.contains("of other rows"), "{problem}");
        let content = fs::read(&ours.path).unwrap();
        fs::write(&ours.path, &content[..content.len() - 3]).unwrap();
        assert!(ours.load().unwrap_err().contains("run.checkpoint"));
        ours.clear();
        assert!(ours.load().unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("deep"), "a file where a folder should be").unwrap();
        let problem = checkpoints(folder.path(), "a").save(&state(), &[]).unwrap_err();
        assert!(problem.contains("run.checkpoint"), "{problem}");
        fs::create_dir(folder.path().join("taken")).unwrap();
        let full = folder.path().join("taken");
        assert!(write_atomically(&full, b"x").is_err(), "a folder is in the place of the file");
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}
