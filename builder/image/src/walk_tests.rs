//! Nests that somebody made who means harm, and what every reader of them comes to.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::media;
use crate::oci::Platform;

/// Documents in memory, and how often any was asked for.
#[derive(Default)]
struct Memory {
    held: BTreeMap<Digest, Vec<u8>>,
    asked: Cell<usize>,
}

impl Documents for Memory {
    type Error = String;

    fn document(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, String> {
        self.asked.set(self.asked.get() + 1);
        Ok(self.held.get(&descriptor.digest).cloned())
    }

    fn refused(&self, descriptor: &Descriptor, why: Refusal) -> String {
        let source = std::error::Error::source(&why).map(|source| format!(": {source}")).unwrap_or_default();
        format!("{}: {why}{source}", descriptor.digest.short())
    }
}

impl Memory {
    fn put(&mut self, media_type: &str, value: &Value) -> Descriptor {
        self.put_bytes(media_type, value.to_string().into_bytes())
    }

    fn put_bytes(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, Digest::of(&bytes), bytes.len() as u64);
        self.held.insert(descriptor.digest, bytes);
        descriptor
    }

    fn index(&mut self, manifests: &[Descriptor]) -> Descriptor {
        self.put(media::INDEX, &json!({"schemaVersion": 2, "manifests": manifests}))
    }

    /// A manifest over these, with a layer of its own.
    fn manifest(&mut self, config: &Descriptor, layer: &str) -> Descriptor {
        let layers = [Descriptor::of(layer, Digest::of(b"layer"), 5)];
        self.put(media::MANIFEST, &json!({"schemaVersion": 2, "config": config, "layers": layers}))
    }

    fn image(&mut self, architecture: &str) -> Descriptor {
        let rootfs = json!({"type": "layers", "diff_ids": [Digest::of(b"layer")]});
        let config = json!({"architecture": architecture, "os": "linux", "rootfs": rootfs});
        let config = self.put(media::CONFIG, &config);
        self.manifest(&config, media::LAYER_TAR)
    }

    fn artifact(&mut self) -> Descriptor {
        let config = self.put(media::EMPTY, &json!({}));
        self.manifest(&config, media::MODEL_WEIGHT_TAR)
    }

    /// What a walk comes to, a word each.
    fn walked(&self, root: &Descriptor, follow: Follow<'_>) -> Vec<String> {
        Walk::of(self, root.clone(), follow)
            .map(|found| found.map_or_else(|error| error.error, |n| word(&n)))
            .collect()
    }

    fn stands_for(&self, root: &Descriptor) -> Result<Standing, String> {
        Walk::of(self, root.clone(), Follow::joined()).stands_for()
    }
}

fn word(node: &Node) -> String {
    let word = match &node.part {
        Part::Index(_) => "index",
        Part::Manifest(_, Kind::Image) => "manifest",
        Part::Manifest(_, Kind::Artifact) => "artifact's manifest",
        Part::Image(_) => "image",
        Part::Artifact(_) => "artifact",
        Part::Config => "config",
        Part::Layer => "layer",
        Part::Absent => "absent",
        Part::Other => "other",
    };
    word.to_owned()
}

#[test]
fn all_that_an_index_leads_to_comes_depth_first() {
    let mut memory = Memory::default();
    let (amd64, model) = (memory.image("amd64"), memory.artifact());
    let absent = Descriptor::of(media::MANIFEST, Digest::of(b"elsewhere"), 9);
    let root = memory.index(&[amd64.clone(), model.clone(), absent]);
    let named = ["index", "manifest", "config", "layer", "artifact's manifest", "config", "layer", "absent"];
    assert_eq!(memory.walked(&root, Follow::named()), named);
    assert_eq!(memory.walked(&root, Follow::joined()), ["index", "image", "artifact", "absent"]);
    assert_eq!(memory.walked(&amd64, Follow::named()), ["manifest", "config", "layer"]);
    assert_eq!(memory.walked(&root, Follow::joined().only(vec![model.clone()])), ["index", "artifact"]);
    assert_eq!(memory.walked(&root, Follow::joined().when(|d| d.digest == amd64.digest)), ["index", "image"]);
    let Ok(Standing::Pack(pack)) = memory.stands_for(&root) else { panic!("a pack") };
    assert_eq!((pack.images().len(), pack.artifacts().len(), pack.missing().len()), (1, 1, 1));
    assert_eq!(pack.digest(), root.digest);
    assert!(matches!(memory.stands_for(&model), Ok(Standing::Artifact(_))));
    // What names a part is told; a root that was read is not read again.
    let document = Document::of(&root, memory.held[&root.digest].clone()).expect("an index");
    let before = memory.asked.get();
    let nodes: Vec<Node> =
        Walk::from(&memory, document, Follow::named()).strict().map(|n| n.expect("sound")).collect();
    assert_eq!((nodes[0].of, nodes[1].of, nodes[2].of), (None, Some(root.digest), Some(amd64.digest)));
    assert_eq!(memory.asked.get() - before, 3);
}

#[test]
fn a_nest_is_not_entered_and_ends() {
    let mut memory = Memory::default();
    let mut root = memory.image("amd64");
    for _ in 0..1000 {
        root = memory.index(&[root]);
    }
    assert_eq!(memory.walked(&root, Follow::named()), ["index", "other"]);
    assert_eq!(memory.asked.get(), 1);
    let Ok(Standing::Pack(pack)) = memory.stands_for(&root) else { panic!("a pack") };
    assert!(pack.images().is_empty() && pack.missing().len() == 1);
    // A circle needs a document that holds its own digest: one that pretends to is not what its name says.
    let claimed = Digest::of(b"itself");
    let itself = Descriptor::of(media::INDEX, claimed, 1);
    let bytes = json!({"schemaVersion": 2, "manifests": [itself]}).to_string().into_bytes();
    memory.held.insert(claimed, bytes);
    let said = memory.walked(&itself, Follow::named());
    assert!(said.len() == 1 && said[0].contains("got sha256:"), "{said:?}");
    // Nor is there one by a manifest that is an index to whoever follows it.
    let circle = Descriptor::of(media::MANIFEST, root.digest, 1);
    let outer = memory.index(&[circle]);
    let said = memory.walked(&outer, Follow::named());
    assert!(said.len() == 2 && said[1].contains("it is described as a manifest and is an index"), "{said:?}");
}

#[test]
fn a_wide_index_is_refused_before_anything_below_it_is_read() {
    let mut memory = Memory::default();
    let image = memory.image("amd64");
    let most = memory.index(&vec![image.clone(); MAX_MANIFESTS]);
    assert_eq!(memory.walked(&most, Follow::joined()).len(), 1 + MAX_MANIFESTS);
    let wide = memory.index(&vec![image.clone(); MAX_MANIFESTS + 1]);
    let before = memory.asked.get();
    // However little of it is wanted.
    for follow in [Follow::named(), Follow::joined().only(vec![image]), Follow::named().when(|_| false)] {
        let said = memory.walked(&wide, follow);
        assert!(said.len() == 1 && said[0].contains("names 257 manifests, want at most 256"), "{said:?}");
    }
    assert_eq!(memory.asked.get() - before, 3);
}

#[test]
fn who_is_named_twice_is_read_and_counted_twice_unless_the_caller_remembers() {
    let mut memory = Memory::default();
    let image = memory.image("amd64");
    let twice = memory.index(&[image.clone(), image.clone()]);
    assert_eq!(memory.walked(&twice, Follow::joined()), ["index", "image", "image"]);
    let mut seen = BTreeSet::new();
    assert_eq!(memory.walked(&twice, Follow::joined().when(|d| seen.insert(d.digest))), ["index", "image"]);
    // 4 MiB that are an image's manifest, named again and again.
    let text = String::from_utf8(memory.held[&image.digest].clone()).expect("text");
    let wide = text.replacen('{', &format!("{{{}", " ".repeat(4 << 20)), 1);
    let wide = memory.put_bytes(media::MANIFEST, wide.into_bytes());
    let (seven, eight) = (memory.index(&vec![wide.clone(); 7]), memory.index(&vec![wide; 8]));
    assert_eq!(memory.walked(&seven, Follow::named()).len(), 1 + 7 * 3);
    let said = memory.walked(&eight, Follow::named());
    assert!(said.last().expect("an end").contains("more than 33554432 bytes together"), "{:?}", said.last());
    assert!(memory.stands_for(&eight).is_err());
    let mut seen = BTreeSet::new();
    assert_eq!(memory.walked(&eight, Follow::named().when(|d| seen.insert(d.digest))).len(), 1 + 3);
}

#[test]
fn a_configuration_that_is_something_else_is_no_way_on() {
    let mut memory = Memory::default();
    let image = memory.image("amd64");
    let inner = memory.index(std::slice::from_ref(&image));
    // An index, or a manifest, as a configuration: nobody enters it, and it makes no image.
    for other in [&inner, &image] {
        let config = Descriptor { media_type: media::CONFIG.to_owned(), ..other.clone() };
        let manifest = memory.manifest(&config, media::LAYER_TAR);
        let root = memory.index(&[manifest]);
        assert_eq!(memory.walked(&root, Follow::named()), ["index", "manifest", "config", "layer"]);
        assert_eq!(memory.walked(&root, Follow::joined()), ["index", "artifact"]);
    }
    // One that is not there, is no JSON, or is read in two ways: an error, and the next is read all the same.
    let absent = Descriptor::of(media::CONFIG, Digest::of(b"elsewhere"), 9);
    let text = memory.put_bytes(media::CONFIG, b"\xff".to_vec());
    let config = json!({"architecture": "a", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"cmd": ["/evil"]}});
    let evil = memory.put(media::CONFIG, &config);
    for (config, why) in [(absent, "it is not there"), (text, "parse config"), (evil, "field cmd for Cmd")] {
        let manifest = memory.manifest(&config, media::LAYER_TAR);
        let root = memory.index(&[manifest, image.clone()]);
        let said = memory.walked(&root, Follow::joined());
        assert!(said.len() == 3 && said[1].contains(why) && said[2] == "image", "{said:?}");
    }
}

#[test]
fn manifests_that_are_something_else_are_no_images() {
    let mut memory = Memory::default();
    let image = memory.image("amd64");
    let layer = Descriptor::of(media::LAYER_TAR, Digest::of(b"layer"), 5);
    // BuildKit's statement, by its entry; a layer in a manifest's place; a manifest whose configuration has other layers.
    let statement = Descriptor { platform: Some(Platform::nobody()), ..image.clone() };
    let root = memory.index(&[statement, layer, image.clone()]);
    assert_eq!(memory.walked(&root, Follow::joined()), ["index", "artifact", "other", "image"]);
    let rootfs = json!({"type": "layers", "diff_ids": []});
    let config = memory.put(media::CONFIG, &json!({"architecture": "a", "os": "linux", "rootfs": rootfs}));
    let fewer = memory.manifest(&config, media::LAYER_TAR);
    let root = memory.index(&[fewer, image]);
    let said = memory.walked(&root, Follow::joined());
    assert!(said[1].contains("manifest has 1 layers, config has 0 diff ids") && said[2] == "image", "{said:?}");
    // A root has to be there, and to be one of the two.
    let absent = Descriptor::of(media::INDEX, Digest::of(b"elsewhere"), 9);
    assert!(memory.walked(&absent, Follow::named())[0].contains("it is not there"));
    assert!(memory.stands_for(&config).is_err());
}
