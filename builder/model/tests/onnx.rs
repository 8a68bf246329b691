//! ONNX models that name files of their own, or of others.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use hone_model::onnx::{OnnxError, external_data};

fn varint(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

/// A length-delimited field.
fn field(number: u64, content: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
}

/// A TensorProto whose data is at `location`, as PyTorch's exporter writes it.
fn tensor(location: &str) -> Vec<u8> {
    let dims = [varint(1 << 3), varint(300)].concat();
    [dims, field(8, b"weight"), entry("location", location), entry("offset", "4096"), varint(14 << 3), varint(1)]
        .concat()
}

/// A ModelProto with `graph`, a version and a producer before it.
fn model(graph: &[u8]) -> Vec<u8> {
    [varint(1 << 3), varint(10), field(2, b"pytorch"), field(7, graph)].concat()
}

fn read(bytes: &[u8]) -> Result<Vec<String>, OnnxError> {
    external_data("m.onnx", bytes.len() as u64, Cursor::new(bytes)).map(|found| found.into_iter().collect())
}

fn refused(bytes: &[u8], words: &str) {
    let text = read(bytes).expect_err("must be refused").to_string();
    assert!(text.starts_with("m.onnx: ") && text.contains(words), "{text:?} lacks {words:?}");
}

#[test]
fn files_inside_the_model_s_directory_are_named() {
    let raw = [field(8, b"small"), field(9, &[0xff; 5000])].concat();
    let graph = [field(5, &raw), field(5, &tensor("model.onnx_data")), field(5, &tensor("./parts/0.data"))].concat();
    assert_eq!(read(&model(&graph)).expect("a model"), ["model.onnx_data", "parts/0.data"]);
    assert_eq!(read(&model(&field(5, &raw))).expect("a model of one file"), [""; 0]);
}

#[test]
fn locations_outside_it_are_refused() {
    let long = "n/".repeat(2100) + "x";
    for location in [
        "/etc/shadow",
        "../secret",
        "a/../../secret",
        "./../secret",
        "..\\secret",
        "C:\\secret",
        "a\\..\\..\\secret",
        "..",
        ".",
        "",
        "a//b",
        "nul\0",
        &long,
    ] {
        refused(&model(&field(5, &tensor(location))), "external_data location");
    }
    let latin = field(13, &[field(1, b"location"), field(2, b"caf\xe9")].concat());
    refused(&model(&field(5, &latin)), "external_data location");
}

#[test]
fn a_location_is_found_wherever_a_tensor_can_be() {
    let evil = tensor("../secret");
    let in_graph = |t: &[u8]| field(5, t);
    let attribute = |a: &[u8]| field(1, &field(5, a));
    let places: [(&str, Vec<u8>); 10] = [
        ("initializer", model(&in_graph(&evil))),
        ("sparse initializer", model(&field(15, &field(1, &evil)))),
        ("sparse indices", model(&field(15, &field(2, &evil)))),
        ("a node's tensor", model(&attribute(&field(5, &evil)))),
        ("a node's tensors", model(&attribute(&field(10, &evil)))),
        ("a node's sparse tensor", model(&attribute(&field(22, &field(1, &evil))))),
        ("a branch", model(&attribute(&field(6, &in_graph(&evil))))),
        ("branches", model(&attribute(&field(11, &in_graph(&evil))))),
        ("a function", field(25, &field(7, &field(5, &field(5, &evil))))),
        ("training", field(20, &field(2, &in_graph(&evil)))),
    ];
    for (place, bytes) in places {
        let text = read(&bytes).expect_err(place).to_string();
        assert!(text.contains("\"../secret\""), "{place}: {text}");
    }
    // The same entry in a field of that number of another message is no tensor's.
    assert!(read(&model(&field(10, &evil))).is_ok());
}

/// A number in more bytes than it needs.
fn padded(n: u64, bytes: usize) -> Vec<u8> {
    let mut all: Vec<u8> = (0..bytes).map(|i| (n >> (7 * i)) as u8 & 0x7f | 0x80).collect();
    if let Some(last) = all.last_mut() {
        *last &= 0x7f;
    }
    all
}

/// ONNX Runtime reads a tag as 32 bits: what is above them is not there for it.
#[test]
fn a_tag_that_readers_take_for_different_fields_is_refused() {
    let content = [field(1, b"location"), field(2, b"../secret.bin")].concat();
    let tagged = |tag: Vec<u8>, content: &[u8]| [tag, varint(content.len() as u64), content.to_vec()].concat();
    let graph = |tensor: &[u8]| model(&field(5, tensor));
    for tag in [
        varint(1 << 32 | 13 << 3 | 2),
        varint(7 << 32 | 13 << 3 | 2),
        padded(13 << 3 | 2, 2),
        padded(13 << 3 | 2, 5),
        padded(13 << 3 | 2, 6),
        varint(1 << 35 | 13 << 3 | 2),
    ] {
        refused(&graph(&tagged(tag, &content)), "a tag of ");
    }
    // The same on the way there, and within the entry.
    refused(&tagged(varint(1 << 32 | 7 << 3 | 2), &field(5, &tensor("../secret"))), "a tag of 5 bytes");
    let value =
        [field(1, b"location"), tagged(varint(1 << 32 | 2 << 3 | 2), b"../secret"), field(2, b"fine")].concat();
    refused(&graph(&field(13, &value)), "a tag of 5 bytes");
    // A length may be padded: everybody takes it for the same. Unknown fields of any number that there is are skipped.
    let padded_length = [varint(13 << 3 | 2), padded(content.len() as u64, 5), content.clone()].concat();
    refused(&graph(&padded_length), "external_data location");
    let unknown = tagged(varint(((1 << 29) - 1) << 3 | 2), b"anything");
    assert_eq!(read(&graph(&[unknown, tensor("w")].concat())).expect("a model"), ["w"]);
    // Of a field that comes twice the last counts.
    let twice = |first: &str, last: &str| {
        field(13, &[field(1, b"location"), field(2, first.as_bytes()), field(2, last.as_bytes())].concat())
    };
    refused(&graph(&twice("fine", "../secret")), "\"../secret\"");
    assert_eq!(read(&graph(&twice("../secret", "fine"))).expect("a model"), ["fine"]);
}

#[test]
fn a_location_that_is_an_address_in_memory_is_refused() {
    refused(&model(&field(5, &tensor("*/_ORT_MEM_ADDR_/*"))), "external_data location");
}

#[test]
fn a_location_is_shown_escaped() {
    let text = read(&model(&field(5, &tensor("/\u{1b}]0;x\u{7}")))).expect_err("outside").to_string();
    assert!(!text.contains(char::is_control) && text.contains(r"\u{1b}]0;x\u{7}"), "{text}");
}

#[test]
fn what_is_no_model_ends_in_an_error() {
    refused(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f], "a field of");
    refused(&[0x3b], "wire type 3");
    refused(&[0x08; 1], "goes on");
    refused(&[0xff; 11], "2^64");
    refused(&[[0x80; 10].as_slice(), &[1]].concat(), "2^64");
    refused(&[0x02, 0], "for field 0");
    refused(&field(7, &[0x2a, 5, 0]), "a field of 5 bytes");
    let mut deep = Vec::new();
    for _ in 0..40 {
        deep = field(1, &field(5, &field(6, &deep)));
    }
    refused(&model(&deep), "deep");
    let text = external_data("m.onnx", 1 << 31, Cursor::new([])).expect_err("too large").to_string();
    assert!(text.contains("want at most 2147483647 bytes"), "{text}");
    let error = external_data("m.onnx", 100, Cursor::new(model(&[]))).expect_err("cut short");
    assert!(matches!(error, OnnxError::Io { .. }));
}

/// A model of a gigabyte that is nowhere: only what is looked at is there.
struct Holes {
    head: Vec<u8>,
    at: u64,
    read: u64,
}

impl Read for &mut Holes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for (n, byte) in buffer.iter_mut().enumerate() {
            *byte = self.head.get(self.at as usize + n).copied().unwrap_or(0);
        }
        self.at += buffer.len() as u64;
        self.read += buffer.len() as u64;
        Ok(buffer.len())
    }
}

impl Seek for &mut Holes {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
            SeekFrom::End(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(self.at)
    }
}

#[test]
fn raw_data_is_skipped_unread() {
    let gigabyte = 1u64 << 30;
    let raw = [vec![9 << 3 | 2], varint(gigabyte)].concat();
    let inner = raw.len() as u64 + gigabyte;
    let initializer = [vec![5 << 3 | 2], varint(inner), raw].concat();
    let graph = inner + (initializer.len() as u64 - (inner - gigabyte));
    let head = [vec![7 << 3 | 2], varint(graph), initializer].concat();
    let length = head.len() as u64 + gigabyte;
    let mut file = Holes { head, at: 0, read: 0 };
    assert!(external_data("m.onnx", length, &mut file).expect("a model").is_empty());
    assert!(file.read <= 1 << 17, "{} bytes were read", file.read);
}
