//! `[meetings]`: what the background sync reads and keeps.

use super::section::Section;
use crate::meeting::Config;

pub(super) fn read(section: &Section<'_>) -> Option<Config> {
    let store = section.switch("store", "true");
    let sync_past = section.duration("sync_past", "30d");
    let sync_future = section.duration("sync_future", "365d");
    Some(Config {
        store: store?,
        sync_past: sync_past?,
        sync_future: sync_future?,
    })
}
