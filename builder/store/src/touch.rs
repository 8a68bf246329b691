//! Which entries of a layer make, replace or hide a path, in whatever words.

use std::collections::BTreeSet;

use hone_image::untar::Kind;
use hone_image::whiteout::{Whiteout, whiteout};

/// The symbolic links of a layer so far: what is unpacked through one lands elsewhere than its path says.
#[derive(Debug, Default)]
pub(crate) struct Links(BTreeSet<String>);

impl Links {
    /// Takes note of an entry at this clean path.
    pub(crate) fn note(&mut self, path: &str, kind: Kind) {
        if kind == Kind::Symlink {
            self.0.insert(path.to_owned());
        }
    }

    /// Whether an entry at this clean path makes, replaces or hides what is at `wanted`. A directory above it does not;
    /// what goes through a link is believed to, where it is called as a part of `wanted` is.
    pub(crate) fn touches(&self, path: &str, kind: Kind, wanted: &str) -> bool {
        if kind == Kind::Global {
            return false;
        }
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let through = || path.match_indices('/').any(|(end, _)| self.0.contains(&path[..end]));
        let named = |name: &str| wanted.split('/').any(|part| part == name);
        match whiteout(name) {
            Ok(None) if kind == Kind::Directory => within(path, wanted) || wanted.ends_with(name) && through(),
            Ok(None) => within(path, wanted) || within(wanted, path) || named(name) && through(),
            Ok(Some(Whiteout::Name(hidden))) => {
                let hides = if dir.is_empty() { hidden.to_owned() } else { format!("{dir}/{hidden}") };
                within(wanted, &hides) || named(hidden) && through()
            }
            // A whiteout of nothing beside it may be the directory's own to another program.
            Ok(Some(Whiteout::Opaque)) | Err(_) => within(wanted, dir) || through(),
            Ok(Some(Whiteout::Aufs)) => false,
        }
    }
}

/// Whether `path` is `top`, or beneath it.
fn within(path: &str, top: &str) -> bool {
    let beneath = |rest: &str| rest.is_empty() || rest.starts_with('/');
    top.is_empty() || path.strip_prefix(top).is_some_and(beneath)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_replaces_or_hides_a_path_touches_it() {
        let mut links = Links::default();
        for link in ["x", "deep/y"] {
            links.note(link, Kind::Symlink);
        }
        let touches = |path, kind| links.touches(path, kind, "hone/job.json");
        for path in ["hone/job.json", "hone", "hone/job.json/below", "x/job.json", "x/hone", "deep/y/z/job.json"] {
            assert!(touches(path, Kind::File) && touches(path, Kind::Symlink), "{path}");
        }
        let hiding =
            [".wh.hone", ".wh..wh..opq", "hone/.wh.job.json", "hone/.wh..wh..opq", "hone/.wh..", "x/.wh.job.json"];
        for path in hiding {
            assert!(touches(path, Kind::File), "{path}");
        }
        for path in ["hone/job.json", "hone/job.json/below", "x/job.json"] {
            assert!(touches(path, Kind::Directory), "{path}");
        }
        for path in ["", "hone", "models", "hone/out"] {
            assert!(!touches(path, Kind::Directory), "{path}");
        }
        for path in ["job.json", "hone/job.json5", "hone/other", "hones", "a/hone/job.json", "x/lib", ".wh.models"] {
            assert!(!touches(path, Kind::File), "{path}");
        }
        for path in [".wh..wh.plnk", "hone/.wh..wh.aufs", "models/.wh..wh..opq", "hone/out/.wh..wh..opq"] {
            assert!(!touches(path, Kind::File), "{path}");
        }
        assert!(!touches("hone/job.json", Kind::Global));
    }
}
