//! Models that somebody else made: each trick is refused, and its harmless twin is understood.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use hone_base::{BaseModel, Links, Sources, understand};
use hone_contract::Digest;
use hone_contract::job::BaseFile;
use hone_plan::BuildPlan;

const OWN_TRAINER: &str = "trainer: {rootfs: root, command: [train]}\n";

fn plan(trainer: &str) -> BuildPlan {
    let text = format!("apiVersion: hone.dev/v1\nname: tiny\nbase: {{model: m}}\n{trainer}");
    hone_plan::parse("Honefile", &text).expect("a plan")
}

fn look(dir: &Path, trainer: &str) -> Result<BaseModel, String> {
    let sources = Sources::at(dir, Links::Within).map_err(|error| error.to_string())?;
    understand(&sources, None, &plan(trainer)).map_err(|error| error.to_string())
}

/// A ModelProto whose only tensor lies at `location`.
fn onnx(location: &str) -> Vec<u8> {
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8], content].concat();
    let entry = [field(1, b"location"), field(2, location.as_bytes())].concat();
    field(7, &field(5, &field(13, &entry)))
}

#[test]
fn an_onnx_model_that_reads_files_of_others_is_refused() {
    for location in ["/etc/shadow", "../secret", "a/../../secret"] {
        for trainer in ["trainer: none\n", OWN_TRAINER, ""] {
            let dir = tempfile::tempdir().expect("directory");
            fs::create_dir(dir.path().join("onnx")).expect("directory");
            fs::write(dir.path().join("onnx/model.onnx"), onnx(location)).expect("model");
            let said = look(dir.path(), trainer).expect_err("must be refused");
            assert!(said.contains("model.onnx: external_data location: got"), "{trainer:?}: {said}");
        }
    }
    let dir = tempfile::tempdir().expect("directory");
    fs::write(dir.path().join("model.onnx"), onnx("model.onnx_data")).expect("model");
    fs::write(dir.path().join("model.onnx_data"), [0; 64]).expect("data");
    let base = look(dir.path(), "trainer: none\n").expect("a model");
    assert_eq!((base.format.as_str(), base.weights.len()), ("onnx", 2));
}

#[test]
fn a_pickle_is_refused_whatever_it_is_called() {
    let pickles: [(&str, &[u8]); 3] =
        [("pytorch_model.bin", b""), ("model.safetensors", b"\x80\x04\x95"), ("x", b"PK\x03\x04")];
    let said = with("weights.npz2", b"\x78\x9c\x03\0\0\0\0\x01").expect_err("zlib");
    assert!(said.contains("it is a zlib file, which may hold a pickle"), "{said}");
    for (name, content) in pickles {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join("config.json"), "{}").expect("config");
        fs::write(dir.path().join(name), content).expect("pickle");
        let said = look(dir.path(), "trainer: none\n").expect_err(name);
        assert!(said.contains("it is a pickle") && said.contains("convert the model to safetensors"), "{said}");
    }
}

#[test]
fn a_weight_file_that_lies_is_refused_even_where_it_is_only_carried() {
    let lying = br#"{"a":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}}"#;
    let lying = [&(lying.len() as u64).to_le_bytes()[..], lying].concat();
    let honest = br#"{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#;
    let honest = [&(honest.len() as u64).to_le_bytes()[..], honest, &[0; 8]].concat();
    let many = [b"GGUF\x03\0\0\0".as_slice(), &u64::MAX.to_le_bytes(), &u64::MAX.to_le_bytes()].concat();
    for (name, content) in [("model.safetensors", &lying), ("m.gguf", &many)] {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join(name), content).expect("model");
        assert!(look(dir.path(), "trainer: none\n").expect_err(name).contains("truncated"));
    }
    let dir = tempfile::tempdir().expect("directory");
    fs::write(dir.path().join("model.safetensors"), honest).expect("model");
    look(dir.path(), "trainer: none\n").expect("numbers of a kind that is only carried");
}

#[test]
fn a_tokenizer_of_absurd_size_or_depth_is_refused() {
    let site = |tokenizer: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join("model.onnx"), onnx("w")).expect("model");
        tokenizer(&dir.path().join("tokenizer.json"));
        look(dir.path(), "trainer: none\n")
    };
    // Of 64 MiB and more, a file is a weight, and nobody parses it.
    let huge = |path: &Path| File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a sparse terabyte");
    assert_eq!(site(&huge).expect("a weight").tokenizer, None);
    let large = |path: &Path| File::create(path).and_then(|file| file.set_len(63 << 20)).expect("a sparse file");
    assert!(site(&large).expect_err("63 MiB of zeros").contains("parse tokenizer"));
    let deep = |path: &Path| fs::write(path, "[".repeat(1 << 20)).expect("write");
    assert!(site(&deep).expect_err("a million brackets").contains("parse tokenizer"));
    let ids = r#"{"model":{"vocab":{"a":18446744073709551615}},"added_tokens":[{"id":18446744073709551615}]}"#;
    assert_eq!(hone_base::tokens_of(ids.as_bytes()).expect("JSON"), Some(u64::MAX));
    let good = |path: &Path| fs::write(path, r#"{"model":{"vocab":{"a":0}}}"#).expect("write");
    assert_eq!(site(&good).expect("a model").tokenizer.as_deref(), Some("/models/tiny"));
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    type Make<'a> = &'a dyn Fn(&Path);
    let fifo: Make<'_> = &|path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
    };
    let socket: Make<'_> = &|path| drop(std::os::unix::net::UnixListener::bind(path).expect("socket"));
    let device: Make<'_> = &|path| symlink("/dev/zero", path).expect("link");
    let above: Make<'_> = &|path| symlink(path.parent().expect("parent"), path).expect("link");
    for (make, name, want) in [
        (fifo, "pipe.bin", "it is a FIFO, and a model's files are regular files"),
        (fifo, "tokenizer.json", "it is a FIFO"),
        (socket, "m.gguf", "it is a socket"),
        (device, "zero.onnx", "this link leads out of the directory, to /dev/zero"),
        (above, "loop", "it is a link to a directory"),
    ] {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join("model.onnx"), onnx("w")).expect("model");
        make(&dir.path().join(name));
        let said = look(dir.path(), "trainer: none\n").expect_err(name);
        assert!(said.contains(name) && said.contains(want), "{said}");
        // As the model itself, and as a tokenizer.
        if name != "loop" {
            let said = Sources::at(&dir.path().join(name), Links::Within).expect_err(name).to_string();
            assert!(said.contains("it is a "), "{said}");
        }
    }
    // Allowed to lead anywhere, a link leads to files still.
    let dir = tempfile::tempdir().expect("directory");
    symlink("/dev/zero", dir.path().join("zero.onnx")).expect("link");
    let said = Sources::at(dir.path(), Links::Anywhere).expect_err("a device").to_string();
    assert!(said.contains("it is a device"), "{said}");
}

#[test]
fn a_link_that_leads_out_of_the_directory_is_refused_unless_it_is_asked_for() {
    let site = tempfile::tempdir().expect("directory");
    let (model, secret) = (site.path().join("model"), site.path().join("id_rsa"));
    fs::create_dir_all(model.join("parts")).expect("directory");
    fs::write(&secret, "secret").expect("secret");
    fs::write(model.join("model.onnx"), onnx("w")).expect("model");
    fs::write(model.join("parts/vocab.txt"), "a\n").expect("text");
    // Inside it, and out and in again: the same files under more names.
    symlink("parts/vocab.txt", model.join("vocab.txt")).expect("link");
    symlink("../../model/vocab.txt", model.join("parts/again.txt")).expect("link");
    assert_eq!(look(&model, "trainer: none\n").expect("a model").texts.len(), 3);
    symlink("../id_rsa", model.join("merges.txt")).expect("link");
    let said = look(&model, "trainer: none\n").expect_err("a link out of it");
    assert!(said.contains("model/merges.txt: this link leads out of the directory, to "), "{said}");
    assert!(said.contains("id_rsa") && said.contains("follow_links: true"), "{said}");
    let asked = Sources::at(&model, Links::Anywhere).expect("asked for");
    assert_eq!(asked.get("merges.txt").map(|file| file.size), Some(6));
    // The path itself is the user's own, and so may be a link.
    symlink("model/model.onnx", site.path().join("m.onnx")).expect("link");
    assert_eq!(look(&site.path().join("m.onnx"), "trainer: none\n").expect("a model").weights.len(), 1);
}

#[test]
fn a_link_to_what_is_left_out_is_refused_unless_it_is_asked_for() {
    for hidden in [".git/config", ".env", "parts/.cache/token", ".hidden/.more/x"] {
        let site = tempfile::tempdir().expect("directory");
        // Above the model, names may begin with a dot.
        let model = site.path().join(".models/model");
        fs::create_dir_all(model.join(hidden).parent().expect("parent")).expect("directory");
        fs::write(model.join(hidden), "token").expect("secret");
        fs::write(model.join("model.onnx"), onnx("w")).expect("model");
        fs::write(model.join("a.txt"), "a\n").expect("text");
        symlink("a.txt", model.join("b.txt")).expect("link");
        assert_eq!(look(&model, "trainer: none\n").expect("a model").texts.len(), 2, "{hidden}");
        symlink(hidden, model.join("merges.txt")).expect("link");
        let said = look(&model, "trainer: none\n").expect_err(hidden);
        assert!(said.contains("merges.txt: this link leads to ") && said.contains(hidden), "{said}");
        assert!(said.contains("begin with a dot") && said.contains("follow_links: true"), "{said}");
        // By way of another link, too.
        fs::remove_file(model.join("merges.txt")).expect("remove");
        symlink(model.join(hidden), site.path().join("way")).expect("link");
        symlink("../../way", model.join("merges.txt")).expect("link");
        assert!(look(&model, "trainer: none\n").expect_err(hidden).contains("begin with a dot"));
        let asked = Sources::at(&model, Links::Anywhere).expect("asked for");
        assert_eq!(asked.get("merges.txt").map(|file| file.size), Some(5));
    }
}

#[test]
fn the_cache_of_the_hub_is_read_and_nothing_that_looks_like_it() {
    let site = tempfile::tempdir().expect("directory");
    let at = |name: &str| site.path().join("models--o--m").join(name);
    fs::create_dir_all(at("snapshots/0123/onnx")).expect("snapshot");
    fs::create_dir_all(at("blobs")).expect("blobs");
    fs::write(at("blobs/aa"), onnx("w")).expect("blob");
    symlink("../../../blobs/aa", at("snapshots/0123/onnx/model.onnx")).expect("link");
    fs::write(at("blobs/bb"), "{}").expect("blob");
    symlink("../../blobs/bb", at("snapshots/0123/config.json")).expect("link");
    let base = look(&at("snapshots/0123"), "trainer: none\n").expect("a model");
    assert_eq!((base.weights.len(), base.texts.len()), (1, 1));
    look(&at("snapshots/0123/onnx"), "trainer: none\n").expect("a part of it");
    // A blob that is a link itself, and blobs that are elsewhere.
    fs::write(site.path().join("secret"), "secret").expect("secret");
    symlink("../../secret", at("blobs/cc")).expect("link");
    symlink("../../blobs/cc", at("snapshots/0123/merges.txt")).expect("link");
    assert!(
        look(&at("snapshots/0123"), "trainer: none\n")
            .expect_err("a link")
            .contains("merges.txt: this link leads out")
    );
    fs::remove_file(at("snapshots/0123/merges.txt")).expect("remove");
    fs::write(at("blobs/.token"), "token").expect("blob");
    symlink("../../blobs/.token", at("snapshots/0123/merges.txt")).expect("link");
    assert!(look(&at("snapshots/0123"), "trainer: none\n").expect_err("hidden").contains("this link leads out"));
    fs::remove_file(at("snapshots/0123/merges.txt")).expect("remove");
    fs::rename(at("blobs"), site.path().join("elsewhere")).expect("move");
    symlink("../elsewhere", at("blobs")).expect("link");
    assert!(
        look(&at("snapshots/0123"), "trainer: none\n").expect_err("blobs elsewhere").contains("this link leads out")
    );
}

#[test]
fn what_took_a_file_s_place_after_it_was_looked_at_is_not_read() {
    let site = tempfile::tempdir().expect("directory");
    let model = site.path().join("model");
    fs::create_dir_all(model.join("inner")).expect("directory");
    fs::write(site.path().join("secret"), "secret").expect("secret");
    fs::create_dir(site.path().join("outside")).expect("directory");
    fs::write(site.path().join("outside/b.txt"), "secret").expect("secret");
    fs::write(model.join("a.txt"), "public").expect("text");
    fs::write(model.join("inner/b.txt"), "public").expect("text");
    symlink("a.txt", model.join("c.txt")).expect("link");
    let sources = Sources::at(&model, Links::Within).expect("sources");
    let read = |name: &str| sources.get(name).expect(name).open().and_then(std::io::read_to_string);
    for name in ["a.txt", "inner/b.txt", "c.txt"] {
        assert_eq!(read(name).expect(name), "public");
    }
    fs::remove_file(model.join("a.txt")).expect("remove");
    symlink("../secret", model.join("a.txt")).expect("link");
    fs::remove_dir_all(model.join("inner")).expect("remove");
    symlink("../outside", model.join("inner")).expect("link");
    for name in ["a.txt", "inner/b.txt", "c.txt"] {
        read(name).expect_err(name);
    }
}

#[test]
fn a_git_lfs_pointer_is_told() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    for (name, trainer) in [
        ("model.safetensors", ""),
        ("m.gguf", ""),
        ("model.onnx", "trainer: none\n"),
        ("tokenizer.json", ""),
        ("tokenizer.model", ""),
        ("model.onnx_data", OWN_TRAINER),
    ] {
        let dir = tempfile::tempdir().expect("directory");
        fs::write(dir.path().join("other.onnx"), onnx("w")).expect("model");
        fs::write(dir.path().join(name), pointer).expect("pointer");
        let said = look(dir.path(), trainer).expect_err(name);
        assert!(
            said.contains(name) && said.contains("a Git LFS pointer") && said.contains("`git lfs pull`"),
            "{said}"
        );
    }
    // A tokenizer that is kept apart, and its companions.
    for name in ["tokenizer.json", "tokenizer.model"] {
        let (model, apart) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
        fs::write(model.path().join("model.onnx"), onnx("w")).expect("model");
        fs::write(apart.path().join("tokenizer.json"), r#"{"model":{"vocab":{"a":0}}}"#).expect("tokenizer");
        let at = |dir: &tempfile::TempDir| Sources::at(dir.path(), Links::Within).expect("sources");
        let (sources, plan) = (at(&model), plan("trainer: none\n"));
        understand(&sources, Some(&at(&apart)), &plan).expect("a tokenizer");
        fs::write(apart.path().join(name), pointer).expect("pointer");
        let said = understand(&sources, Some(&at(&apart)), &plan).expect_err(name).to_string();
        assert!(said.contains("`git lfs pull`"), "{said}");
    }
    let dir = tempfile::tempdir().expect("directory");
    fs::write(dir.path().join("model.onnx"), onnx("w")).expect("model");
    fs::write(dir.path().join("README.md"), format!("Pointers begin so:\n{pointer}")).expect("text");
    look(dir.path(), "trainer: none\n").expect("a text about it");
}

/// A model with a file of this name and content.
fn with(name: &str, content: &[u8]) -> Result<BaseModel, String> {
    let dir = tempfile::tempdir().expect("directory");
    fs::write(dir.path().join("model.onnx"), onnx("weights/0")).expect("model");
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().expect("parent")).expect("directory");
    fs::write(path, content).expect("write");
    look(dir.path(), "trainer: none\n")
}

/// How a model in ONNX Runtime's own format begins.
const FLAT: &[u8] = b"\x18\0\0\0ORTM\0\0\0\0";

#[test]
fn what_nobody_looks_into_is_refused() {
    for (name, content) in [
        ("model.ort", FLAT),
        ("saved_model.pb", b"\x08\x01\x12\x02"),
        ("m.tflite", b"\x1c\0\0\0TFL3"),
        ("m.mnn", b"\x18\0\0\0"),
        ("tf_model.h5", b"\x89HDF\r\n\x1a\n"),
        ("m.keras", b"x"),
        ("flax_model.msgpack", b"\x81"),
        // The same under names that say nothing, in a directory or in its directories.
        ("model", FLAT),
        ("more/model.x", FLAT),
        ("m.tiny", b"\x1c\0\0\0TFL3"),
    ] {
        let said = with(name, content).expect_err(name);
        assert!(said.contains(name) && said.contains("which is not looked into here"), "{said}");
    }
    let said = with("sub\u{1b}[31mmodel", FLAT).expect_err("a name");
    assert!(!said.contains('\u{1b}') && said.contains(r"sub\u{1b}[31mmodel"), "{said}");
}

#[test]
fn what_is_no_weight_and_not_known_is_left_out_and_said() {
    for (name, content) in [
        ("imatrix.dat", &b"\x10\0\0\0\x06\0\0\0output"[..]),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0"),
        ("data/train-00000-of-00001.parquet", b"PAR1\x15\0\x15"),
        ("cache.arrow", b"ARROW1\0\0\x10\0"),
        ("tokenizer.model", b"\x0a\xff\xff\0\0"),
        ("lib/x.so", b"\x7fELF\x02\x01\x01\0"),
    ] {
        let base = with(name, content).unwrap_or_else(|said| panic!("{name}: {said}"));
        let want = "left out of the image, being no weights and of no format that is known: ";
        assert_eq!(base.notes, [format!("{want}{name}")]);
        assert!(base.weights.iter().chain(&base.texts).all(|file| file.name != name), "{name} is packed");
        assert_eq!(base.weights.len(), 1);
        // Whoever hashed every file of the directory has hashed it, too; the image has it not.
        let hashed = |path: &str| BaseFile { path: path.to_owned(), size: 1, digest: Digest::of(b"") };
        let named = base.job(vec![hashed(name), hashed("model.onnx")]);
        assert_eq!(named.files, [hashed("model.onnx")]);
        assert_eq!(named.identity, base.job(vec![hashed("model.onnx")]).identity);
    }
    let dir = tempfile::tempdir().expect("directory");
    fs::write(dir.path().join("model.onnx"), onnx("w")).expect("model");
    for n in 0..20 {
        fs::write(dir.path().join(format!("{n:02}\u{1b}[2J")), [0; 9]).expect("file");
    }
    let notes = look(dir.path(), "trainer: none\n").expect("a model").notes;
    assert!(notes[0].ends_with(r"06\u{1b}[2J, 07\u{1b}[2J and 12 more"), "{notes:?}");
}

#[test]
fn weights_that_nobody_knows_are_refused_and_not_left_out() {
    let dir = tempfile::tempdir().expect("directory");
    let at = |name: &str| dir.path().join(name);
    // There is nothing else that could be the weights.
    fs::write(at("config.json"), "{}").expect("config");
    fs::write(at("weights.dat"), [0; 64]).expect("weights");
    for path in [dir.path().to_owned(), at("weights.dat")] {
        let said = look(&path, "trainer: none\n").expect_err("unknown weights");
        assert!(said.contains("weights.dat: it is of a format that is not known"), "{said}");
    }
    // By its size it is one of them.
    fs::write(at("model.onnx"), onnx("w")).expect("model");
    assert_eq!(look(dir.path(), "trainer: none\n").expect("a small one").notes.len(), 1);
    File::create(at("weights.dat")).and_then(|file| file.set_len(64 << 20)).expect("a sparse file");
    let said = look(dir.path(), "trainer: none\n").expect_err("a large one");
    assert!(said.contains("weights.dat: it is of a format that is not known"), "{said}");
    // A table is not, however large.
    File::options().write(true).open(at("weights.dat")).and_then(|mut file| file.write_all(b"PAR1")).expect("write");
    assert_eq!(look(dir.path(), "trainer: none\n").expect("a table").notes.len(), 1);
}

#[test]
fn a_model_consists_of_what_is_known() {
    // A piece of 131 bytes: its lengths have two.
    let long = [b"\x0a\x8b\x01\x0a\x83\x01".as_slice(), &[b'x'; 131], b"\x15\0\0\0\0"].concat();
    let safetensors = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let safetensors = [&(safetensors.len() as u64).to_le_bytes()[..], safetensors, &[0; 4]].concat();
    for (name, content) in [
        ("weights/0", FLAT),
        ("tokenizer.model", b"\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02"),
        ("tokenizer.model.v3", b"\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02\x0a\x05\x0a\x03<s>"),
        ("m.spm", &long),
        ("README", "Größe\n".as_bytes()),
        ("LICENSE", b"MIT"),
        ("modeling.py", b"import os\n"),
        ("card.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("empty", b""),
        ("weights", &safetensors),
    ] {
        let base = with(name, content).unwrap_or_else(|said| panic!("{name}: {said}"));
        let packed = base.weights.iter().chain(&base.texts).any(|file| file.name == name);
        assert!(base.notes.is_empty() && packed, "{name}");
    }
    // A name that says nothing is no way around the checks of a format.
    let lie = [&safetensors[..], b"hidden"].concat();
    assert!(with("weights", &lie).expect_err("hidden bytes").contains("the file's end"));
}

/// A GGUF without tensors, as all parts but the first may be.
fn part(count: u16) -> Vec<u8> {
    let key = b"split.count";
    let value = [&(key.len() as u64).to_le_bytes()[..], key, &2u32.to_le_bytes(), &count.to_le_bytes()].concat();
    [b"GGUF\x03\0\0\0".as_slice(), &0u64.to_le_bytes(), &1u64.to_le_bytes(), &value].concat()
}

#[test]
fn a_part_of_a_split_model_is_told() {
    let site = |parts: &[&str], trainer: &str| {
        let dir = tempfile::tempdir().expect("directory");
        parts.iter().for_each(|name| fs::write(dir.path().join(name), part(3)).expect("part"));
        let path = if parts.len() == 1 { dir.path().join(parts[0]) } else { dir.path().to_owned() };
        look(&path, trainer)
    };
    let all = ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"];
    assert_eq!(site(&all, "trainer: none\n").expect("all of it").weights.len(), 3);
    let said = site(&all[..1], "trainer: none\n").expect_err("one of three");
    assert!(said.contains("split into 3; m-00002-of-00003.gguf is not with it"), "{said}");
    let said = site(&all[..2], OWN_TRAINER).expect_err("two of three");
    assert!(
        said.contains("m-00003-of-00003.gguf is not with it") && said.contains("llama-gguf-split --merge"),
        "{said}"
    );
    for parts in [&all[..], &all[..1]] {
        let said = site(parts, "").expect_err("the built-in trainer");
        assert!(said.contains("the onnx trainer reads one .gguf file") && said.contains("--merge"), "{said}");
    }
    assert!(site(&["renamed.gguf"], "trainer: none\n").expect_err("renamed").contains("split into 3; its name"));
}

/// The golden llama, of 128 positions, with a tokenizer, and what `more` writes beside it.
fn llama(finetune: &str, more: &[(&str, &str)]) -> Result<BaseModel, String> {
    let dir = tempfile::tempdir().expect("directory");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden/llama");
    for name in ["config.json", "model.safetensors"] {
        fs::copy(golden.join(name), dir.path().join(name)).expect("golden");
    }
    let tokenizer = r#"{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#;
    for (name, content) in [&[("tokenizer.json", tokenizer)], more].concat() {
        fs::write(dir.path().join(name), content).expect("file");
    }
    look(dir.path(), &format!("finetune: {{{finetune}}}\n"))
}

#[test]
fn examples_longer_than_the_model_s_positions_are_refused_at_build() {
    let said = llama("max_length: 129", &[]).expect_err("too long");
    assert_eq!(said, "finetune.max_length: got 129, want at most the model's 128 positions");
    assert!(llama("max_length: 128", &[]).is_ok());
    // What nobody asked for is fitted to the model.
    let model = llama("", &[]).expect("the default");
    let job = plan("").job(hone_plan::JobParts { positions: model.positions, ..hone_plan::JobParts::default() });
    assert_eq!(job.finetune.expect("finetune").max_length, 128);
}

#[test]
fn chats_without_a_template_are_refused_at_build() {
    let chat = "dataset: {format: chat}";
    for more in [
        &[][..],
        &[("tokenizer_config.json", "{}")],
        &[("tokenizer_config.json", r#"{"chat_template": null}"#)],
        &[("tokenizer_config.json", r#"{"chat_template": []}"#)],
    ] {
        let said = llama(chat, more).expect_err("no template");
        assert!(said.starts_with("finetune.dataset.format: got chat, but the model has no chat template"), "{said}");
        for other in ["dataset: {format: alpaca}", "dataset: {format: text}"] {
            assert!(llama(other, more).expect("no chats").notes.is_empty());
        }
        let notes = llama("", more).expect("nobody said what the data is").notes;
        assert!(notes[0].starts_with("the model has no chat template"), "{notes:?}");
    }
    for more in [
        ("chat_template.jinja", "{{ messages }}"),
        ("tokenizer_config.json", r#"{"chat_template": "{{ messages }}"}"#),
        ("tokenizer_config.json", r#"{"chat_template": [{"name": "default", "template": "{{ messages }}"}]}"#),
    ] {
        assert!(llama(chat, &[more]).expect("a template").notes.is_empty(), "{more:?}");
    }
}
