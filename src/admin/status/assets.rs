//! The style sheet, the script and the icon: part of the binary, and the same for everybody.
//!
//! Their addresses hold their digest, so a browser keeps them for good, and takes new ones with a new
//! version.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sha2::{Digest, Sha256};

use crate::admin::Trouble;

/// A file.
pub(super) struct Asset {
    /// Its address.
    pub(super) place: String,
    kind: &'static str,
    content: &'static str,
}

/// What every page asks for.
pub(super) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let content = include_str!("assets/page.css");
    Asset::new("css", "text/css; charset=utf-8", content)
});
/// What keeps a page new.
pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let content = include_str!("assets/page.js");
    Asset::new("js", "text/javascript; charset=utf-8", content)
});
/// What a tab of the browser shows.
pub(super) static ICON: LazyLock<Asset> = LazyLock::new(|| {
    let content = include_str!("assets/icon.svg");
    Asset::new("svg", "image/svg+xml", content)
});

/// `GET /assets/{name}`
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let all: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    let place = format!("/assets/{name}");
    match all.into_iter().find(|asset| asset.place == place) {
        Some(asset) => {
            let headers = [
                (CONTENT_TYPE, asset.kind),
                (CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, asset.content).into_response()
        }
        None => Trouble::NotFound.into_response(),
    }
}

// === impl Asset ===

impl Asset {
    fn new(ending: &str, kind: &'static str, content: &'static str) -> Self {
        let digest = hex::encode(Sha256::digest(content));
        let digest = digest.get(..16).unwrap_or_default();
        Self {
            place: format!("/assets/{digest}.{ending}"),
            kind,
            content,
        }
    }
}
