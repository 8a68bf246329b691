//! Where the store is: `--root`, HONE_ROOT, or the place that fits the user.

use std::path::PathBuf;

use hone_store::Store;

/// The store for root.
const SYSTEM: &str = "/var/lib/hone";

/// The store at `given`, or at the user's own place.
pub fn store(given: Option<PathBuf>) -> Store {
    Store::at(given.unwrap_or_else(default))
}

fn default() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from(SYSTEM);
    }
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    match (set("XDG_DATA_HOME"), set("HOME")) {
        (Some(data), _) => data.join("hone"),
        (None, Some(home)) => home.join(".local/share/hone"),
        (None, None) => PathBuf::from(SYSTEM),
    }
}
