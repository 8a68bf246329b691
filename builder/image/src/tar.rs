//! Deterministic tar: the same entries give the same bytes, everywhere and always.
//!
//! mtime 0, uid and gid 0, no owner names, modes from a table; POSIX ustar with PAX records only where ustar has no
//! room. A layer's entries are in byte order of their paths; an archive of images has its index first. Nothing else can be written: no devices, no hard links, no
//! names that leave the root, no whiteouts.
//!
//! [`weight_prefix`] frames one weight file so that its data starts at [`WEIGHT_OFFSET`], a multiple of every
//! usual block size: a filesystem with reflinks can then share the file's blocks with the layer's.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use hone_contract::quoted;

/// Where the data of a weight layer starts (bytes).
pub const WEIGHT_OFFSET: u64 = 4096;
/// A tar ends with two blocks of zeros.
pub const END: [u8; 1024] = [0; 1024];
/// Longest path in an entry (bytes); Linux's PATH_MAX less its NUL is 4095, and a root must fit before it.
pub const MAX_PATH: usize = 1024;

const BLOCK: usize = 512;
/// How much is copied at once (bytes): it fills a pipe, where `io::copy` would take 8 KiB at a time.
const BUFFER: usize = 256 << 10;
/// Longest name and link target of a ustar header (POSIX.1-1988, ustar).
const USTAR_NAME: usize = 100;
/// Largest size that eleven octal digits hold.
const USTAR_SIZE: u64 = (1 << 33) - 1;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A directory, mode 0755.
    Dir,
    /// A directory that anyone may write to, mode 1777, as `/tmp` is.
    SharedDir,
    /// A regular file of this many bytes, mode 0644, or 0755 when executable.
    File {
        /// Bytes that follow.
        size: u64,
        /// Whether its mode is 0755.
        executable: bool,
    },
    /// A symbolic link to this target, mode 0777.
    Symlink(&'a str),
}

/// An entry that a deterministic, harmless tar does not hold, or a failure to write it.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// A name that leaves the root, is empty, or has a component that is not a plain name.
    #[error("tar entry \"{}\": {why}", quoted(path))]
    Path {
        /// The name.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not after the entry before it.
    #[error("tar entry \"{}\": want a name after \"{}\"", quoted(path), quoted(after))]
    Order {
        /// The name.
        path: String,
        /// The name before it.
        after: String,
    },
    /// The reader gave another number of bytes than announced.
    #[error("tar entry \"{}\": got {got} bytes, want {want}: did the file change while it was read?", quoted(path))]
    Size {
        /// The name.
        path: String,
        /// Bytes read.
        got: u64,
        /// Bytes announced.
        want: u64,
    },
    /// The reader or the writer failed.
    #[error("tar entry \"{}\"", quoted(path))]
    Io {
        /// The name.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a tar is, and so the order of its entries. A layer's bytes are those of the first day, since others know them by
/// digest: its headers name a device, 0, and an archive's none. An archive's are those of the first day, too, but for the
/// size of a blob of 8 GiB and more, which was in base 256 then and is in a PAX record now; nobody knows those by digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Layer,
    Archive,
}

/// Writes entries to `W`, each name once.
#[derive(Debug)]
pub struct TarWriter<W> {
    inner: W,
    form: Form,
    last: String,
    /// The names in an archive so far; a layer's order tells.
    names: BTreeSet<String>,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// A layer into `inner`: entries in byte order of their paths.
    pub fn new(inner: W) -> Self {
        Self::of(Form::Layer, inner)
    }

    /// An archive of images into `inner`: entries as they come.
    pub fn archive(inner: W) -> Self {
        Self::of(Form::Archive, inner)
    }

    fn of(form: Form, inner: W) -> Self {
        Self { inner, form, last: String::new(), names: BTreeSet::new(), buffer: Vec::new() }
    }

    /// Adds an entry without data: a directory or a link.
    ///
    /// # Errors
    /// See [`TarError`].
    pub fn add(&mut self, path: &str, entry: Entry<'_>) -> Result<(), TarError> {
        self.begin(path, entry)
    }

    /// Adds a file of `size` bytes read from `data`.
    ///
    /// # Errors
    /// See [`TarError`]; also when `data` has more or fewer bytes.
    pub fn file(&mut self, path: &str, executable: bool, size: u64, data: &mut dyn Read) -> Result<(), TarError> {
        self.begin(path, Entry::File { size, executable })?;
        let io_error = |source| TarError::Io { path: path.to_owned(), source };
        let got = self.copy(&mut data.take(size)).map_err(io_error)?;
        // One byte more is asked for: it is where a verifying reader says what it thinks, and where more would be.
        let more = got == size && data.read(&mut [0]).map_err(io_error)? > 0;
        if got != size || more {
            return Err(TarError::Size { path: path.to_owned(), got: got + u64::from(more), want: size });
        }
        self.inner.write_all(padding(size)).map_err(io_error)
    }

    /// Writes the end and gives the writer back.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&END)?;
        Ok(self.inner)
    }

    fn copy(&mut self, data: &mut dyn Read) -> io::Result<u64> {
        self.buffer.resize(BUFFER, 0);
        let mut copied = 0;
        loop {
            match data.read(&mut self.buffer) {
                Ok(0) => return Ok(copied),
                Ok(got) => {
                    self.inner.write_all(&self.buffer[..got])?;
                    copied += got as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn begin(&mut self, path: &str, entry: Entry<'_>) -> Result<(), TarError> {
        check_path(path)?;
        let refuse = |why| Err(TarError::Path { path: path.to_owned(), why });
        if matches!(entry, Entry::Symlink(target) if target.is_empty() || target.contains(['\0', '\n'])) {
            return refuse("its target is empty, or holds a NUL or a line break");
        }
        match self.form {
            Form::Archive if !self.names.insert(path.to_owned()) => return refuse("it is there already"),
            Form::Layer if !self.last.is_empty() && path <= self.last.as_str() => {
                return Err(TarError::Order { path: path.to_owned(), after: self.last.clone() });
            }
            Form::Archive => {}
            Form::Layer => self.last = path.to_owned(),
        }
        self.inner
            .write_all(&entry_bytes(self.form, path, entry))
            .map_err(|source| TarError::Io { path: path.to_owned(), source })
    }
}

/// The 4096 bytes before the data of a weight layer's only entry.
///
/// # Errors
/// When `path` is not a plain relative path.
pub fn weight_prefix(path: &str, size: u64) -> Result<Vec<u8>, TarError> {
    check_path(path)?;
    let body_len = WEIGHT_OFFSET as usize - 2 * BLOCK;
    let mut body = pax_body(path, "", size);
    // Any record has "NN comment=" and a newline around its value; what is left is filled with spaces. A reader
    // ignores comments (POSIX.1-2001, pax, "comment").
    let room = body_len - body.len();
    let digits = room.to_string().len();
    let frame = digits + " comment=\n".len();
    body.extend_from_slice(format!("{room} comment={}\n", " ".repeat(room - frame)).as_bytes());
    let mut bytes = pax_header(Form::Layer, body.len());
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&ustar(Form::Layer, path, Entry::File { size, executable: false }));
    Ok(bytes)
}

/// The zeros that bring `size` bytes to a whole number of blocks.
pub fn padding(size: u64) -> &'static [u8] {
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { &[] } else { &END[..BLOCK - over] }
}

/// Length of a whole weight layer whose file has `size` bytes.
pub fn weight_layer_len(size: u64) -> u64 {
    WEIGHT_OFFSET + size + padding(size).len() as u64 + END.len() as u64
}

/// Accepts relative paths of plain components only.
///
/// # Errors
/// [`TarError::Path`] with the reason.
pub fn check_path(path: &str) -> Result<(), TarError> {
    let refuse = |why| Err(TarError::Path { path: path.to_owned(), why });
    if path.is_empty() || path.starts_with('/') {
        return refuse("want a relative path");
    }
    if path.len() > MAX_PATH {
        return refuse("the path is longer than 1024 bytes");
    }
    // PAX counts a record's bytes, but readers that go by lines instead would find other records in such a name.
    if path.contains(['\0', '\n']) {
        return refuse("the path holds a NUL or a line break");
    }
    for component in path.split('/') {
        match component {
            "" | "." | ".." => return refuse("every component must be a plain name"),
            c if c.len() > 255 => return refuse("a component is longer than 255 bytes"),
            c if c.starts_with(".wh.") => return refuse("a name that begins with .wh. deletes files in an image"),
            _ => {}
        }
    }
    Ok(())
}

fn entry_bytes(form: Form, path: &str, entry: Entry<'_>) -> Vec<u8> {
    let (link, size) = match entry {
        Entry::Symlink(target) => (target, 0),
        Entry::File { size, .. } => ("", size),
        Entry::Dir | Entry::SharedDir => ("", 0),
    };
    let body = pax_body(path, link, size);
    let mut bytes = Vec::new();
    if !body.is_empty() {
        bytes = pax_header(form, body.len());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(padding(body.len() as u64));
    }
    bytes.extend_from_slice(&ustar(form, path, entry));
    bytes
}

/// PAX records for what a ustar header cannot say.
fn pax_body(path: &str, link: &str, size: u64) -> Vec<u8> {
    let mut body = Vec::new();
    let too_wide = |s: &str| s.len() >= USTAR_NAME || !s.is_ascii();
    if too_wide(link) {
        pax_record(&mut body, "linkpath", link);
    }
    if too_wide(path) {
        pax_record(&mut body, "path", path);
    }
    if size > USTAR_SIZE {
        pax_record(&mut body, "size", &size.to_string());
    }
    body
}

/// `<len> <key>=<value>\n`, where the length counts its own digits.
fn pax_record(body: &mut Vec<u8>, key: &str, value: &str) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len += 1;
    }
    body.extend_from_slice(format!("{len} {key}={value}\n").as_bytes());
}

fn pax_header(form: Form, body_len: usize) -> Vec<u8> {
    header(form, "PaxHeaders/entry", (b'x', 0o644), body_len as u64, "").to_vec()
}

fn ustar(form: Form, path: &str, entry: Entry<'_>) -> [u8; BLOCK] {
    match entry {
        Entry::Dir => header(form, &format!("{path}/"), (b'5', 0o755), 0, ""),
        Entry::SharedDir => header(form, &format!("{path}/"), (b'5', 0o1777), 0, ""),
        Entry::File { size, executable } => {
            let shown = if size > USTAR_SIZE { 0 } else { size };
            header(form, path, (b'0', if executable { 0o755 } else { 0o644 }), shown, "")
        }
        Entry::Symlink(target) => header(form, path, (b'2', 0o777), 0, target),
    }
}

fn header(form: Form, name: &str, (kind, mode): (u8, u32), size: u64, link: &str) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, ascii_prefix(name).as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, ascii_prefix(link).as_bytes());
    put(257, b"ustar\x0000");
    if form == Form::Layer {
        put(329, b"0000000");
        put(337, b"0000000");
    }
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// What of a name a ustar field can show; the PAX record has the whole.
fn ascii_prefix(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c } else { '_' }).take(USTAR_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_contract::digest::Digest;

    fn weight(path: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = weight_prefix(path, data.len() as u64).expect("prefix");
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(padding(data.len() as u64));
        bytes.extend_from_slice(&END);
        bytes
    }

    fn read(tar: &[u8]) -> Vec<(String, u64, u32, u64)> {
        let mut archive = ::tar::Archive::new(tar);
        let entries = archive.entries().expect("entries");
        entries
            .map(|entry| {
                let entry = entry.expect("entry");
                let path = entry.path().expect("path").to_string_lossy().into_owned();
                let header = entry.header();
                let mode = header.mode().expect("mode");
                assert_eq!((header.mtime().expect("mtime"), header.uid().expect("uid")), (0, 0));
                (path, entry.size(), mode, entry.raw_file_position())
            })
            .collect()
    }

    #[test]
    fn a_weight_layer_has_one_entry_at_4096_whatever_its_name() {
        for len in [1, 13, 90, 99, 100, 101, 200, 900] {
            let path = format!(
                "m/{}",
                "x".repeat(len)
                    .as_bytes()
                    .chunks(200)
                    .map(|c| String::from_utf8_lossy(c))
                    .collect::<Vec<_>>()
                    .join("/")
            );
            let tar = weight(&path, b"data");
            assert_eq!(tar.len() as u64, weight_layer_len(4));
            assert_eq!(read(&tar), [(path, 4, 0o644, WEIGHT_OFFSET)]);
        }
    }

    #[test]
    fn sizes_past_eight_gib_are_told_by_pax() {
        let size = (9 << 30) + 5;
        let prefix = weight_prefix("models/a/big.gguf", size).expect("prefix");
        assert_eq!(prefix.len() as u64, WEIGHT_OFFSET);
        let text = String::from_utf8_lossy(&prefix);
        assert!(text.contains("19 size=9663676421\n"), "no size record");
        assert_eq!(&prefix[3584 + 124..3584 + 136], b"00000000000\0");
    }

    #[test]
    fn a_size_beyond_octal_is_read_back_from_either_form() {
        for form in [Form::Layer, Form::Archive] {
            for size in [0, 511, USTAR_SIZE, USTAR_SIZE + 1, u64::MAX >> 1] {
                let bytes = entry_bytes(form, "x", Entry::File { size, executable: false });
                let mut reader = &bytes[..];
                let mut tar = crate::untar::Tar::stream(&mut reader, 1);
                let entry = tar.entry().expect("a header").expect("an entry");
                assert_eq!((entry.path(), entry.size()), (&b"x"[..], size));
            }
        }
    }

    #[test]
    fn an_archive_has_each_name_once_in_any_order() {
        let mut tar = TarWriter::archive(Vec::new());
        for name in ["oci-layout", "index.json", "blobs/a"] {
            tar.file(name, false, 1, &mut &b"x"[..]).expect(name);
        }
        let twice = tar.file("index.json", false, 1, &mut &b"x"[..]).expect_err("twice");
        assert_eq!(twice.to_string(), "tar entry \"index.json\": it is there already");
        assert!(tar.file("../a", false, 1, &mut &b"x"[..]).is_err());
    }

    #[test]
    fn golden_digest_of_a_weight_layer() {
        // Every image made so far has this framing: a change here gives each model a new digest, and every
        // device and registry a second copy of it.
        let digest = Digest::of(&weight("models/tiny/model.gguf", b"weights"));
        assert_eq!(digest.to_string(), GOLDEN_WEIGHT);
    }
    const GOLDEN_WEIGHT: &str = "sha256:fc7b8a92ec1d9650f3e2799f9552281aa7d60b00f191c10b1a2e024adb9e8fda";

    #[test]
    fn entries_are_read_back_as_written() {
        let mut tar = TarWriter::new(Vec::new());
        let long = format!("hone/{}", "d".repeat(120));
        tar.add("hone", Entry::Dir).expect("dir");
        tar.file("hone/a", true, 3, &mut &b"abc"[..]).expect("file");
        tar.add(&long, Entry::Dir).expect("long dir");
        tar.add("hone/link", Entry::Symlink("../ziel-\u{e9}")).expect("link");
        tar.add("tmp", Entry::SharedDir).expect("shared dir");
        let bytes = tar.finish().expect("finish");
        let seen: Vec<_> = read(&bytes).into_iter().map(|(p, s, m, _)| (p, s, m)).collect();
        assert_eq!(
            seen,
            [
                ("hone/".into(), 0, 0o755),
                ("hone/a".into(), 3, 0o755),
                (long, 0, 0o755),
                ("hone/link".into(), 0, 0o777),
                ("tmp/".into(), 0, 0o1777)
            ]
        );
    }

    #[test]
    fn names_that_leave_the_root_or_delete_are_refused() {
        let long = "x".repeat(300);
        for path in
            ["", "/a", "../a", "a/../b", "a//b", "./a", "a/", "a\0b", "a\nb", ".wh.a", "a/.wh..wh..opq", &long]
        {
            assert!(check_path(path).is_err(), "{path:?} was accepted");
        }
        for path in ["a", "a/b.c", "a/..b", "wh.a", "\u{e9}t\u{e9}"] {
            assert!(check_path(path).is_ok(), "{path:?} was refused");
        }
    }

    #[test]
    fn a_link_s_target_is_one_name() {
        let mut tar = TarWriter::new(Vec::new());
        for target in ["", "a\0b", "a\n19 path=../outside\n"] {
            assert!(matches!(tar.add("link", Entry::Symlink(target)), Err(TarError::Path { .. })), "{target:?}");
        }
        tar.add("link", Entry::Symlink("/../anywhere")).expect("a target is the reader's affair");
    }

    #[test]
    fn order_and_sizes_are_enforced() {
        let mut tar = TarWriter::new(Vec::new());
        tar.add("b", Entry::Dir).expect("dir");
        assert!(matches!(tar.add("a", Entry::Dir), Err(TarError::Order { .. })));
        assert!(matches!(tar.add("b", Entry::Dir), Err(TarError::Order { .. })));
        let short = tar.file("c", false, 4, &mut &b"abc"[..]).expect_err("short");
        assert_eq!(short.to_string(), "tar entry \"c\": got 3 bytes, want 4: did the file change while it was read?");
        assert!(matches!(tar.file("d", false, 2, &mut &b"abc"[..]), Err(TarError::Size { got: 3, .. })));
    }
}
