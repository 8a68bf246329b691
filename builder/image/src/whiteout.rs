//! Whiteouts: names in a layer that hide what the layers below have (image-spec, layer.md, "Whiteouts").
//!
//! The one reading of such names. What stands behind `.wh.` must be the plain name of something beside it: `.wh...`
//! would hide the directory above, which may be outside the layer.

use hone_contract::quoted;

/// What begins the name of a file that hides another.
const PREFIX: &str = ".wh.";
/// What begins the names of aufs' own records, which meant something to aufs alone.
const META: &str = ".wh..wh.";
/// Hides everything that the layers below have in its directory.
const OPAQUE: &str = ".wh..wh..opq";

/// What a name in a layer says of the layers below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteout<'a> {
    /// Hides what is beside it under this name: a plain name, never `.` or `..`.
    Name(&'a str),
    /// Hides all that is in its directory.
    Opaque,
    /// A record of aufs (`.wh..wh.plnk`): neither a file nor a whiteout, to be passed over.
    Aufs,
}

/// A whiteout that names nothing that can be beside it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("whiteout {}: want the plain name of something beside it behind .wh.", quoted(.0))]
pub struct BadWhiteout(pub String);

/// Reads the last component of an entry's path; `None` when it is an ordinary name.
///
/// # Errors
/// When it hides what is not beside it.
pub fn whiteout(name: &str) -> Result<Option<Whiteout<'_>>, BadWhiteout> {
    let Some(hidden) = name.strip_prefix(PREFIX) else {
        return Ok(None);
    };
    match hidden {
        _ if name == OPAQUE => Ok(Some(Whiteout::Opaque)),
        _ if name.starts_with(META) => Ok(Some(Whiteout::Aufs)),
        "" | "." | ".." => Err(BadWhiteout(name.to_owned())),
        _ if hidden.contains(['/', '\0']) => Err(BadWhiteout(name.to_owned())),
        _ => Ok(Some(Whiteout::Name(hidden))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whiteout_hides_only_what_is_beside_it() {
        for name in [".wh.", ".wh..", ".wh...", ".wh.a/b", ".wh./", ".wh.../x", ".wh.a\0"] {
            assert_eq!(whiteout(name), Err(BadWhiteout(name.to_owned())));
        }
        // Odd, but plain names.
        for (name, hidden) in
            [(".wh.a", "a"), (".wh....", "..."), (".wh...a", "..a"), (".wh..a", ".a"), (".wh. ", " ")]
        {
            assert_eq!(whiteout(name), Ok(Some(Whiteout::Name(hidden))), "{name}");
        }
    }

    #[test]
    fn what_is_no_whiteout_and_what_is_opaque() {
        for name in ["a", "", "wh.a", ".wh", "a.wh.b", "..wh.a"] {
            assert_eq!(whiteout(name), Ok(None), "{name}");
        }
        assert_eq!(whiteout(".wh..wh..opq"), Ok(Some(Whiteout::Opaque)));
        for name in [".wh..wh.plnk", ".wh..wh.aufs", ".wh..wh.", ".wh..wh...", ".wh..wh..opq2"] {
            assert_eq!(whiteout(name), Ok(Some(Whiteout::Aufs)), "{name}");
        }
    }

    #[test]
    fn a_long_or_hostile_name_is_quoted() {
        let said = whiteout(&format!(".wh.\u{1b}[2J{}/", "x".repeat(1 << 20))).expect_err("refused").to_string();
        assert!(said.len() < 500 && !said.contains('\u{1b}'), "{said}");
    }
}
