//! The files beside the documents, embedded in the program and named by their content.

use std::sync::OnceLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::http::ApiError;
use crate::retrain::artifact::hex;

/// What browsers may keep for ever, as another content has another name.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

struct Asset {
    stem: &'static str,
    ending: &'static str,
    kind: &'static str,
    content: &'static str,
}

const STYLE: Asset = Asset {
    stem: "page",
    ending: "css",
    kind: "text/css; charset=utf-8",
    content: include_str!("../../../dashboards/ui/page.css"),
};
const SCRIPT: Asset = Asset {
    stem: "page",
    ending: "js",
    kind: "text/javascript; charset=utf-8",
    content: include_str!("../../../dashboards/ui/page.js"),
};
const ICON: Asset = Asset {
    stem: "icon",
    ending: "svg",
    kind: "image/svg+xml",
    content: include_str!("../../../dashboards/ui/icon.svg"),
};

impl Asset {
    fn name(&self) -> String {
        let hash = Sha256::digest(self.content.as_bytes());
        format!("{}-{}.{}", self.stem, hex(&hash[..6]), self.ending)
    }

    fn address(&self) -> String {
        format!("/assets/{}", self.name())
    }
}

/// Address of the style.
pub(in crate::http) fn style() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| STYLE.address())
}

/// Address of the script.
pub(super) fn script() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| SCRIPT.address())
}

/// Address of the icon.
pub(super) fn icon() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| ICON.address())
}

/// Gives one of the files.
pub(super) async fn file(Path(name): Path<String>) -> Result<Response, ApiError> {
    let asset = [STYLE, SCRIPT, ICON].into_iter().find(|asset| asset.name() == name);
    let asset = asset.ok_or_else(|| ApiError::NotFound(format!("the file `{name}`")))?;
    let headers = [(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, FOR_EVER)];
    Ok((headers, asset.content).into_response())
}
