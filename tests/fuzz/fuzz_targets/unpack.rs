//! A layer onto the disk: nothing appears outside its directory. Needs root for owners and whiteouts; without, only
//! the way to the first of them is tried.
#![no_main]

use std::fs;
use std::io::{Read as _, Write as _};

use hone_contract::Digest;
use libfuzzer_sys::fuzz_target;

// `hone-run` is a program: its modules are compiled in here.
#[allow(dead_code, reason = "one function is called")]
#[path = "../../../shim/run/src/error.rs"]
mod error;
#[path = "../../../shim/run/src/unpack.rs"]
mod unpack;

fuzz_target!(|bytes: &[u8]| {
    let Ok(site) = tempfile::tempdir_in(if fs::exists("/dev/shm").unwrap_or(false) { "/dev/shm" } else { "/tmp" })
    else {
        return;
    };
    let (inside, secret) = (site.path().join("inside"), site.path().join("secret"));
    fs::create_dir(&inside).expect("directory");
    fs::File::create(&secret).and_then(|mut file| file.write_all(b"untouched")).expect("file");
    let result = unpack::unpack(bytes, Digest::of(bytes), &inside, &mut unpack::Allowance::of_image());
    if let Err(error) = result {
        assert!(!hone_contract::chain(&error).is_empty());
    }
    let mut text = String::new();
    fs::File::open(&secret).and_then(|mut file| file.read_to_string(&mut text)).expect("the file beside");
    assert_eq!(text, "untouched");
    assert_eq!(fs::read_dir(site.path()).expect("site").count(), 2, "something beside the directory");
});
