//! Tars that a careless or hostile maker wrote, and what becomes of them.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use tar::EntryType;

use super::*;

struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: EntryType, path: &str, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o4755 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        // Written raw: the library itself would refuse such names.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    /// An entry with PAX records; they may name what no header can.
    fn pax(mut self, records: &[(&str, &[u8])], path: &str) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self.file(path, "content")
    }

    /// The entry `path` with its header changed behind the library's back.
    fn raw(mut self, path: &str, content: &[u8], edit: impl FnOnce(&mut [u8; 512])) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        edit(header.as_mut_bytes());
        header.set_cksum();
        self.0.get_mut().extend(header.as_bytes());
        self.0.get_mut().extend(content);
        let whole = self.0.get_ref().len().next_multiple_of(512);
        self.0.get_mut().resize(whole, 0);
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_bytes())
    }

    /// Unpacks into `inside`, beside which `outside` lies; says what went wrong.
    fn unpack(self) -> (tempfile::TempDir, Result<(), String>) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/file"), "untouched").unwrap();
        fs::create_dir(dir.path().join("inside")).unwrap();
        let bytes = self.0.into_inner().unwrap();
        let result = unpack(&bytes[..], Digest::of(&bytes), &dir.path().join("inside"), &mut Allowance::of_image());
        assert_eq!((opaque(dir.path()), opaque(&dir.path().join("outside"))), (None, None));
        assert_eq!(fs::read_to_string(dir.path().join("outside/file")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 1);
        let result = result.map_err(|error| hone_contract::chain(&error));
        (dir, result)
    }
}

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

#[test]
fn root_files_links_and_modes_arrive() {
    if !root() {
        return;
    }
    let layer = Layer::new()
        .entry(EntryType::Directory, "usr/bin/", "", b"")
        .entry(EntryType::Symlink, "bin", "/usr/bin", b"")
        .file("bin/tool", "content")
        .entry(EntryType::Link, "bin/twin", "usr/bin/tool", b"")
        .file("./deep/er/file", "made its own directories");
    let (dir, result) = layer.unpack();
    result.unwrap();
    let inside = dir.path().join("inside");
    let tool = fs::metadata(inside.join("usr/bin/tool")).unwrap();
    assert_eq!((tool.permissions().mode() & 0o7777, tool.mtime(), tool.nlink()), (0o4755, 0, 2));
    assert_eq!(fs::read_to_string(inside.join("deep/er/file")).unwrap(), "made its own directories");
}

#[test]
fn root_names_that_climb_out_are_refused() {
    if !root() {
        return;
    }
    for path in ["../outside/file", "a/../../outside/file"] {
        let (_dir, result) = Layer::new().file(path, "evil").unpack();
        assert!(result.unwrap_err().contains("leads out of the root"), "{path}");
    }
}

#[test]
fn root_links_lead_nowhere_outside() {
    if !root() {
        return;
    }
    for target in ["../outside", "/../outside", "../../../../../../tmp"] {
        let layer = Layer::new().entry(EntryType::Symlink, "door", target, b"").file("door/file", "evil");
        let (dir, result) = layer.unpack();
        // Inside, the link may lead to a directory of the same name, or nowhere; outside is checked by unpack().
        let _ = result;
        assert!(!dir.path().join("outside/door").exists());
    }
    let (_dir, result) = Layer::new().entry(EntryType::Link, "twin", "../outside/file", b"").unpack();
    assert!(result.unwrap_err().contains("leads out of the root"));
}

#[test]
fn root_a_file_is_not_written_through_a_link_of_its_name() {
    if !root() {
        return;
    }
    let (dir, result) = Layer::new().entry(EntryType::Symlink, "f", "../outside/file", b"").file("f", "new").unpack();
    result.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("inside/f")).unwrap(), "new");
}

#[test]
fn root_whiteouts_become_overlayfs_s() {
    if !root() {
        return;
    }
    let (dir, result) = Layer::new().file("etc/.wh.gone", "").unpack();
    result.unwrap();
    let meta = fs::symlink_metadata(dir.path().join("inside/etc/gone")).unwrap();
    assert!(meta.file_type().is_char_device());
    assert_eq!(meta.rdev(), 0);
}

#[test]
fn root_devices_are_refused_by_name() {
    if !root() {
        return;
    }
    let (_dir, result) = Layer::new().entry(EntryType::Char, "dev/mem", "", b"").unpack();
    assert!(result.unwrap_err().contains("entry \"dev/mem\": not a file, directory or link"));
}

#[test]
fn root_a_tar_cut_short_is_an_error() {
    if !root() {
        return;
    }
    let bytes = Layer::new().file("f", &"x".repeat(2000)).0.into_inner().unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert!(unpack(&bytes[..1000], Digest::of(b""), dir.path(), &mut Allowance::of_image()).is_err());
}

/// What is made of a layer: the names below `inside`, links among them not followed.
fn tree(inside: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(inside.join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let path = dir.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                pending.push(path.clone());
            }
            names.push(path.display().to_string());
        }
    }
    names.sort();
    names
}

#[test]
fn root_names_that_no_file_may_have_are_refused() {
    if !root() {
        return;
    }
    let deep = |length: usize| "d/".repeat(length / 2 - 1) + "ff";
    let attacks: [(&str, &[u8]); 8] = [
        ("leads out of the root", b".."),
        ("leads out of the root", b"../outside/file"),
        ("leads out of the root", b"/../outside/file"),
        ("leads out of the root", b"./a/../../outside/file"),
        ("unpack \"", b"a\0b"),
        ("not UTF-8", b"caf\xe9"),
        ("path too long", &deep(4098).into_bytes()),
        // ENAMETOOLONG; each C library has words of its own.
        ("(os error 36)", &[b'n'; 256]),
    ];
    for (why, name) in attacks {
        let (_dir, result) = Layer::new().pax(&[("path", name)], "short").unpack();
        let said = result.unwrap_err();
        assert!(said.contains(why), "{:?}: {said}", String::from_utf8_lossy(name));
        assert!(said.len() < 600, "an error that a person can read: {said}");
    }
    for name in ["/absolute/file", "./file", "a//b", "..file", "a/...", &"n".repeat(255), &deep(3600), "caf\u{e9}"] {
        let (dir, result) = Layer::new().pax(&[("path", name.as_bytes())], "short").unpack();
        result.unwrap();
        let plain = name.trim_start_matches(['.', '/']).replace("//", "/");
        assert!(tree(&dir.path().join("inside")).iter().any(|path| path.ends_with(&plain)), "{name}");
    }
}

#[test]
fn root_no_link_of_a_layer_or_the_one_below_is_a_way_out() {
    if !root() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("file"), "untouched").unwrap();
    let absolute = out.path().display().to_string();
    for target in ["../outside", "/../outside", &absolute, "/proc/self/root/tmp", "door", "/proc/self/fd/3"] {
        let door = || Layer::new().entry(EntryType::Symlink, "door", target, b"");
        // In one layer: a file, a hard link, a directory and whiteouts, all through the door.
        for through in [
            door().file("door/file", "evil"),
            door().entry(EntryType::Link, "twin", "door/file", b"").file("twin", "evil"),
            door().entry(EntryType::Directory, "door/dir", "", b""),
            door().file("door/.wh.file", ""),
            door().file("door/.wh..wh..opq", ""),
            door().entry(EntryType::Symlink, "door/inner", "x", b""),
        ] {
            // Each is refused, or made inside.
            let (_dir, _result) = through.unpack();
            assert_eq!(fs::read_to_string(out.path().join("file")).unwrap(), "untouched", "{target}");
            assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1, "{target}");
        }
        // Across layers: the upper one has a tree of its own, in which the door is a plain directory.
        let (_below, result) = door().unpack();
        result.unwrap();
        let (above, result) = Layer::new().file("door/file", "evil").file("door/.wh.gone", "").unpack();
        result.unwrap();
        assert_eq!(tree(&above.path().join("inside")), ["door", "door/file", "door/gone"]);
    }
    // The twin: a link that stays inside is followed.
    let layer = Layer::new()
        .entry(EntryType::Directory, "etc", "", b"")
        .entry(EntryType::Symlink, "door", "/etc", b"")
        .file("door/file", "harmless")
        .entry(EntryType::Link, "twin", "door/file", b"")
        .file("door/.wh.gone", "");
    let (dir, result) = layer.unpack();
    result.unwrap();
    assert_eq!(tree(&dir.path().join("inside")), ["door", "etc", "etc/file", "etc/gone", "twin"]);
}

#[test]
fn root_hard_links_reach_only_what_the_layer_has() {
    if !root() {
        return;
    }
    for target in ["/etc/passwd", "etc/passwd", "../outside/file", "/", "nothing", "self"] {
        let (dir, result) = Layer::new().entry(EntryType::Link, "self", target, b"").unpack();
        result.unwrap_err();
        assert!(tree(&dir.path().join("inside")).iter().all(|name| name == "etc"), "{target}");
    }
    // A hard link to a symbolic link is that link, not what it names.
    let layer = Layer::new()
        .entry(EntryType::Symlink, "door", "../outside/file", b"")
        .entry(EntryType::Link, "twin", "door", b"")
        .file("twin", "new");
    let (dir, result) = layer.unpack();
    result.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("inside/twin")).unwrap(), "new");
    let (dir, result) = Layer::new().file("a", "x").entry(EntryType::Link, "b", "/a", b"").unpack();
    result.unwrap();
    assert_eq!(fs::metadata(dir.path().join("inside/b")).unwrap().nlink(), 2);
}

/// Does `work` while another thread exchanges the two paths all the time.
fn while_swapped(a: &Path, b: &Path, work: impl FnOnce()) {
    use std::sync::atomic::{AtomicBool, Ordering};
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0;
            while !stop.load(Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                swaps += usize::from(rustix::fs::renameat_with(CWD, a, CWD, b, exchange).is_ok());
            }
            swaps
        });
        work();
        stop.store(true, Ordering::Relaxed);
        assert!(swapper.join().unwrap() > 0);
    });
}

#[test]
fn root_a_directory_swapped_for_a_link_meanwhile_is_no_way_out() {
    if !root() {
        return;
    }
    let site = tempfile::tempdir().unwrap();
    let outside = site.path().join("outside");
    fs::create_dir_all(outside.join("dir")).unwrap();
    let layer = |n: usize| {
        let file = |layer: Layer, n| layer.file(&format!("dir/{n}"), "x").file(&format!("dir/.wh.w{n}"), "");
        (0..n).fold(Layer::new(), file).0.into_inner().unwrap()
    };
    let bytes = layer(500);
    for round in 0..20 {
        let inside = site.path().join(format!("inside{round}"));
        fs::create_dir_all(inside.join("dir")).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        while_swapped(&inside.join("dir"), &inside.join("link"), || {
            // It may fail; it may not write elsewhere.
            let _ = unpack(&bytes[..], Digest::of(&bytes), &inside, &mut Allowance::of_image());
        });
    }
    assert_eq!(tree(&outside), ["dir"]);
    // The twin: nobody swaps anything.
    let inside = site.path().join("quiet");
    fs::create_dir(&inside).unwrap();
    unpack(&bytes[..], Digest::of(&bytes), &inside, &mut Allowance::of_image()).unwrap();
    assert_eq!(tree(&inside).len(), 1001);
}

#[test]
fn root_no_device_is_made_but_a_whiteout() {
    if !root() {
        return;
    }
    for kind in [EntryType::Char, EntryType::Block, EntryType::new(b'Z')] {
        let (dir, result) = Layer::new().entry(kind, "dev/x", "", b"").unpack();
        assert!(result.unwrap_err().contains("device nodes are the runtime's to make"));
        assert_eq!(tree(&dir.path().join("inside")), ["dev"]);
    }
    let (dir, result) = Layer::new().entry(EntryType::Fifo, "pipe", "", b"").unpack();
    result.unwrap();
    assert!(fs::metadata(dir.path().join("inside/pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn root_extended_attributes_are_left_behind() {
    if !root() {
        return;
    }
    // cap_net_raw+ep, version 2 (linux/capability.h).
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let records: [(&str, &[u8]); 5] = [
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/../../etc"),
        ("SCHILY.xattr.user.overlay.opaque", b"y\n"),
        ("LIBARCHIVE.xattr.security.capability", b"AQAAAgAgAAAAAAAAAAAAAAAAAAA="),
    ];
    let (dir, result) = Layer::new().pax(&records, "file").file("etc/.wh..wh..opq", "").unpack();
    result.unwrap();
    let inside = dir.path().join("inside");
    let mut names = [0u8; 256];
    assert_eq!(rustix::fs::listxattr(inside.join("file"), &mut names), Ok(0), "{names:?}");
    assert_eq!(fs::read_to_string(inside.join("file")).unwrap(), "content");
    // The twin: what OCI means by an opaque directory is overlayfs's attribute.
    assert_eq!(opaque(&inside.join("etc")).as_deref(), Some(&b"y"[..]));
}

#[test]
fn root_a_name_behind_a_binary_attribute_is_the_name() {
    if !root() {
        return;
    }
    let attribute: &[u8] = b"\n\n18 path=../forged\n";
    let (dir, result) = Layer::new().pax(&[("SCHILY.xattr.user.a", attribute), ("path", b"true")], "short").unpack();
    result.unwrap();
    assert_eq!(tree(&dir.path().join("inside")), ["true"]);
    // What is a file's content to other readers is one here, too.
    let inner = Layer::new().file("smuggled", "x").0.into_inner().unwrap();
    let size = (inner.len()).to_string();
    let mut layer = Layer::new();
    layer.0.append_pax_extensions([("SCHILY.xattr.user.a", &b"\n\n"[..]), ("size", size.as_bytes())]).unwrap();
    let mut layer = layer.entry(EntryType::Regular, "outer", "", b"");
    layer.0.get_mut().extend(&inner);
    let (dir, result) = layer.unpack();
    result.unwrap();
    assert_eq!(tree(&dir.path().join("inside")), ["outer"]);
}

fn opaque(path: &Path) -> Option<Vec<u8>> {
    let mut value = [0u8; 8];
    let n = rustix::fs::getxattr(path, "trusted.overlay.opaque", &mut value).ok()?;
    Some(value[..n].to_vec())
}

#[test]
fn root_sizes_that_lie_are_refused() {
    if !root() {
        return;
    }
    let size = |field: [u8; 12]| move |header: &mut [u8; 512]| header[124..136].copy_from_slice(&field);
    let base256 = |n: u64| {
        let mut field = [0; 12];
        field[0] = 0x80;
        field[4..].copy_from_slice(&n.to_be_bytes());
        field
    };
    for (what, field) in [
        ("more than there is", *b"00000100000\0"),
        ("octal to the last byte", *b"777777777777"),
        ("no octal", *b"0000000000x\0"),
        ("a sign", *b"-0000000007\0"),
        ("negative in base 256", [0xff; 12]),
        ("2^64 - 1", base256(u64::MAX)),
        ("2^63", base256(1 << 63)),
    ] {
        let (dir, result) = Layer::new().raw("f", b"content", size(field)).file("g", "x").unpack();
        assert!(result.is_err(), "{what}");
        assert!(!dir.path().join("inside/g").exists(), "{what}");
    }
    for records in [&[("size", &b"18446744073709551615"[..])], &[("size", b"99999")]] {
        assert!(Layer::new().pax(records, "f").unpack().1.is_err());
    }
    // The twins: the true size, however it is written.
    for field in [*b"00000000007\0", base256(7)] {
        let (dir, result) = Layer::new().raw("f", b"content", size(field)).file("g", "x").unpack();
        result.unwrap();
        assert_eq!(tree(&dir.path().join("inside")), ["f", "g"]);
    }
    Layer::new().pax(&[("size", b"7")], "f").unpack().1.unwrap();
}

/// A sparse entry of GNU tar's old format: `content` at `offset` of a file of `real` bytes.
fn sparse(offset: u64, content: &[u8], real: u64) -> Layer {
    Layer::new().raw("sparse", content, |header| {
        header[156] = b'S';
        let number = |n: u64| format!("{n:011o}\0").into_bytes();
        let base256 = |n: u64| [&[0x80, 0, 0, 0][..], &n.to_be_bytes()].concat();
        let put = |n: u64| if n < 1 << 33 { number(n) } else { base256(n) };
        header[386..398].copy_from_slice(&put(offset));
        header[398..410].copy_from_slice(&put(content.len() as u64));
        header[483..495].copy_from_slice(&put(real));
    })
}

#[test]
fn root_sparse_files_do_not_fill_the_disk() {
    if !root() {
        return;
    }
    let block = [b's'; 512];
    let (dir, result) = sparse((1 << 40) - 512, &block, 1 << 40).unpack();
    assert!(result.unwrap_err().contains("sparse files of more than 1073741824 bytes"));
    assert!(tree(&dir.path().join("inside")).is_empty());
    let (_dir, result) = Layer::new().pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")], "f").unpack();
    assert!(result.unwrap_err().contains("a sparse file in a PAX format"));
    let (dir, result) = sparse(1536, &block, 2048).unpack();
    result.unwrap();
    let content = fs::read(dir.path().join("inside/sparse")).unwrap();
    assert_eq!(content, [&[0; 1536][..], &block].concat());
}

#[test]
fn root_entries_that_come_twice_are_the_last_one() {
    if !root() {
        return;
    }
    let dir_entry = |layer: Layer, name: &str| layer.entry(EntryType::Directory, name, "", b"");
    let (dir, result) = Layer::new().file("f", "first").file("f", "second").unpack();
    result.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("inside/f")).unwrap(), "second");
    // A directory with all in it is not taken away by a later name.
    let (_dir, result) = dir_entry(Layer::new(), "d").file("d/f", "x").file("d", "x").unpack();
    assert!(result.unwrap_err().contains("was a directory before"));
    let (dir, result) = dir_entry(dir_entry(Layer::new(), "d").file("d/f", "x"), "d").unpack();
    result.unwrap();
    assert_eq!(tree(&dir.path().join("inside")), ["d", "d/f"]);
    // A whiteout hides what lower layers have, and nothing of its own layer, in either order.
    for layer in [
        dir_entry(Layer::new(), "d").file("d/f", "x").file(".wh.d", ""),
        dir_entry(Layer::new().file(".wh.d", ""), "d").file("d/f", "x"),
        dir_entry(Layer::new().file(".wh.d", "").file(".wh.d", ""), "d").file("d/f", "x"),
    ] {
        let (dir, result) = layer.unpack();
        result.unwrap();
        assert_eq!(tree(&dir.path().join("inside")), ["d", "d/f"]);
        assert_eq!(opaque(&dir.path().join("inside/d")).as_deref(), Some(&b"y"[..]), "the lower layers' d is hidden");
    }
    let (dir, result) = Layer::new().file("f", "x").file(".wh.f", "").unpack();
    result.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("inside/f")).unwrap(), "x");
}

#[test]
fn root_a_whiteout_hides_nothing_above_or_around_it() {
    if !root() {
        return;
    }
    for name in [".wh...", "etc/.wh...", "etc/deep/.wh...", ".wh..", "etc/.wh..", ".wh.", "etc/.wh."] {
        let (dir, result) = Layer::new().file("etc/deep/file", "x").file(name, "").unpack();
        let said = result.unwrap_err();
        assert!(said.contains(&format!("entry \"{name}\": a whiteout of what is not beside it")), "{said}");
        let inside = dir.path().join("inside");
        for path in ["", "etc", "etc/deep"] {
            assert_eq!(opaque(&inside.join(path)), None, "{name}: {path:?}");
        }
    }
    // The twins: names that only look alike.
    for (name, hidden) in [(".wh....", "..."), ("etc/.wh...a", "etc/..a"), ("etc/.wh..a", "etc/.a")] {
        let (dir, result) = Layer::new().file(name, "").unpack();
        result.unwrap();
        let meta = fs::symlink_metadata(dir.path().join("inside").join(hidden)).unwrap();
        assert!(meta.file_type().is_char_device(), "{name}");
    }
}

#[test]
fn root_records_of_aufs_are_passed_over() {
    if !root() {
        return;
    }
    let layer = Layer::new()
        .entry(EntryType::Directory, ".wh..wh.plnk", "", b"")
        .file(".wh..wh.plnk/123.456", "x")
        .file(".wh..wh.aufs", "")
        .file("etc/.wh..wh.orph", "")
        .file("file", "x");
    let (dir, result) = layer.unpack();
    result.unwrap();
    assert_eq!(
        tree(&dir.path().join("inside")).into_iter().filter(|name| name != "etc").collect::<Vec<_>>(),
        ["file"]
    );
}

#[test]
fn root_a_swap_meanwhile_lets_no_whiteout_or_hard_link_out() {
    if !root() {
        return;
    }
    let site = tempfile::tempdir().unwrap();
    let outside = site.path().join("outside");
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let steps = |layer: Layer, n: usize| {
        layer
            .file(&format!("dir/{n}"), "x")
            .entry(EntryType::Link, &format!("dir/twin{n}"), &format!("dir/{n}"), b"")
            .file("dir/.wh.sub", "")
            .file(".wh.dir", "")
            .file("dir/.wh.secret", "")
            .file("dir/sub/.wh..wh..opq", "")
    };
    // A hard link to what lies outside: it must never come about.
    let theft = |layer: Layer, n: usize| layer.entry(EntryType::Link, &format!("stolen{n}"), "dir/secret", b"");
    let bytes = (0..200).fold(Layer::new(), steps).0.into_inner().unwrap();
    let thefts: Vec<_> = (0..200).map(|n| theft(Layer::new(), n).0.into_inner().unwrap()).collect();
    for round in 0..20 {
        let inside = site.path().join(format!("inside{round}"));
        fs::create_dir_all(inside.join("dir/sub")).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        while_swapped(&inside.join("dir"), &inside.join("link"), || {
            // They may fail; they may not reach out.
            for bytes in thefts.iter().chain([&bytes]) {
                let _ = unpack(&bytes[..], Digest::of(bytes), &inside, &mut Allowance::of_image());
            }
        });
    }
    assert_eq!(tree(&outside), ["secret", "sub"]);
    assert_eq!((opaque(&outside), opaque(&outside.join("sub"))), (None, None));
    assert_eq!(fs::metadata(outside.join("secret")).unwrap().nlink(), 1);
    // The twin: nobody swaps anything.
    let inside = site.path().join("quiet");
    fs::create_dir_all(inside.join("dir/sub")).unwrap();
    unpack(&bytes[..], Digest::of(&bytes), &inside, &mut Allowance::of_image()).unwrap();
    assert_eq!(fs::metadata(inside.join("dir/0")).unwrap().nlink(), 2);
    assert_eq!(opaque(&inside.join("dir/sub")).as_deref(), Some(&b"y"[..]));
    assert_eq!(opaque(&inside.join("dir")).as_deref(), Some(&b"y"[..]));
}

#[test]
fn root_entries_and_sparse_files_are_counted_for_all_layers_together() {
    if !root() {
        return;
    }
    let site = tempfile::tempdir().unwrap();
    let mut allowance = Allowance { entries: 5, sparse: 4096 };
    let mut add = |layer: Layer| {
        let bytes = layer.0.into_inner().unwrap();
        let result = unpack(&bytes[..], Digest::of(&bytes), site.path(), &mut allowance);
        result.map_err(|error| hone_contract::chain(&error))
    };
    let block = [b's'; 512];
    add(sparse(1536, &block, 2048)).unwrap();
    add(sparse(1536, &block, 2048)).unwrap();
    let said = add(sparse(1536, &block, 2048)).unwrap_err();
    assert!(said.contains("sparse files of more than 1 GiB in the image's layers together"), "{said}");
    add(Layer::new().file("a", "a").file("b", "b")).unwrap();
    let said = add(Layer::new().file("c", "c")).unwrap_err();
    assert!(said.contains("more than 4000000 entries in the image's layers together"), "{said}");
    assert!(!site.path().join("c").exists());
}

#[test]
fn a_disk_that_fills_is_told_while_it_fills() {
    let said = enough(KEEP_FREE - 1).unwrap_err();
    assert_eq!(said.kind(), io::ErrorKind::StorageFull);
    assert!(said.to_string().contains("want 33554432 to stay free"), "{said}");
    enough(KEEP_FREE).unwrap();
    // Asked for while a tar is read, at the disk on which it is unpacked.
    let dir = tempfile::tempdir().unwrap();
    let disk = openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mut reader = Guarded { inner: io::repeat(0).take(3 * ASK_EVERY), disk: &disk, since: 0 };
    assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap(), 3 * ASK_EVERY);
    assert!(reader.since < ASK_EVERY, "it was asked for");
}

#[test]
fn root_names_are_shown_without_what_a_terminal_obeys() {
    if !root() {
        return;
    }
    for name in ["dev/\u{1b}]0;title\u{7}", "dev/\u{202e}gpj", "dev/a\nb"] {
        let (_dir, result) = Layer::new().entry(EntryType::Char, name, "", b"").unpack();
        let said = result.unwrap_err();
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}', '\n']), "{said:?}");
        assert!(said.contains("device nodes are the runtime's to make"), "{said}");
    }
}
