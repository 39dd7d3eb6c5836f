//! Where files of captured rows are: a folder, or a bucket of S3, Google Cloud Storage or Azure.

use std::collections::HashMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig};
use sha2::{Digest, Sha256};

use super::CaptureError;
use crate::model::ModelName;
use crate::retrain::artifact::hex;
use crate::store::capture::SegmentKind;

/// How long a request to a store is tried again; what fails then is tried again by whoever asked.
const RETRY: Duration = Duration::from_secs(20);

/// The kinds of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// A folder.
    File,
    /// Amazon S3, or a server that speaks like it.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
}

impl Scheme {
    const ALL: [(Self, &'static str); 4] =
        [(Self::File, "file://"), (Self::S3, "s3://"), (Self::Gs, "gs://"), (Self::Az, "az://")];
}

/// Scheme, bucket and the rest of a URL.
fn split(url: &str) -> Result<(Scheme, &str, &str), CaptureError> {
    let refuse =
        |problem: &str| CaptureError::Place { url: without_secrets(url), problem: problem.to_owned() };
    let (scheme, rest) = Scheme::ALL
        .iter()
        .find_map(|(scheme, start)| Some((*scheme, url.strip_prefix(start)?)))
        .ok_or_else(|| refuse("it starts with none of `file://`, `s3://`, `gs://`, `az://`"))?;
    if scheme == Scheme::File {
        return if rest.starts_with('/') {
            Ok((scheme, "", rest))
        } else {
            Err(refuse("a folder has three slashes: `file:///…`"))
        };
    }
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains('@') {
        return Err(refuse("credentials do not belong there; they come from the environment or from files"));
    }
    if bucket.is_empty() || rest.contains(['?', '#']) {
        return Err(refuse("expected a bucket and a path, like `s3://bucket/path`"));
    }
    Ok((scheme, bucket, key))
}

/// A URL that may be shown: what stands before an `@`, or behind a `?`, is nobody's business.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.to_owned(),
    }
}

/// Checks that `url` can name a place; nothing is asked of the store.
///
/// # Errors
///
/// [`CaptureError::Place`] says what is wrong.
pub fn check_url(url: &str) -> Result<Scheme, CaptureError> {
    split(url).map(|(scheme, ..)| scheme)
}

/// The stores that were opened, by scheme and bucket.
#[derive(Debug, Clone, Default)]
struct Stores(Arc<Mutex<ByBucket>>);

type ByBucket = HashMap<(Scheme, String), Arc<dyn ObjectStore>>;

impl Stores {
    fn open(&self, url: &str) -> Result<(Arc<dyn ObjectStore>, Path), CaptureError> {
        let (scheme, bucket, key) = split(url)?;
        let refuse = |error: object_store::Error| CaptureError::Place {
            url: without_secrets(url),
            problem: error.to_string(),
        };
        let path = match scheme {
            Scheme::File => Path::from_absolute_path(key).map_err(|error| refuse(error.into()))?,
            _ => Path::parse(key).map_err(|error| refuse(error.into()))?,
        };
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&(scheme, bucket.to_owned())) {
            return Ok((Arc::clone(store), path));
        }
        let retry = RetryConfig { max_retries: 5, retry_timeout: RETRY, ..RetryConfig::default() };
        if scheme != Scheme::File {
            // Whoever was first has chosen the same.
            rustls::crypto::ring::default_provider().install_default().ok();
        }
        let store: Arc<dyn ObjectStore> = match scheme {
            Scheme::File => Arc::new(LocalFileSystem::new().with_fsync(true)),
            Scheme::S3 => Arc::new(
                AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retry)
                    .build()
                    .map_err(refuse)?,
            ),
            Scheme::Gs => Arc::new(
                GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retry)
                    .build()
                    .map_err(refuse)?,
            ),
            Scheme::Az => Arc::new(
                MicrosoftAzureBuilder::from_env()
                    .with_container_name(bucket)
                    .with_retry(retry)
                    .build()
                    .map_err(refuse)?,
            ),
        };
        stores.insert((scheme, bucket.to_owned()), Arc::clone(&store));
        Ok((store, path))
    }
}

/// Where files of captured rows are written. Files are read wherever they are listed to be.
#[derive(Debug, Clone)]
pub struct Place {
    url: String,
    stores: Stores,
}

/// An object of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) uri: String,
    pub(super) bytes: u64,
    pub(super) written: DateTime<Utc>,
}

impl Place {
    /// The place that `url` names; nothing is asked of it yet.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Place`] when it names none, or credentials cannot be read.
    pub fn open(url: &str) -> Result<Self, CaptureError> {
        let place = Self { url: url.trim_end_matches('/').to_owned(), stores: Stores::default() };
        place.stores.open(&place.url)?;
        Ok(place)
    }

    /// The place of a folder, which need not exist yet.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Place`] when the folder has no path.
    pub fn folder(folder: &FilePath) -> Result<Self, CaptureError> {
        let path: PathBuf = std::path::absolute(folder).map_err(|error| CaptureError::Place {
            url: folder.display().to_string(),
            problem: error.to_string(),
        })?;
        Self::open(&format!("file://{}", path.display()))
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder of a model's files of one kind.
    fn of_model(&self, model: &ModelName, kind: SegmentKind) -> String {
        format!("{}/{model}/{}", self.url, kind.as_str())
    }

    /// Writes a file under the name of its content; returns hash and URI. Writing it again changes nothing.
    pub(super) async fn put(
        &self,
        model: &ModelName,
        kind: SegmentKind,
        bytes: Vec<u8>,
    ) -> Result<(String, String), CaptureError> {
        let hash = hex(&Sha256::digest(&bytes));
        let uri = format!("{}/{hash}.parquet", self.of_model(model, kind));
        let (store, path) = self.stores.open(&uri)?;
        let failed = |source| CaptureError::Store { uri: uri.clone(), what: "written", source };
        store.put(&path, bytes.into()).await.map_err(failed)?;
        Ok((hash, uri))
    }

    /// Reads the file that is listed at `uri`, and checks that its content is what it is named after.
    pub(super) async fn get(&self, uri: &str, hash: &str) -> Result<Vec<u8>, CaptureError> {
        let (store, path) = self.stores.open(uri)?;
        let failed = |source| match source {
            object_store::Error::NotFound { .. } => CaptureError::Gone(uri.to_owned()),
            source => CaptureError::Store { uri: uri.to_owned(), what: "read", source },
        };
        let bytes = store.get(&path).await.map_err(failed)?.bytes().await.map_err(failed)?;
        let found = hex(&Sha256::digest(&bytes));
        if found != hash {
            return Err(CaptureError::Changed { uri: uri.to_owned(), found });
        }
        Ok(bytes.into())
    }

    /// Deletes the file at `uri`; that it is gone already is as good.
    pub(super) async fn delete(&self, uri: &str) -> Result<(), CaptureError> {
        let (store, path) = self.stores.open(uri)?;
        match store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(CaptureError::Store { uri: uri.to_owned(), what: "deleted", source }),
        }
    }

    /// The files of `model` that are there, listed or not.
    pub(super) async fn objects(&self, model: &ModelName) -> Result<Vec<Object>, CaptureError> {
        let mut found = Vec::new();
        for kind in [SegmentKind::Rows, SegmentKind::Labels] {
            let folder = self.of_model(model, kind);
            let (store, path) = self.stores.open(&folder)?;
            let failed = |source| CaptureError::Store { uri: folder.clone(), what: "listed", source };
            let listed: Vec<_> = store.list(Some(&path)).try_collect().await.map_err(failed)?;
            found.extend(listed.into_iter().filter_map(|object| {
                let name = object.location.filename()?;
                let uri = format!("{folder}/{name}");
                Some(Object { uri, bytes: object.size, written: object.last_modified })
            }));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked() {
        for (url, expected) in [
            ("file:///var/lib/driftline", Some(Scheme::File)),
            ("s3://bucket", Some(Scheme::S3)),
            ("s3://bucket/a/b", Some(Scheme::S3)),
            ("gs://bucket/a", Some(Scheme::Gs)),
            ("az://container/a", Some(Scheme::Az)),
            ("file://relative", None),
            ("/a/folder", None),
            ("http://host/a", None),
            ("s3://", None),
            ("s3:///a", None),
            ("s3://key:secret@bucket/a", None),
            ("s3://bucket/a?token=secret", None),
        ] {
            assert_eq!(check_url(url).ok(), expected, "{url}");
            let said = check_url(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
