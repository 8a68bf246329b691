//! A tar: the job in it, the bounded walk over it, and what our own writer makes of the names and contents found.
#![no_main]

use std::io::Read as _;

use hone_image::tar::{Entry, TarWriter};
use hone_image::whiteout::{Whiteout, whiteout};
use hone_store::{job_layer, untar};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = job_layer::job_in(&mut &bytes[..]);
    let mut seen = Vec::new();
    let walked: std::io::Result<()> = untar::walk(&mut &bytes[..], 100, &mut |entry| {
        let mut content = Vec::new();
        entry.take(4096).read_to_end(&mut content)?;
        seen.push((String::from_utf8_lossy(&entry.path_bytes()).into_owned(), content));
        Ok(())
    });
    assert!(walked.is_err() || seen.len() <= 100);
    for (name, _) in &seen {
        let last = name.rsplit('/').next().unwrap_or_default();
        if let Ok(Some(Whiteout::Name(hidden))) = whiteout(last) {
            assert!(!["", ".", ".."].contains(&hidden) && !hidden.contains('/'), "{hidden}");
        }
    }
    round_trip(&seen);
});

/// What [`TarWriter`] accepts, crate `tar` reads back as it was.
fn round_trip(files: &[(String, Vec<u8>)]) {
    let mut writer = TarWriter::new(Vec::new());
    let mut written = Vec::new();
    for (n, (path, content)) in files.iter().enumerate() {
        // A refused entry is not written; the tar goes on behind it.
        let added = match n % 3 {
            0 => writer.add(path, Entry::Symlink("a/target")).map(|()| Vec::new()),
            _ => writer.file(path, n % 2 == 0, content.len() as u64, &mut &content[..]).map(|()| content.clone()),
        };
        written.extend(added.ok().map(|content| (path.clone(), content)));
    }
    let tar = writer.finish().expect("memory takes everything");
    let mut read = Vec::new();
    let walked: std::io::Result<()> = untar::walk(&mut &tar[..], written.len(), &mut |entry| {
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        read.push((String::from_utf8(entry.path_bytes().into_owned()).expect("UTF-8"), content));
        Ok(())
    });
    walked.expect("our own tar");
    assert_eq!(read, written);
}
