//! Who the container's process is: an image's `USER`, looked up in the image's own /etc/passwd and /etc/group.

use std::path::Path;

use hone_sys::read_in_root;

use crate::error::RunError;

/// /etc/passwd and /etc/group of an image are small; more than this is refused (bytes).
const MAX: u64 = 1 << 20;

/// Numeric ids of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// Resolves `text` (`USER`, `USER:GROUP`, names or numbers; empty is root) in the root file system `root`.
pub(crate) fn resolve(root: &Path, text: &str) -> Result<User, RunError> {
    let read = |path: &str| {
        let path = Path::new(path);
        let bytes = read_in_root(root, path, MAX);
        let bytes = bytes.map_err(|source| RunError::Rooted { path: path.to_owned(), source })?;
        Ok::<_, RunError>(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    find(text, &read("etc/passwd")?, &read("etc/group")?)
}

fn find(text: &str, passwd: &str, group: &str) -> Result<User, RunError> {
    let failed = |why| RunError::User { user: text.to_owned(), why };
    let (user, wanted) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok();
    let line = passwd.lines().map(fields).find(|f| match number {
        Some(uid) => id(f, 2) == Some(uid),
        None => f[0] == user,
    });
    let (name, uid, gid) = match (line, number) {
        (Some(line), _) => {
            let ids = id(&line, 2).zip(id(&line, 3)).ok_or_else(|| failed("its line in /etc/passwd has no ids"))?;
            (line[0].to_owned(), ids.0, ids.1)
        }
        (None, Some(uid)) => (String::new(), uid, 0),
        (None, None) => return Err(failed("not in the image's /etc/passwd")),
    };
    match wanted {
        // A group that the caller names is the only one, as in docker.
        Some(wanted) => {
            let named = || group.lines().map(fields).find(|f| f[0] == wanted).and_then(|f| id(&f, 2));
            let gid =
                wanted.parse().ok().or_else(named).ok_or_else(|| failed("group not in the image's /etc/group"))?;
            Ok(User { uid, gid, groups: Vec::new() })
        }
        None => Ok(User { uid, gid, groups: groups(&name, group) }),
    }
}

fn groups(name: &str, group: &str) -> Vec<u32> {
    let has =
        |f: &Vec<&str>| !name.is_empty() && f.get(3).is_some_and(|members| members.split(',').any(|m| m == name));
    group.lines().map(fields).filter(has).filter_map(|f| id(&f, 2)).collect()
}

fn fields(line: &str) -> Vec<&str> {
    line.split(':').collect()
}

fn id(fields: &[&str], n: usize) -> Option<u32> {
    fields.get(n)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nalice:x:1000:100::/:/bin/sh\nbroken:x\n";
    const GROUP: &str = "users:x:100:\nvideo:x:44:bob,alice\naudio:x:29:alicia\n";

    fn ids(text: &str) -> Option<(u32, u32, Vec<u32>)> {
        find(text, PASSWD, GROUP).ok().map(|user| (user.uid, user.gid, user.groups))
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        for (text, want) in [
            ("", (0, 0, vec![])),
            ("alice", (1000, 100, vec![44])),
            ("1000", (1000, 100, vec![44])),
            ("65532", (65532, 0, vec![])),
            ("65532:65532", (65532, 65532, vec![])),
            ("alice:video", (1000, 44, vec![])),
        ] {
            assert_eq!(ids(text), Some(want), "{text}");
        }
        for text in ["nobody", "alice:nothing", "broken"] {
            assert_eq!(ids(text), None, "{text}");
        }
    }
}
