//! Tars that are read differently by careless readers, each beside its harmless twin.

use super::*;

fn header(kind: u8, name: &str, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[156] = kind;
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(7);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    header
}

fn entry(kind: u8, name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = [&header(kind, name, content.len()).as_bytes()[..], content].concat();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = " =\n".len() + key.len() + value.len();
    let length = (rest..).find(|n| *n == rest + n.to_string().len()).expect("a length");
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    entry(b'x', "pax", &records.iter().flat_map(|(key, value)| record(key, value)).collect::<Vec<_>>())
}

/// Names and contents, by both ways of reading, which must agree.
fn read(tar: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut read = Vec::new();
    let add = |entry: &mut Entry<'_, '_>, to: &mut Vec<_>| -> io::Result<()> {
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        assert_eq!(content.len() as u64, entry.size());
        to.push((String::from_utf8_lossy(entry.path()).into_owned(), content));
        Ok(())
    };
    let walked: io::Result<()> = walk(&mut &tar[..], 100, &mut |entry| add(entry, &mut read));
    let mut placed = Vec::new();
    let place: io::Result<()> = places(&mut io::Cursor::new(tar), 100, &mut |entry| {
        let (from, stored) = (entry.position() as usize, entry.kind() != Kind::Sparse);
        add(entry, &mut placed)?;
        let content = &placed.last().expect("just read").1;
        assert!(!stored || tar[from..].starts_with(content), "it lies where it is said to");
        Ok(())
    });
    let words = |result: io::Result<()>| result.map_err(|error| error.to_string());
    let (walked, place) = (words(walked), words(place));
    assert_eq!(walked, place);
    walked.map(|()| {
        assert_eq!(read, placed);
        read
    })
}

#[track_caller]
fn names(tar: &[Vec<u8>], want: &[&str]) {
    let read = read(&tar.concat()).expect("it is harmless");
    assert_eq!(read.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), want);
}

#[track_caller]
fn refused(tar: &[Vec<u8>], want: &str) {
    let said = read(&tar.concat()).expect_err("want it refused");
    assert!(said.contains(want), "want {want:?} in {said:?}");
}

#[test]
fn a_record_says_its_own_length_whatever_line_breaks_are_in_it() {
    let file = || entry(b'0', "f", b"content");
    let forged = record("path", b"forged");
    // By lines there is another name in the attribute; and behind an empty line there is none.
    names(&[pax(&[("SCHILY.xattr.user.a", &[b"\n", &forged[..]].concat()), ("path", b"true")]), file()], &["true"]);
    names(&[pax(&[("SCHILY.xattr.user.a", b"\n\n"), ("path", b"true")]), file()], &["true"]);
    names(&[pax(&[("SCHILY.xattr.user.a", &[b"\n", &forged[..]].concat())]), file()], &["f"]);
    // A size that is not seen makes headers of content: this one is a file in a file.
    let inner = entry(b'0', "smuggled", b"");
    let size = inner.len().to_string();
    let outer = [header(b'0', "outer", 0).as_bytes().to_vec(), inner].concat();
    names(&[pax(&[("SCHILY.xattr.user.a", b"\n\n"), ("size", size.as_bytes())]), outer.clone()], &["outer"]);
    names(&[outer], &["outer", "smuggled"]);
}

#[test]
fn records_that_are_none_are_refused() {
    let file = || entry(b'0', "f", b"x");
    for bad in [
        "5 path=x\n",
        "99 path=x\n",
        "path",
        "18446744073709551615 a=b\n",
        "0 a=b\n",
        "+7 a=b\n",
        "6 a=bc",
        "8 path\n\n",
    ] {
        refused(&[entry(b'x', "pax", bad.as_bytes()), file()], "an extended header that is not one");
    }
    for (key, what) in [("size", "size"), ("uid", "owner"), ("gid", "group")] {
        for bad in [&b"-1"[..], b"1x", b"+1", b"18446744073709551616"] {
            refused(&[pax(&[(key, bad)]), file()], &format!("its {what} is not a number"));
        }
    }
    refused(&[pax(&[("GNU.sparse.map", b"0,1")]), file()], "a sparse file in a PAX format");
    names(&[pax(&[("size", b"1"), ("comment", b""), ("path", b""), ("mtime", b"1.5")]), file()], &["f"]);
}

#[test]
fn what_is_said_twice_or_of_nothing_is_refused() {
    let (file, long) = (|| entry(b'0', "f", b"x"), |name: &[u8]| entry(b'L', "././@LongLink", name));
    let path = |name: &'static [u8]| pax(&[("path", name)]);
    for twice in [
        vec![long(b"a"), long(b"b")],
        vec![path(b"a"), path(b"b")],
        vec![path(b"a"), pax(&[("comment", b"a")])],
        vec![long(b"a\0"), path(b"b")],
        vec![path(b"a"), long(b"b")],
        vec![pax(&[("path", b"a"), ("path", b"b")])],
        vec![pax(&[("size", b"1"), ("size", b"0")])],
    ] {
        refused(&[twice, vec![file()]].concat(), "say the same of one entry");
    }
    names(&[long(b"a\0"), pax(&[("comment", b"x")]), file(), path(b"b"), file()], &["a", "b"]);
    for end in [vec![], vec![0; 1024]] {
        refused(&[file(), path(b"a"), end], "no entry behind it");
    }
    let name = vec![b'n'; MAX_NAME + 1];
    refused(&[long(&name), file()], "a name of more than 16 KiB");
    refused(&[pax(&[("linkpath", &name)]), file()], "a name of more than 16 KiB");
    names(&[long(&name[1..]), file()], &[std::str::from_utf8(&name[1..]).expect("ASCII")]);
}

#[test]
fn a_global_header_is_no_entry_that_an_extended_one_is_about() {
    let (file, inner) = (|| entry(b'0', "f", b"x"), entry(b'0', "smuggled", b"x"));
    let size = inner.len().to_string();
    let global = |body: &[u8]| entry(b'g', "pax_global_header", body);
    for before in [
        pax(&[("size", size.as_bytes())]),
        pax(&[("comment", b"x")]),
        entry(b'L', "././@LongLink", b"other\0"),
        entry(b'K', "././@LongLink", b"other\0"),
    ] {
        refused(&[before.clone(), global(b""), inner.clone(), file()], "no entry behind it");
        refused(&[before, global(&inner), file()], "no entry behind it");
    }
    let comment = record("comment", b"x");
    names(&[global(&comment), pax(&[("path", b"other")]), file()], &["pax_global_header", "other"]);
}

#[test]
fn a_long_name_has_no_nul_in_it_and_is_one() {
    for kind in [b'L', b'K'] {
        for none in [&b""[..], b"\0", b"\0\0", b"a\0b", b"\0a", b"a\0b\0"] {
            refused(&[entry(kind, "././@LongLink", none), entry(b'2', "f", b"")], "a long name that is empty");
        }
        names(&[entry(kind, "././@LongLink", b"f\0\0"), entry(b'2', "f", b"")], &["f"]);
    }
    for key in ["path", "linkpath"] {
        refused(&[pax(&[(key, b"a\0b")]), entry(b'2', "f", b"")], "a long name that is empty");
        names(&[pax(&[(key, b"")]), entry(b'2', "f", b"")], &["f"]);
    }
}

#[test]
fn the_times_that_star_keeps_are_no_part_of_a_name() {
    let name = |end: &[u8; 4]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.as_mut_bytes()[..1].copy_from_slice(b"f");
        header.as_mut_bytes()[345..476].fill(b'd');
        header.as_mut_bytes()[476..499].fill(b'1');
        header.as_mut_bytes()[508..].copy_from_slice(end);
        header.set_cksum();
        read(header.as_bytes()).expect("a header").remove(0).0
    };
    assert_eq!(name(b"tar\0"), format!("{}/f", "d".repeat(131)));
    assert_eq!(name(b"\0\0\0\0"), format!("{}{}/f", "d".repeat(131), "1".repeat(23)));
}

#[test]
fn a_path_is_the_same_however_it_is_written() {
    for path in ["a/b", "/a/b", "./a/b", "a//b", "a/./b", "a/b/", "//a/././b//.", "./././/a/b"] {
        assert_eq!(clean(path).expect("a path"), "a/b", "{path}");
    }
    for root in ["", ".", "/", "./", "//."] {
        assert_eq!(clean(root).expect("the root"), "", "{root}");
    }
    for above in ["..", "../a", "a/..", "a/x/../b", "/../a"] {
        let said = clean(above).expect_err("it hangs on links").to_string();
        assert_eq!(said, format!("{above}: want a path without \"..\" in it"));
    }
    for plain in ["...", "a/..b", ".a"] {
        assert_eq!(clean(plain).expect("plain names"), plain);
    }
}

#[test]
fn links_directories_and_devices_have_no_content() {
    for kind in b'1'..=b'6' {
        refused(&[entry(kind, "e", b"content")], "has no content");
        names(&[entry(kind, "e", b""), entry(b'0', "f", b"")], &["e", "f"]);
    }
    refused(&[pax(&[("size", b"512")]), entry(b'5', "d/", b""), entry(b'0', "smuggled", b"")], "has no content");
    // Before POSIX a directory was a file whose name ends so.
    refused(&[entry(0, "d/", b"content")], "has no content");
    names(&[entry(0, "f", b"content")], &["f"]);
}

#[test]
fn a_size_ends_within_the_tar() {
    let cut = |tar: Vec<u8>, length: usize| vec![tar[..length].to_vec()];
    for length in [1, 511, 513, 600, 611] {
        refused(&cut(entry(b'0', "f", &[1; 100]), length), "beyond the archive's end");
    }
    // What fills the last block is nobody's content, and umoci leaves it out.
    for length in [612, 613, 1023, 1024] {
        names(&cut(entry(b'0', "f", &[1; 100]), length), &["f"]);
    }
    for field in [*b"77777777777\0", *b"777777777777", *b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"] {
        let mut lying = header(b'0', "f", 0);
        lying.as_mut_bytes()[124..136].copy_from_slice(&field);
        lying.set_cksum();
        refused(&[lying.as_bytes().to_vec(), vec![0; 1024]], "beyond the archive's end");
    }
    for field in [*b"-0000000007\0", *b"0000000000x\0", [0xff; 12]] {
        let mut bad = header(b'0', "f", 0);
        bad.as_mut_bytes()[124..136].copy_from_slice(&field);
        bad.set_cksum();
        refused(&[bad.as_bytes().to_vec(), vec![0; 1024]], "its size is not a number");
    }
}

#[test]
fn a_damaged_header_is_found_and_the_end_is_told() {
    let mut damaged = entry(b'0', "f", b"x");
    damaged[0] ^= 1;
    assert!(!begins(&damaged));
    refused(&[damaged], "checksum is wrong");
    assert!(begins(&entry(b'0', "f", b"x")) && begins(&[0; 512]) && begins(b"") && !begins(b"GGUF"));
    assert!(is_header(&entry(b'0', "f", b"x")) && !is_header(&[0; 512]) && !is_header(b""));
    for (end, marked) in [(0, false), (512, true), (1024, true)] {
        let bytes =
            [entry(b'0', "f", b"x"), vec![0; end], entry(b'0', "behind", b"")[..end.min(512)].to_vec()].concat();
        let mut reader = &bytes[..];
        let mut tar = Tar::stream(&mut reader, 9);
        assert!(tar.entry().expect("a header").is_some());
        assert!(tar.entry().expect("the end").is_none() && tar.entry().expect("the end").is_none());
        assert_eq!(tar.has_ended(), marked, "{end} bytes of zeros");
    }
}

#[test]
fn owners_of_records_count_and_those_of_headers_else() {
    let owner = |tar: &[u8]| {
        let mut owner = None;
        let walked: io::Result<()> = walk(&mut &tar[..], 1, &mut |entry| {
            owner = Some((entry.owner()?, entry.mode()?, entry.mtime()));
            Ok(())
        });
        walked.expect("an entry");
        owner.expect("an entry")
    };
    assert_eq!(owner(&entry(b'0', "f", b"")), ((0, 0), 0o644, 7));
    assert_eq!(
        owner(&[pax(&[("uid", b"70000"), ("gid", b"5")]), entry(b'0', "f", b"")].concat()),
        ((70_000, 5), 0o644, 7)
    );
    let mut old = header(b'0', "f", 0);
    old.as_mut_bytes()[108..116].copy_from_slice(b"\x80\0\0\0\0\x01\0\0");
    old.as_mut_bytes()[100..108].copy_from_slice(b"0100755\0");
    old.as_mut_bytes()[136..148].copy_from_slice(&[0xff; 12]);
    old.set_cksum();
    assert_eq!(owner(old.as_bytes()), ((1 << 16, 0), 0o755, 0));
}

/// A sparse file of pieces of `data`, as GNU tar's old format has it.
fn sparse(pieces: &[(u64, u64)], real: u64, data: &[u8]) -> Vec<u8> {
    let field = |n: u64| format!("{n:011o}\0").into_bytes();
    let piece = |(at, length): &(u64, u64)| [field(*at), field(*length)].concat();
    let mut head = header(b'S', "s", data.len());
    let bytes = head.as_mut_bytes();
    let (first, more) = pieces.split_at(pieces.len().min(4));
    for (n, p) in first.iter().enumerate() {
        bytes[386 + 24 * n..][..24].copy_from_slice(&piece(p));
    }
    bytes[482] = u8::from(!more.is_empty());
    bytes[483..495].copy_from_slice(&field(real));
    head.set_cksum();
    let mut tar = head.as_bytes().to_vec();
    let blocks = more.chunks(21).len();
    for (n, pieces) in more.chunks(21).enumerate() {
        let mut block = pieces.iter().flat_map(piece).collect::<Vec<_>>();
        block.resize(504, 0);
        block.push(u8::from(n + 1 < blocks));
        block.resize(BLOCK, 0);
        tar.extend(block);
    }
    tar.extend(data);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    tar
}

#[test]
fn sparse_files_are_whole_files_within_a_bound() {
    let content = |tar: &[u8]| read(tar).map(|mut files| files.remove(0).1);
    let end = || entry(b'0', "f", b"x");
    let one = sparse(&[(512, 5)], 517, b"hello");
    assert_eq!(content(&[one, end()].concat()).expect("sparse"), [&[0; 512][..], b"hello"].concat());
    let many: Vec<_> = (0..60).map(|n| (n * 1024, 512)).chain([(61_000, 0)]).collect();
    let got = content(&[sparse(&many, 61_000, &[7; 60 * 512]), end()].concat()).expect("sparse");
    assert_eq!((got.len(), got.iter().filter(|b| **b == 7).count()), (61_000, 60 * 512));
    for (pieces, real, data) in [
        (&[(0, 512), (256, 512)][..], 768, &[7; 1024][..]),
        (&[(0, 5), (512, 5)], 517, &[7; 10]),
        (&[(0, 512)], 1024, &[7; 512]),
        (&[(0, 512)], 512, &[7; 1024]),
        (&[(0, 1024)], 1024, &[7; 512]),
    ] {
        refused(&[sparse(pieces, real, data), end()], "GNU tar's own map");
    }
    let mut posix = tar::Header::new_ustar();
    posix.set_entry_type(tar::EntryType::GNUSparse);
    posix.set_size(0);
    posix.set_cksum();
    refused(&[posix.as_bytes().to_vec()], "GNU tar's own map");
    let half = || sparse(&[(FREE / 2, 0)], FREE / 2, b"");
    let sizes = |tar: &[u8]| -> io::Result<()> { places(&mut io::Cursor::new(tar), 9, &mut |_| Ok(())) };
    sizes(&[half(), half()].concat()).expect("as much as there may be");
    let said = sizes(&[half(), half(), sparse(&[(1, 0)], 1, b"")].concat()).expect_err("too much").to_string();
    assert_eq!(said, "sparse files of more than 1073741824 bytes together");
    // A map without an end does not fill the memory.
    let endless: Vec<_> = (0..60_000).map(|n| (n, 0)).collect();
    refused(&[sparse(&endless, 60_000, b"")], "headers of one entry of more than 1048576 bytes");
}
