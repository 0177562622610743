//! `[api]`: the product's interface for programs of its operator.

use relay_settings::{path, settings};
use std::path::PathBuf;

settings! {
    /// `[api]`
    pub struct Api in "api" {
        /// The key of /api/v1 ("Authorization: Bearer KEY"): at least 32 bytes; a line break at its end does
        /// not count. A renewed one is taken within seconds. Without a key only programs and browsers of this
        /// machine may use it, at http://localhost, through no proxy.
        key: Option<PathBuf> = (None, "/etc/ringvox/api.key"), path("a file with the key").map(Some);
    }
}
