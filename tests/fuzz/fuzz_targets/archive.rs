//! A docker or OCI archive: every blob that it is said to have lies within it, and is as long as promised.
#![no_main]

use std::fs::File;
use std::io::{Read as _, Write as _};

use hone_archive::Archive;
use libfuzzer_sys::fuzz_target;
use rustix::fs::MemfdFlags;

fuzz_target!(|bytes: &[u8]| {
    let memory = rustix::fs::memfd_create("archive", MemfdFlags::CLOEXEC).expect("memory");
    let mut file = File::from(memory);
    file.write_all(bytes).expect("memory");
    let archive = match Archive::open(file) {
        Ok(archive) => archive,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for layer in archive.packs().iter().flat_map(|pack| pack.pack.layers()) {
        let mut section = archive.open_blob(layer.digest).expect("a layer that is there");
        assert_eq!(section.size(), layer.size);
        let mut content = Vec::new();
        section.read_to_end(&mut content).expect("within the archive");
        assert_eq!(content.len() as u64, layer.size);
    }
});
