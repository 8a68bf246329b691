//! A tar: the job in it, the bounded walk over it, and what our own writer makes of the names and contents found.
#![no_main]

use std::io::Read as _;

use hone_image::tar::{Entry, TarWriter};
use hone_image::untar::{self, Kind};
use hone_image::whiteout::{Whiteout, whiteout};
use hone_store::job_layer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = job_layer::job_in(&mut &bytes[..]);
    let mut seen = Vec::new();
    let walked: std::io::Result<()> = untar::walk(&mut &bytes[..], 100, &mut |entry| {
        let mut content = Vec::new();
        entry.take(4096).read_to_end(&mut content)?;
        seen.push((String::from_utf8_lossy(entry.path()).into_owned(), content));
        Ok(())
    });
    assert!(walked.is_err() || seen.len() <= 100);
    placed(bytes, walked.is_ok(), seen.len());
    for (name, _) in &seen {
        let last = name.rsplit('/').next().unwrap_or_default();
        if let Ok(Some(Whiteout::Name(hidden))) = whiteout(last) {
            assert!(!["", ".", ".."].contains(&hidden) && !hidden.contains('/'), "{hidden}");
        }
    }
    round_trip(&seen);
});

/// The same entries where they lie: no reader is less careful than the other.
fn placed(bytes: &[u8], fine: bool, entries: usize) {
    let mut count = 0;
    let placed: std::io::Result<()> = untar::places(&mut std::io::Cursor::new(bytes), 100, &mut |entry| {
        count += 1;
        let (at, size) = (entry.position() as usize, entry.size() as usize);
        assert!(entry.kind() == Kind::Sparse || at + size <= bytes.len(), "beyond the end");
        Ok(())
    });
    assert_eq!(placed.is_ok(), fine);
    assert!(!fine || count == entries);
}

/// What [`TarWriter`] accepts is read back as it was.
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
        read.push((String::from_utf8(entry.path().to_vec()).expect("UTF-8"), content));
        Ok(())
    });
    walked.expect("our own tar");
    assert_eq!(read, written);
}
