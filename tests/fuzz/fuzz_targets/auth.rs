//! Files of credentials, as docker, podman and others write them; the helpers that they name are not started.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (domain, path) in [("docker.io", "library/a"), ("r.example", "org/team/a"), ("127.0.0.1:5000", "a")] {
        if let Err(why) = hone_registry::stores_credential(bytes, domain, path) {
            assert!(!why.contains(char::is_control) && why.len() < 4096, "{why:?}");
        }
    }
});
