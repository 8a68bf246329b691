//! OCI layouts as places that others own: one name is added or replaced, everything else is kept, also under a kill; and
//! a store is never one of them.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::Site;
use common::gguf::Gguf;
use hone_store::Store;
use serde_json::{Value, json};

const HONEFILE: &str = "apiVersion: hone.dev/v1\nname: tiny\nbase: {model: tiny.gguf}\ntrainer: none\n";
const NAME: &str = "org.opencontainers.image.ref.name";

/// What a layout calls its images, and what that stands for.
type Names = BTreeMap<String, String>;

/// A store with an image of `rows` rows under each of these names.
fn site(images: &[(&str, u64)]) -> Site {
    let site = Site::new();
    site.write("Honefile", HONEFILE);
    for (name, rows) in images {
        site.write("tiny.gguf", Gguf::llama(16, *rows).bytes());
        site.ok(&["build", "-q", "-t", name]);
    }
    site
}

fn index(layout: &Path) -> Value {
    serde_json::from_slice(&fs::read(layout.join("index.json")).expect("index.json")).expect("JSON")
}

/// The names of a layout and what they stand for; every byte that they lead to is there.
fn names(layout: &Path) -> Names {
    let store = Store::at(layout);
    let mut names = BTreeMap::new();
    for entry in index(layout)["manifests"].as_array().expect("manifests") {
        let digest = entry["digest"].as_str().expect("digest");
        if entry["artifactType"].is_null() {
            let pack = store.pack(digest.parse().expect("digest")).expect("documents");
            for layer in pack.layers() {
                let mut blob = store.open_blob(layer.digest, layer.size).expect("layer");
                blob.read_to_end(&mut Vec::new()).expect("verified to the end");
            }
        }
        if let Some(name) = entry["annotations"][NAME].as_str() {
            assert_eq!(names.insert(name.to_owned(), digest.to_owned()), None, "{name} is there twice");
        }
    }
    names
}

fn digest(site: &Site, name: &str) -> String {
    site.json(&["inspect", "--json", name])["digest"].as_str().expect("digest").to_owned()
}

/// Every file below a directory, with its bytes; of a link, where it leads.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut next = vec![dir.to_owned()];
    while let Some(place) = next.pop() {
        for entry in fs::read_dir(&place).expect("directory") {
            let path = entry.expect("entry").path();
            match path.is_dir() {
                _ if path.is_symlink() => {
                    let target = fs::read_link(&path).expect("link").into_os_string().into_encoded_bytes();
                    all.insert(path.display().to_string(), target);
                }
                true => next.push(path),
                false => drop(all.insert(path.display().to_string(), fs::read(&path).expect("file"))),
            }
        }
    }
    all
}

/// Runs, and does not wait for ever.
fn ended(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start");
    let begin = Instant::now();
    while child.try_wait().expect("wait").is_none() {
        if begin.elapsed() > Duration::from_secs(60) {
            let _ = child.kill();
            panic!("it hangs: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("output")
}

#[test]
fn one_name_is_added_or_replaced_and_the_others_stay_as_they_are() {
    let site = site(&[("tiny:one", 16), ("tiny:two", 32)]);
    site.ok(&["save", "tiny:one", "-o", "oci:l"]);
    let layout = site.path("l");
    // What others wrote there, and we do not know.
    let mut own = index(&layout);
    own["x-mine"] = json!({ "a": 1 });
    own["manifests"][0]["x-mine"] = json!(2);
    let stranger = json!({ "mediaType": "application/x-mine", "digest": "sha512:00", "size": 1 });
    own["manifests"].as_array_mut().expect("entries").push(stranger.clone());
    fs::write(layout.join("index.json"), own.to_string()).expect("write");
    fs::write(layout.join("blobs/sha256/mine"), "mine").expect("write");
    let before = tree(&layout);
    let one = digest(&site, "tiny:one");

    site.ok(&["save", "tiny:two", "-o", "oci:l"]);
    let now = index(&layout);
    assert_eq!(now["x-mine"], json!({ "a": 1 }));
    assert_eq!((&now["manifests"][0]["x-mine"], &now["manifests"][0]["digest"]), (&json!(2), &json!(one)));
    assert!(now["manifests"].as_array().expect("entries").contains(&stranger));
    for (path, bytes) in before.iter().filter(|(path, _)| !path.ends_with("index.json")) {
        assert_eq!(&fs::read(path).expect("kept"), bytes, "{path}");
    }
    // Replaced by the same name: what it stood for before loses the name, and keeps its blobs.
    site.write("tiny.gguf", Gguf::llama(16, 64).bytes());
    site.ok(&["build", "-q", "-t", "tiny:one", "-o", "oci:l"]);
    let (blobs, two) = (fs::read_dir(layout.join("blobs/sha256")).expect("blobs").count(), digest(&site, "tiny:two"));
    let mut left = index(&layout);
    left["manifests"].as_array_mut().expect("entries").retain(|entry| *entry != stranger);
    fs::write(layout.join("index.json"), left.to_string()).expect("write");
    let all = names(&layout);
    assert_eq!(all.keys().collect::<Vec<_>>(), ["tiny:one", "tiny:one-modelpack", "tiny:two", "tiny:two-modelpack"]);
    assert_eq!((&all["tiny:one"], &all["tiny:two"]), (&digest(&site, "tiny:one"), &two));
    assert_ne!(all["tiny:one"], one);
    // The same again changes not a byte.
    let before = tree(&layout);
    site.ok(&["save", "tiny:one", "-o", "oci:l"]);
    assert_eq!(tree(&layout), before);
    assert!(blobs > 14, "three images' blobs: {blobs}");
    // Without the index there is no model's artifact, and the old one's name is not kept for it.
    site.ok(&["save", "--no-index", "tiny:one", "-o", "oci:l"]);
    assert_eq!(names(&layout).keys().collect::<Vec<_>>(), ["tiny:one", "tiny:two", "tiny:two-modelpack"]);
}

#[test]
fn a_name_follows_the_colon_out_and_in() {
    let site = site(&[("tiny:one", 16)]);
    site.ok(&["save", "tiny:one", "-o", "oci:l:v1"]);
    site.ok(&["save", "tiny:one", "-o", "oci:l:r.test/other:v2"]);
    assert!(!site.path("l:v1").exists(), "a tag is no folder");
    let all = names(&site.path("l"));
    assert_eq!(all.len(), 4, "{all:?}");
    assert_eq!(all["v1"], all["r.test/other:v2"]);
    // The whole name is there, too: it comes back by the tag, and by the other name.
    for tag in ["v1", "r.test/other:v2", "v2"] {
        let said = site.ok(&["--root", &format!("root-{}", tag.len()), "load", &format!("oci:l:{tag}")]);
        assert!(said.starts_with("tiny:one sha256:"), "{tag}: {said}");
    }
    let refused = site.fails(&["load", "oci:l:nope"]);
    assert!(refused.contains("want one image with the tag nope, got 0; it has v1,"), "{refused}");
    for bad in ["oci:", "oci:l:", "oci:l:a b", "oci:l:/x"] {
        let output = site.command(&["save", "tiny:one", "-o", bad]).output().expect("hone");
        assert_eq!(output.status.code(), Some(2), "{bad}");
    }
}

#[test]
fn an_archive_s_name_follows_its_colon_out_and_in() {
    let site = site(&[("tiny:one", 16)]);
    for kind in ["oci-archive", "docker-archive"] {
        let place = |name: &str| format!("{kind}:{kind}.tar:{name}");
        site.ok(&["save", "tiny:one", "-o", &place("other:v2")]);
        let said = site.ok(&["--root", kind, "load", &place("other:v2")]);
        assert!(said.starts_with("other:v2 sha256:"), "{said}");
        let refused = site.fails(&["--root", kind, "load", &place("nope:1")]);
        assert!(refused.contains("it holds no image called nope:1; it has other:v2"), "{refused}");
    }
}

#[test]
fn what_can_be_loaded_is_said_alike_in_the_help_and_in_the_error() {
    let site = Site::new();
    let plain = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (help, error) = (plain(site.ok(&["load", "--help"])), plain(site.fails(&["load", "nonsense"])));
    let words = error.split_once("want ").expect("what is wanted").1;
    assert!(help.contains(words), "{help}\n{error}");
    for word in ["oci:DIR:TAG", "docker:NAME", "containerd:NAME", "containerd=NAMESPACE:NAME"] {
        assert!(words.contains(word), "{word}: {words}");
    }
}

/// Two stores with an image, and links into the first.
fn stores() -> Site {
    let mut site = site(&[("tiny:one", 16)]);
    site.with_trainer();
    site.ok(&["save", "tiny:one", "-o", "oci-archive:a.tar"]);
    site.ok(&["--root", "other", "load", "--tag", "tiny:one", "oci-archive:a.tar"]);
    symlink(site.root(), site.path("link")).expect("link");
    symlink(site.root().join("new"), site.path("dangling")).expect("link");
    fs::create_dir(site.path("mine")).expect("directory");
    site
}

#[test]
fn no_layout_is_written_into_a_store_whatever_leads_there() {
    let site = stores();
    let before = (tree(&site.root()), tree(&site.path("other")));
    let absolute = site.root().display().to_string();
    let spelled = ["root", "root/", &absolute, "root/../root", "mine/../root/staging/x"];
    for place in spelled.into_iter().chain(["link", "link/deep/er", "dangling", "other"]) {
        let output = format!("oci:{place}");
        let save: &[&str] = &["save", "tiny:one", "-o", &output];
        for args in [save, &["build", "-t", "tiny:new", "-o", &output], &["trainer", "pack", "trainer", place]] {
            let said = site.fails(args);
            assert!(said.contains("in Hone's store"), "{args:?}: {said}");
        }
    }
    assert_eq!((tree(&site.root()), tree(&site.path("other"))), before, "nothing was built and nothing was changed");
    // Nor where a store is to be; beside one anything may be.
    let said = site.fails(&["--root", "later", "trainer", "pack", "trainer", "later"]);
    assert!(said.contains("in Hone's store") && !site.path("later").exists(), "{said}");
    site.ok(&["save", "tiny:one", "-o", "oci:root-2", "--no-index"]);
    // A layout whose blobs lie in a store is the store's.
    fs::remove_dir_all(site.path("root-2/blobs")).expect("remove");
    symlink(site.root().join("blobs"), site.path("root-2/blobs")).expect("link");
    assert!(site.fails(&["save", "tiny:one", "-o", "oci:root-2"]).contains("its blobs are in the store"));
}

#[test]
fn no_file_is_written_into_a_store_whatever_leads_there() {
    let site = stores();
    site.write("Modelfile", "FROM ./tiny.gguf\n");
    let before = (tree(&site.root()), tree(&site.path("other")));
    for file in ["root/index.json", "root/../root/lock", "link/new.tar", "dangling", "other/blobs/sha256/x"] {
        for kind in ["oci-archive", "docker-archive"] {
            let output = format!("{kind}:{file}");
            for args in [["save", "tiny:one", "-o", &output], ["build", "--tag=tiny:new", "-o", &output]] {
                let said = site.fails(&args);
                assert!(said.contains("in Hone's store"), "{args:?}: {said}");
            }
        }
        let said = site.fails(&["convert", "Modelfile", "--force", "-o", file]);
        assert!(said.contains("in Hone's store"), "{file}: {said}");
    }
    assert_eq!((tree(&site.root()), tree(&site.path("other"))), before, "nothing was built and nothing was changed");
    for (file, want) in
        [("mine", "it is a directory"), ("no/a.tar", "the directory is not there"), ("nothing", "a link to nothing")]
    {
        let _ = symlink("nowhere", site.path("nothing"));
        let said = site.fails(&["build", "-t", "tiny:new", "-o", &format!("docker-archive:{file}")]);
        assert!(said.contains(want), "{file}: {said}");
    }
    site.fails(&["inspect", "tiny:new"]);
    site.ok(&["save", "tiny:one", "-o", "docker-archive:root.tar"]);
    site.ok(&["convert", "Modelfile", "-o", "Honefile-2"]);
}

#[test]
fn what_is_no_layout_is_left_alone() {
    let site = site(&[("tiny:one", 16)]);
    site.write("precious/data", "mine");
    site.write("file", "mine");
    site.write("future/oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#);
    site.write("broken/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    site.write("broken/index.json", "{");
    site.write("linked/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    symlink("../broken/index.json", site.path("linked/index.json")).expect("link");
    symlink("nowhere", site.path("dangling")).expect("link");
    let before = tree(site.dir.path());
    for (place, want) in [
        ("precious", "something else is there, not an OCI layout"),
        ("file", "something else is there, not an OCI layout"),
        ("future", "oci-layout: want version 1"),
        ("broken", "index.json: EOF while parsing"),
        ("linked", "index.json: it is a link"),
        ("dangling", "a link to nothing"),
    ] {
        let said = site.fails(&["save", "tiny:one", "-o", &format!("oci:{place}")]);
        assert!(said.contains(want), "{place}: {said}");
    }
    assert_eq!(tree(site.dir.path()), before);
    // An empty directory, one in a directory that is not there, and a link to a layout are places for one.
    fs::create_dir(site.path("empty")).expect("directory");
    symlink("empty", site.path("alias")).expect("link");
    for place in ["empty", "new/er/layout", "alias"] {
        site.ok(&["save", "tiny:one", "-o", &format!("oci:{place}")]);
        assert_eq!(names(&site.path(place)).len(), 2, "{place}");
    }
}

#[test]
fn a_layout_that_go_s_tools_began_is_written_into() {
    let site = site(&[("tiny:one", 16)]);
    // As `umoci init` makes it; an index without a list is none.
    for (place, index, taken) in [
        ("umoci", r#"{"schemaVersion":2,"manifests":null}"#, true),
        ("null", r#"{"schemaVersion":2,"mediaType":"","manifests":null,"annotations":null}"#, true),
        ("none", r#"{"schemaVersion":2}"#, false),
        ("map", r#"{"schemaVersion":2,"manifests":{}}"#, false),
    ] {
        site.write(&format!("{place}/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
        site.write(&format!("{place}/index.json"), index);
        fs::create_dir_all(site.path(place).join("blobs/sha256")).expect("directory");
        let to = format!("oci:{place}");
        if taken {
            assert!(Store::at(site.path(place)).references().expect("an index").is_empty());
            site.ok(&["save", "tiny:one", "-o", &to]);
            assert_eq!(names(&site.path(place)).len(), 2, "{place}");
            assert!(load(&site, &format!("root-{place}"), &[&to]).0.starts_with("tiny:one "));
        } else {
            assert!(site.fails(&["save", "tiny:one", "-o", &to]).contains("no index of images"), "{place}");
        }
    }
}

#[test]
fn a_failed_write_leaves_what_was_there_and_damage_is_mended() {
    let site = site(&[("tiny:one", 16), ("tiny:two", 32)]);
    site.ok(&["save", "tiny:one", "-o", "oci:l"]);
    let blob = |name: &str, store: &Path| {
        let store = Store::at(store);
        store.blob_path(site.store().resolve(name).expect("image").image.layers()[0].descriptor.digest)
    };
    let weight = blob("tiny:two", &site.root());
    let good = fs::read(&weight).expect("blob");
    let spoil = |path: &Path| {
        let mut bytes = fs::read(path).expect("blob");
        *bytes.last_mut().expect("bytes") ^= 1;
        fs::remove_file(path).expect("remove");
        fs::write(path, bytes).expect("write");
    };
    spoil(&weight);
    let before = tree(&site.path("l"));
    site.fails(&["save", "tiny:two", "-o", "oci:l"]);
    assert_eq!(tree(&site.path("l")), before);
    site.fails(&["save", "tiny:two", "-o", "oci:new/layout"]);
    assert!(!site.path("new").exists(), "what a failure made is gone");
    fs::remove_file(&weight).expect("remove");
    fs::write(&weight, good).expect("write");
    // A blob of the layout that is not what its name says is written anew.
    spoil(&blob("tiny:one", &site.path("l")));
    site.ok(&["save", "tiny:one", "-o", "oci:l"]);
    assert_eq!(tree(&site.path("l")), before);
}

/// Loads into a store of its own: what was said, and what was told to be left.
fn load(site: &Site, root: &str, what: &[&str]) -> (String, String) {
    let output = site.command(&[&["--root", root, "load"], what].concat()).output().expect("hone");
    assert!(output.status.success(), "{what:?}: {output:?}");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(output.stdout), text(output.stderr))
}

#[test]
fn a_saved_layout_is_loaded_and_what_is_no_image_is_said_to_be_left() {
    let site = site(&[("tiny:one", 16), ("tiny:two", 32)]);
    site.ok(&["build", "-q", "-t", "tiny:two", "--sbom", "-o", "oci:l"]);
    let (said, left) = load(&site, "a", &["oci:l"]);
    assert_eq!(said, format!("tiny:two {}\n", digest(&site, "tiny:two")));
    let model = "left in oci:l: tiny:two-modelpack: application/vnd.cncf.model.manifest.v1+json";
    assert!(left.contains(model), "{left}");
    assert!(!left.contains("spdx"), "the bill of materials came along: {left}");
    site.ok(&["--root", "a", "inspect", "--sbom", "tiny:two"]);
    site.ok(&["--root", "a", "verify", "tiny:two"]);
    // Several names, all of them at once, or one.
    site.ok(&["save", "tiny:one", "-o", "oci:l"]);
    site.ok(&["save", "tiny:one", "-o", "oci:l:v1"]);
    let (one, two) = (digest(&site, "tiny:one"), digest(&site, "tiny:two"));
    assert_eq!(load(&site, "b", &["oci:l"]).0, format!("tiny:two {two}\ntiny:one {one}\n"));
    assert_eq!(load(&site, "c", &["oci:l:one"]).0, format!("tiny:one {one}\n"));
    assert_eq!(load(&site, "d", &["oci:l:v1", "-t", "mine:1"]).0, format!("mine:1 {one}\n"));
    // What is named, and is no image, is not loaded as one.
    let said = site.fails(&["--root", "e", "load", "oci:l:one-modelpack", "-t", "mine:1"]);
    assert!(said.contains("no image of containers"), "{said}");
}

/// A layout with `tiny:one` and `tiny:two`, and these entries before and after them.
fn beside(site: &Site, strangers: &[Value]) {
    for name in ["tiny:one", "tiny:two"] {
        site.ok(&["save", "--no-index", name, "-o", "oci:l"]);
    }
    let mut own = index(&site.path("l"));
    let good = own["manifests"].as_array().expect("entries").clone();
    own["manifests"] = json!([&strangers[..1], &good, &strangers[1..]].concat());
    fs::write(site.path("l/index.json"), own.to_string()).expect("write");
}

#[test]
fn an_entry_that_cannot_be_read_takes_no_other_with_it() {
    let site = site(&[("tiny:one", 16), ("tiny:two", 32)]);
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let hash = "0".repeat(64);
    let called = |name: &str| json!({ NAME: name });
    beside(
        &site,
        &[
            json!({ "mediaType": manifest, "digest": format!("sha512:{hash}{hash}"), "size": 9, "annotations": called("t:7") }),
            json!({ "mediaType": manifest, "digest": format!("sha256:{hash}"), "size": 9, "annotations": called("gone:1") }),
            json!({ "mediaType": manifest, "digest": "sha256:\u{1b}[2J", "size": -1, "annotations": called("odd:\u{1b}[2J") }),
            json!(5),
        ],
    );
    let (one, two) = (digest(&site, "tiny:one"), digest(&site, "tiny:two"));
    let (said, left) = load(&site, "a", &["oci:l"]);
    // The image's own manifest is there alone, in the place of its index.
    assert_eq!(
        said.lines().map(|l| l.split(' ').next().expect("name")).collect::<Vec<_>>(),
        ["tiny:one", "tiny:two"]
    );
    assert!(!said.contains(&one) && !said.contains(&two), "{said}");
    for want in [
        "left in oci:l: t:7: its entry in index.json is no descriptor of an image: ",
        "left in oci:l: gone:1: it cannot be read: ",
        "left in oci:l: odd:\\u{1b}[2J: its entry in index.json is no descriptor",
        "left in oci:l: 5: its entry in index.json is no descriptor",
    ] {
        assert!(left.contains(want), "{want}: {left}");
    }
    assert!(left.contains("want sha256:") && !left.contains('\u{1b}'), "{left}");
    // Named, a good one is loaded, and a bad one says why it is not.
    assert!(load(&site, "b", &["-q", "oci:l:two"]).1.is_empty());
    for (tag, want) in [("t:7", "t:7: its entry in index.json"), ("gone:1", "gone:1: it cannot be read")] {
        for more in [&[][..], &["-t", "mine:1"]] {
            let what = format!("oci:l:{tag}");
            let said = site.fails(&[&["--root", "c", "load", &what], more].concat());
            assert!(said.contains(want), "{tag}: {said}");
        }
    }
    // What others wrote stays there, and is not in the way of a writer either.
    site.ok(&["save", "tiny:one", "-o", "oci:l:v1"]);
    assert_eq!(index(&site.path("l"))["manifests"][0]["annotations"], called("t:7"));
}

#[test]
fn what_is_not_certainly_left_by_a_kill_is_not_removed() {
    let site = site(&[("tiny:one", 16)]);
    // In no layout nothing is: not a directory that is called nearly so, not one that is, and no other writer's archive.
    for (n, file) in [
        ".hone-notes/mine",
        ".hone-archive-Ab12cd",
        ".hone-layout-notes",
        ".hone-layout-Ab12cd",
        ".hone-layout-Ab12cd/mine",
        ".hone-Ab12cd",
    ]
    .into_iter()
    .enumerate()
    {
        let place = format!("d{n}");
        site.write(&format!("{place}/{file}"), "mine");
        let before = tree(&site.path(&place));
        let said = site.fails(&["save", "tiny:one", "-o", &format!("oci:{place}")]);
        assert!(said.contains("something else is there, not an OCI layout"), "{file}: {said}");
        assert_eq!(tree(&site.path(&place)), before, "{file}");
        // In a layout what a killed writer has left is removed, and no more.
        let layout = format!("l{n}");
        site.ok(&["save", "tiny:one", "-o", &format!("oci:{layout}")]);
        let made = site.write(&format!("{layout}/{file}"), "mine");
        symlink("index.json", site.path(&layout).join(".hone-layout-a0a0a0")).expect("link");
        site.ok(&["save", "tiny:one", "-o", &format!("oci:{layout}")]);
        assert_eq!(made.exists(), !file.starts_with(".hone-layout-Ab12cd"), "{file}");
        assert!(site.path(&layout).join(".hone-layout-a0a0a0").is_symlink());
    }
    // Killed in its first step.
    site.write("first/.hone-layout-Ab12cd", r#"{"imageLay"#);
    site.ok(&["save", "tiny:one", "-o", "oci:first"]);
    assert_eq!(fs::read_dir(site.path("first")).expect("layout").count(), 3);
}

#[test]
fn archives_of_killed_writers_go_and_those_that_are_being_written_stay() {
    let site = site(&[("tiny:one", 16)]);
    for kind in ["oci-archive", "docker-archive"] {
        let left = site.write("out/.hone-archive-Ab12cd", "left");
        let held = site.write("out/.hone-archive-Zy98xw", "held");
        let lock = fs::File::open(&held).expect("open");
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("lock");
        let mine = [".hone-archive-notes", ".hone-layout-Ab12cd", ".hone-archive-a1b2c3/mine", "other.tar"];
        let mine = mine.map(|name| site.write(&format!("out/{name}"), "mine"));
        let link = site.path("out/.hone-archive-l1n2k3");
        let _ = symlink("other.tar", &link);
        site.ok(&["save", "tiny:one", "-o", &format!("{kind}:out/a.tar")]);
        assert!(!left.exists() && held.exists() && link.is_symlink(), "{kind}");
        assert!(mine.iter().all(|path| path.exists()), "{kind}");
    }
}

#[test]
fn writers_of_archives_in_one_directory_leave_each_other_alone() {
    let site = site(&[("tiny:one", 16)]);
    fs::create_dir(site.path("out")).expect("directory");
    let start = |n: usize| {
        let mut save = site.command(&["save", "tiny:one", "-o", &format!("oci-archive:out/{}.tar", n % 4)]);
        save.stderr(Stdio::piped()).spawn().expect("hone")
    };
    for child in (0..16).map(start).collect::<Vec<_>>() {
        let output = child.wait_with_output().expect("hone");
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(fs::read_dir(site.path("out")).expect("directory").count(), 4);
}

#[test]
fn a_saved_layout_is_a_model_s_place_too() {
    let site = site(&[("tiny:two", 32)]);
    site.ok(&["build", "-q", "-t", "tiny:one", "--sbom", "-o", "oci:l"]);
    let built = |model: &str| {
        site.write("H", HONEFILE.replace("tiny.gguf", &format!("'{model}'")));
        site.command(&["build", "-q", "-t", "tiny:again", "H"]).output().expect("hone")
    };
    let output = built("oci:l");
    assert!(output.status.success(), "{output:?}");
    let weight = |name: &str| site.json(&["inspect", "--json", name])["layers"][0]["digest"].clone();
    assert_eq!(weight("tiny:again"), weight("tiny:one"));
    // The name is meant that is just so, not another one that ends in it.
    site.ok(&["save", "tiny:two", "-o", "oci:l:one"]);
    assert!(built("oci:l:one").status.success());
    assert_eq!(weight("tiny:again"), weight("tiny:two"));
    let error = String::from_utf8(built("oci:l").stderr).expect("UTF-8");
    assert!(error.contains("want one image, got 2; say which by its tag"), "{error}");
}

#[test]
fn one_name_does_not_stand_for_two_images() {
    let site = site(&[("tiny:one", 16), ("tiny:two", 32)]);
    for name in ["tiny:one", "tiny:two"] {
        site.ok(&["save", name, "-o", "oci:l"]);
    }
    let tar = Command::new("tar")
        .args(["cf", "l.tar", "-C", "l", "oci-layout", "index.json", "blobs"])
        .current_dir(site.dir.path())
        .status();
    assert!(tar.expect("tar").success());
    let said = site.fails(&["--root", "e", "load", "oci:l", "--tag", "mine:1"]);
    let want = "it holds 2 images and one is wanted; it has tiny:one, tiny:two; name one: oci:l:TAG";
    assert!(said.contains(want), "{said}");
    let said = site.fails(&["--root", "e", "load", "oci-archive:l.tar", "--tag", "mine:1"]);
    assert!(
        said.contains("it holds 2 images and one is wanted; it has tiny:one, tiny:two; load it without"),
        "{said}"
    );
    assert!(!site.path("e/index.json").exists(), "nothing got the name");
    for from in ["oci:l", "oci-archive:l.tar"] {
        let said = site.fails(&["build", "-t", "x:y", "--from-image", from]);
        assert!(said.contains("it holds 2 images and one is wanted"), "{said}");
    }
    let (said, left) = load(&site, "f", &["oci-archive:l.tar"]);
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(left.contains("vnd.cncf.model.manifest"), "{left}");
    // The twin: an image with two names may get a third.
    site.ok(&["save", "tiny:one", "-o", "oci:twice:a"]);
    site.ok(&["save", "tiny:one", "-o", "oci:twice:b"]);
    assert!(load(&site, "g", &["oci:twice", "-t", "mine:1"]).0.starts_with("mine:1 sha256:"));
}

#[test]
fn files_of_other_kinds_are_not_waited_for() {
    let site = site(&[("tiny:one", 16)]);
    let fifo = |path: &str| assert!(Command::new("mkfifo").arg(site.path(path)).status().expect("mkfifo").success());
    for file in ["oci-layout", "index.json"] {
        let name = format!("l-{file}");
        site.ok(&["save", "tiny:one", "-o", &format!("oci:{name}")]);
        fs::remove_file(site.path(&format!("{name}/{file}"))).expect("remove");
        fifo(&format!("{name}/{file}"));
        for args in
            [["load", &format!("oci:{name}"), "-t", "x:y"], ["save", "tiny:one", "-o", &format!("oci:{name}")]]
        {
            let output = ended(site.command(&args));
            assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains("want a regular file"), "{output:?}");
        }
    }
    fifo("pipe");
    symlink("/dev/zero", site.path("zero")).expect("link");
    for from in ["oci-archive:pipe", "docker-archive:pipe", "oci-archive:zero"] {
        let output = ended(site.command(&["load", from]));
        assert!(String::from_utf8_lossy(&output.stderr).contains("want a regular file"), "{from}: {output:?}");
    }
    // The twin: an archive that is reached through a link.
    site.ok(&["save", "tiny:one", "-o", "oci-archive:a.tar"]);
    symlink("a.tar", site.path("b.tar")).expect("link");
    site.ok(&["--root", "b", "load", "oci-archive:b.tar"]);
    // And out: what a link names is written, and the link stays.
    site.ok(&["save", "tiny:one", "-o", "docker-archive:b.tar"]);
    assert!(site.path("b.tar").is_symlink());
    site.ok(&["--root", "c", "load", "docker-archive:a.tar"]);
}

/// After a kill: names from before or from now, all that they lead to, and the same command finishes the work.
fn recovers(site: &Site, layout: &str, old: &Names, new: &Names) {
    let path = site.path(layout);
    if !old.is_empty() || path.join("index.json").exists() {
        let found = names(&path);
        assert!(found == *old || found == *new, "{found:?}");
    }
    site.ok(&["save", "tiny:one", "-o", &format!("oci:{layout}")]);
    assert_eq!(names(&path), *new);
    let left: Vec<_> = fs::read_dir(&path).expect("layout").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

fn copied(site: &Site, from: &str, to: &str) {
    let done = Command::new("cp").arg("-r").arg(site.path(from)).arg(site.path(to)).status();
    assert!(done.expect("cp").success());
}

/// A layout with two names, of which `tiny:one` is about to stand for another image, and one that is not there yet: names
/// of either, before and after.
fn changing() -> (Site, [(&'static str, Names, Names); 2]) {
    let site = site(&[("tiny:one", 16), ("tiny:two", 32)]);
    for name in ["tiny:one", "tiny:two"] {
        site.ok(&["save", name, "-o", "oci:old"]);
    }
    site.write("tiny.gguf", Gguf::llama(16, 4096).bytes());
    site.ok(&["build", "-q", "-t", "tiny:one"]);
    copied(&site, "old", "done");
    site.ok(&["save", "tiny:one", "-o", "oci:done"]);
    site.ok(&["save", "tiny:one", "-o", "oci:fresh"]);
    let (old, new, fresh) = (names(&site.path("old")), names(&site.path("done")), names(&site.path("fresh")));
    (site, [("old", old, new), ("absent", BTreeMap::new(), fresh)])
}

#[test]
fn a_kill_before_any_step_leaves_the_old_names_or_the_new_ones() {
    // Every call that changes the layout, by strace's own injection.
    const STEPS: &str = "mkdir,mkdirat,rename,renameat,renameat2,fsync,chmod,fchmod,fchmodat,unlink,unlinkat,flock";
    if !Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success()) {
        common::skipped("no strace here");
        return;
    }
    let (site, cases) = changing();
    for (from, old, new) in &cases {
        let mut steps = 0;
        for n in 1.. {
            let layout = format!("{from}-{n}");
            if site.path(from).exists() {
                copied(&site, from, &layout);
            }
            let inject = format!("inject={STEPS}:signal=KILL:when={n}");
            let mut strace = Command::new("strace");
            strace.args([
                "-f",
                "-o",
                "/dev/null",
                "-e",
                &inject,
                env!("CARGO_BIN_EXE_hone"),
                "save",
                "tiny:one",
                "-o",
            ]);
            strace.arg(format!("oci:{layout}")).current_dir(site.dir.path()).env("HONE_ROOT", site.root());
            let finished = ended(strace).status.success();
            recovers(&site, &layout, old, new);
            if finished {
                steps = n;
                break;
            }
        }
        assert!(steps > 12, "{from}: {steps} steps");
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_names_or_the_new_ones() {
    let (site, cases) = changing();
    let begin = Instant::now();
    site.ok(&["save", "tiny:one", "-o", "oci:usual"]);
    let usual = begin.elapsed();
    for (from, old, new) in &cases {
        for n in 1..=12u32 {
            let layout = format!("{from}-at-{n}");
            if site.path(from).exists() {
                copied(&site, from, &layout);
            }
            let mut save = site.command(&["save", "tiny:one", "-o", &format!("oci:{layout}")]);
            let mut child = save.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("hone");
            std::thread::sleep(usual.mul_f64(1.1 * f64::from(n) / 12.0));
            let _ = child.kill();
            let _ = child.wait();
            recovers(&site, &layout, old, new);
        }
    }
}

#[test]
fn writers_of_one_layout_wait_for_each_other() {
    let site = site(&[("tiny:one", 16), ("tiny:two", 32)]);
    let start = |n: usize| {
        let name = if n.is_multiple_of(2) { "tiny:one" } else { "tiny:two" };
        site.command(&["save", name, "-o", &format!("oci:l:t{n}")]).stderr(Stdio::piped()).spawn().expect("hone")
    };
    for child in (0..8).map(start).collect::<Vec<_>>() {
        let output = child.wait_with_output().expect("hone");
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(names(&site.path("l")).len(), 16);
}
