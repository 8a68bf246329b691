//! An OCI layout that somebody else made: index.json, indexes, manifests, configurations and layers, or what lies in their
//! places.
//!
//! Blobs are parted by bytes of zeros, the last part is index.json. In each, `@N` is the digest (hexadecimal) and `%N` the
//! size of blob N, so that documents which name each other stay so under mutation. A blob `fifo`, `dir` or `link` is that.
#![no_main]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hone_archive::layout::{Entry, Layout};
use hone_contract::{Digest, Reference};
use hone_store::{Budget, Store};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{CWD, Mode, mkfifoat};

/// Blobs that can be named by one digit.
const MOST: usize = 10;

fuzz_target!(|bytes: &[u8]| {
    let parts: Vec<&[u8]> = bytes.splitn(MOST + 1, |b| *b == 0).collect();
    let Some((index, blobs)) = parts.split_last() else { return };
    let memory = if fs::exists("/dev/shm").unwrap_or(false) { "/dev/shm" } else { "/tmp" };
    let Ok(site) = tempfile::tempdir_in(memory) else { return };
    let root = site.path().join("layout");
    fs::create_dir_all(root.join("blobs/sha256")).expect("directory");
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("file");
    let mut known = Vec::new();
    for blob in blobs {
        let content = filled_in(blob, &known);
        let digest = Digest::of(&content);
        place(&root.join("blobs/sha256").join(digest.hex()), &content);
        known.push((digest, content.len()));
    }
    place(&root.join("index.json"), &filled_in(index, &known));
    read(&Store::at(&root), &known);
    others(&root);
});

/// What is read of a layout that is no store of ours: each line of its index is an image, something else, or said.
fn others(root: &Path) {
    let layout = match Layout::at(root) {
        Ok(layout) => layout,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(!layout.names().is_empty());
    for entry in layout.chosen(None).expect("all of it") {
        match entry {
            Entry::Image(_, pack) => assert!(!pack.images().is_empty()),
            Entry::Other(_, what) => assert!(!what.is_empty()),
            Entry::Unread(_, error) => assert!(!error.to_string().is_empty()),
        }
    }
    let _ = (layout.chosen(Some("b")), layout.named("a:b"));
}

/// The text with the digests and sizes of the blobs before it.
fn filled_in(text: &[u8], known: &[(Digest, usize)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64 * MOST);
    let mut rest = text.iter().peekable();
    while let Some(byte) = rest.next() {
        let named = rest.peek().and_then(|n| known.get(usize::from(n.wrapping_sub(b'0'))));
        match (byte, named) {
            (b'@', Some((digest, _))) => out.extend(digest.hex().bytes()),
            (b'%', Some((_, size))) => out.extend(size.to_string().bytes()),
            _ => {
                out.push(*byte);
                continue;
            }
        }
        rest.next();
    }
    out
}

fn place(path: &Path, content: &[u8]) {
    // Two blobs may be the same; what is there stays.
    let _ = match content {
        b"fifo" => mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).map_err(Into::into),
        b"dir" => fs::create_dir(path),
        b"link" => symlink("/dev/zero", path),
        _ => fs::write(path, content),
    };
}

/// Everything that a verb asks a layout.
fn read(store: &Store, known: &[(Digest, usize)]) {
    if let Ok(names) = store.references() {
        for reference in names.keys() {
            assert_eq!(&reference.to_string().parse::<Reference>().expect("as written"), reference);
            let _ = store.image(reference);
        }
    }
    let _ = (store.only(None), store.only(Some("b")), store.only_image(), store.resolve("a:b"));
    for (digest, size) in known {
        let _ = store.referrers(*digest);
        if let Ok(pack) = store.pack(*digest) {
            assert_eq!(pack.digest(), *digest);
        }
        if let Ok(image) = store.image_by_digest(*digest) {
            let _ = (store.job_of(&image), image.size());
            let budget = Budget::of_image(&image);
            for layer in image.layers().iter().take(MOST) {
                if let Ok(mut reader) = store.open_layer(layer, &budget) {
                    let _ = std::io::copy(&mut reader, &mut std::io::sink());
                }
            }
        }
        if let Ok(mut blob) = store.open_blob(*digest, *size as u64) {
            let _ = std::io::copy(&mut blob, &mut std::io::sink());
        }
    }
}
