//! The policies of all models: settings and key files into what the recorder applies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use uuid::Uuid;

use crate::config::{Privacy, Settings};
use crate::privacy::{Keys, Policies, Policy};

/// Reads the key files that the settings name, and makes the policy of every model.
///
/// # Errors
///
/// A key file that cannot be used, with its line; a policy without a key.
pub fn load_privacy(settings: &Settings) -> anyhow::Result<Policies> {
    let mut files: BTreeMap<&PathBuf, Keys> = BTreeMap::new();
    let own = settings.models.iter().filter_map(|model| model.privacy.as_ref());
    for path in own.chain([&settings.privacy]).filter_map(|privacy| privacy.key_file.as_ref()) {
        if !files.contains_key(path) {
            files.insert(path, read_keys(path)?);
        }
    }
    // For ids that must not be kept where there is no key: theirs lives as long as the process.
    let secret = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()].map(Uuid::into_bytes).concat();
    let policy = |own: &Privacy| {
        let path = own.key_file.as_ref().or(settings.privacy.key_file.as_ref());
        let keys = path.and_then(|path| files.get(path));
        Policy::new(&settings.privacy.rules_with(own), keys, &secret)
            .map_err(|problems| anyhow!("`privacy`: {}", problems.join("; ")))
    };
    let mut by_model = Vec::with_capacity(settings.models.len());
    for model in &settings.models {
        if let Some(own) = &model.privacy {
            by_model
                .push((model.name.clone(), policy(own).with_context(|| format!("model `{}`", model.name))?));
        }
    }
    Ok(Policies::new(by_model, policy(&Privacy::default())?))
}

fn read_keys(path: &Path) -> anyhow::Result<Keys> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "failed to read the keys `{shown}` (`privacy.key_file`); make one with `(umask 077; openssl rand -base64 32 > {shown})`"
        )
    })?;
    warn_if_readable(path);
    match Keys::parse(&text) {
        Ok(keys) => Ok(keys),
        Err(bad) => bail!("{shown}:{}: {}", bad.line, bad.problem),
    }
}

/// Whoever can read the keys can find out by trying whose hash a hash is.
#[cfg(unix)]
fn warn_if_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(
            file = %path.display(),
            mode = format!("{:o}", mode & 0o777),
            "others can read the keys of hashed fields; `chmod 600` keeps them out"
        );
    }
}

#[cfg(not(unix))]
fn warn_if_readable(_path: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelName;

    #[test]
    fn keys_are_read_once_and_problems_name_file_line_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let settings = |models: &str| {
            let text =
                format!("privacy: {{hash: [customer], key_file: '{}'}}\nmodels:\n{models}", path.display());
            Settings::parse(&text, "driftline.yaml").unwrap()
        };
        let settings = settings("  - name: m\n    privacy: {drop: [name]}\n  - name: other\n");
        let said = format!("{:#}", load_privacy(&settings).unwrap_err());
        assert!(said.contains("openssl rand") && said.contains("keys"), "{said}");
        std::fs::write(&path, "# ours\nshort\n").unwrap();
        let said = format!("{:#}", load_privacy(&settings).unwrap_err());
        assert!(said.contains("keys:2: a key has at least 16 bytes"), "{said}");
        std::fs::write(&path, "long enough to be a key\n").unwrap();
        let policies = load_privacy(&settings).unwrap();
        let of = |name: &str| policies.of(&ModelName::parse(name).unwrap());
        assert!(of("m").drops("name") && !of("other").drops("name"));
        assert!(
            of("m").hashes("customer") && of("other").hashes("customer") && of("unknown").hashes("customer")
        );
        let id = "ann";
        assert_eq!(of("m").id(id), id);
    }
}
