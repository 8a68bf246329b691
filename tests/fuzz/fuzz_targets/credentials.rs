//! Files of credentials as docker's and podman's `login` write them, or anybody.
#![no_main]

use std::io::Write as _;
use std::path::PathBuf;

use credentials::{Credential, auth_files, find};
use libfuzzer_sys::fuzz_target;

// Not public: its module is compiled in here.
#[path = "../../../builder/registry/src/credentials.rs"]
mod credentials;

mod error {
    /// What that module needs of the crate's own.
    #[derive(Debug, thiserror::Error)]
    pub enum Error {
        #[error("read credentials for {host} from {file}")]
        Credentials {
            host: String,
            file: String,
            #[source]
            source: Box<dyn std::error::Error + Send + Sync>,
        },
    }
}

fuzz_target!(|bytes: &[u8]| {
    // Helpers are programs: none is started here.
    let names = |word: &[u8]| bytes.windows(word.len()).any(|at| at.eq_ignore_ascii_case(word));
    if names(b"cred") || names(b"\\u") {
        return;
    }
    let memory = if std::fs::exists("/dev/shm").unwrap_or(false) { "/dev/shm" } else { "/tmp" };
    let Ok(mut file) = tempfile::NamedTempFile::new_in(memory) else { return };
    file.write_all(bytes).expect("file");
    let files: Vec<PathBuf> = vec![file.path().to_owned()];
    for (domain, path) in [("docker.io", "library/a"), ("r.example", "org/team/a"), ("r.example:5000", "a")] {
        match find(&files, domain, path) {
            Ok(Some(Credential::Password { user, password })) => assert!(user.len() + password.len() <= bytes.len()),
            Ok(Some(Credential::Identity(token))) => assert!(token.len() <= bytes.len()),
            Ok(None) => {}
            Err(error) => assert!(error.to_string().contains(domain)),
        }
    }
    let text = std::str::from_utf8(bytes).ok();
    let _ = auth_files(&|_| text.map(Into::into));
});
