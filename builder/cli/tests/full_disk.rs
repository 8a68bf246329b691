//! A full disk, on a small file system of its own: one clear error, and the store as it was.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use common::gguf::Gguf;
use common::{Site, exited};

/// A tmpfs of so many kilobytes at the site's `root`, unmounted in the end.
struct Small(PathBuf);

impl Small {
    fn mount(site: &Site, kilobytes: u32) -> Self {
        let root = site.root();
        fs::create_dir_all(&root).expect("root");
        let size = format!("size={kilobytes}k");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&root).status();
        assert!(mount.expect("mount").success(), "this test needs root, to mount a tmpfs");
        Self(root)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn root_a_full_disk_during_build_leaves_the_store_as_it_was() {
    let site = Site::new();
    let _small = Small::mount(&site, 256);
    site.write("tiny.gguf", Gguf::llama(16, 16).bytes());
    site.write("Honefile", "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: tiny.gguf}\ntrainer: none\n");
    site.ok(&["build", "-t", "tiny:base"]);
    let (names, blobs) = (site.json(&["images", "--json"]), site.files("blobs/sha256"));
    site.write("tiny.gguf", Gguf::llama(16, 4096).bytes());
    for tag in ["tiny:base", "tiny:other"] {
        let said = site.fails(&["build", "-t", tag]);
        assert!(
            said.ends_with(": no space left; the store is as it was, free some space and run this again"),
            "{said}"
        );
        assert_eq!(site.json(&["images", "--json"]), names);
        assert_eq!(site.files("blobs/sha256"), blobs);
        assert!(site.files("tmp").is_empty());
    }
}

#[test]
fn root_a_full_disk_during_commit_refuses_nothing_and_the_commit_goes_on_later() {
    let mut site = Site::new();
    let _small = Small::mount(&site, 1200);
    site.llama_image();
    let dir = site.stage("run1", "assistant:base", exited(0));
    let ballast = site.root().join("ballast");
    // Leave less than the adapter needs.
    let mut size = 1200 * 1024;
    while fs::write(&ballast, vec![0; size]).is_err() {
        size -= 4096;
    }
    fs::write(&ballast, vec![0; size - 20_000]).expect("ballast");
    let said = site.fails(&["commit", "run1"]);
    assert!(said.contains("no space left"), "{said}");
    assert!(dir.join("out/adapter").is_dir());
    assert!(!fs::read_to_string(dir.join("outcome.json")).unwrap_or_default().contains("refused"));
    assert!(site.files("tmp").is_empty());
    fs::remove_file(&ballast).expect("remove");
    assert!(site.ok(&["commit", "run1"]).starts_with("committed assistant:base-v1"));
}

/// A server that sends without end, after this head.
fn endless(head: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let host = listener.local_addr().expect("address").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n{head}\r\n");
            while stream.write_all(&[7; 4096]).is_ok() {}
        }
    });
    host
}

#[test]
fn root_a_download_without_an_end_is_ended_and_leaves_nothing() {
    let site = Site::new();
    let _small = Small::mount(&site, 8192);
    site.write("tiny.gguf", Gguf::llama(16, 16).bytes());
    site.write("Honefile", "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: tiny.gguf}\ntrainer: none\n");
    site.ok(&["build", "-t", "tiny:base"]);
    for (head, why) in [
        ("", "the disk has no room for more; nothing of it is kept"),
        (
            "Content-Length: 1000000000\r\n",
            "no space left; the store is as it was, free some space and run this again",
        ),
        (
            "Content-Length: 18446744073709551615\r\n",
            "no space left; the store is as it was, free some space and run this again",
        ),
    ] {
        let base = format!("{{model: 'http://{}/m.gguf', sha256: {}}}", endless(head), "0".repeat(64));
        site.write("Honefile", format!("apiVersion: hone.dev/v1\nname: tiny\nbase: {base}\ntrainer: none\n"));
        let said = site.fails(&["build", "-t", "tiny:other"]);
        assert!(said.ends_with(why), "{said}");
        assert!(site.files("partial").is_empty() && site.files("tmp").is_empty());
        site.ok(&["verify", "tiny:base"]);
    }
}
