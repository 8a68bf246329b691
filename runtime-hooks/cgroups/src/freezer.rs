//! The freezer: stops every process of a cgroup where it stands, and lets them go on.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::CgroupError;
use crate::tree::write;

/// How long a freezer may take to come to rest.
const FREEZE_SECONDS: u64 = 10;
/// Pause between two looks.
const TICK: Duration = Duration::from_millis(10);

/// The freezer of one cgroup.
pub(crate) struct Freezer {
    file: PathBuf,
    events: PathBuf,
    v2: bool,
}

impl Freezer {
    pub(crate) fn v1(dir: &Path) -> Self {
        let file = dir.join("freezer.state");
        Self { events: file.clone(), file, v2: false }
    }

    pub(crate) fn v2(dir: &Path) -> Self {
        Self { file: dir.join("cgroup.freeze"), events: dir.join("cgroup.events"), v2: true }
    }

    pub(crate) fn is_frozen(&self) -> Result<bool, CgroupError> {
        match std::fs::read_to_string(&self.events) {
            Ok(text) if self.v2 => Ok(text.lines().any(|line| line == "frozen 1")),
            Ok(text) => Ok(text.trim() != "THAWED"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(CgroupError::Read { path: self.events.clone(), source }),
        }
    }

    fn settled(&self, frozen: bool) -> Result<bool, CgroupError> {
        if self.v2 {
            return Ok(self.is_frozen()? == frozen);
        }
        let text = std::fs::read_to_string(&self.file)
            .map_err(|source| CgroupError::Read { path: self.file.clone(), source })?;
        Ok(text.trim() == if frozen { "FROZEN" } else { "THAWED" })
    }

    /// v1 may stay FREEZING while a process is being born: writing again lets it finish.
    pub(crate) fn set(&self, frozen: bool) -> Result<(), CgroupError> {
        let value = match (self.v2, frozen) {
            (true, _) => {
                if frozen {
                    "1"
                } else {
                    "0"
                }
            }
            (false, true) => "FROZEN",
            (false, false) => "THAWED",
        };
        let end = Instant::now() + Duration::from_secs(FREEZE_SECONDS);
        loop {
            match write(&self.file, value) {
                Err(CgroupError::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other?,
            }
            if self.settled(frozen)? {
                return Ok(());
            }
            if Instant::now() > end {
                let got = std::fs::read_to_string(&self.events).unwrap_or_default().trim().to_owned();
                return Err(CgroupError::FreezeTimeout { path: self.events.clone(), got, seconds: FREEZE_SECONDS });
            }
            std::thread::sleep(TICK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_the_kernel_writes_them() {
        let dir = tempfile::tempdir().expect("tempdir");
        let put = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).expect("write");
        assert!(!Freezer::v1(dir.path()).is_frozen().expect("no file"));
        put("freezer.state", "FREEZING\n");
        assert!(Freezer::v1(dir.path()).is_frozen().expect("v1"));
        put("freezer.state", "THAWED\n");
        assert!(!Freezer::v1(dir.path()).is_frozen().expect("v1"));
        put("cgroup.events", "populated 1\nfrozen 1\n");
        assert!(Freezer::v2(dir.path()).is_frozen().expect("v2"));
    }
}
