//! `hone push` and `hone pull`: what they name, there and here, and what they say of their steps.

mod common;

use common::Site;
use common::registry::Registry;
use serde_json::Value;

fn site() -> Site {
    let mut site = Site::new();
    site.llama_image();
    site
}

/// The objects that a verb with `--progress json` wrote to standard error.
fn events(site: &Site, args: &[&str]) -> Vec<Value> {
    let output = site.command(args).output().expect("start hone");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{args:?}: {said}");
    said.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

#[test]
fn a_digest_in_an_event_is_a_digest() {
    let (site, registry) = (site(), Registry::start());
    let name = format!("{}/a/assistant:base", registry.host);
    let pull = Site::new();
    let push = ["push", "--progress", "json", "assistant:base", &name];
    let mut all = events(&site, &push);
    let again = events(&site, &push);
    let said = |events: &[Value], note: &str| events.iter().filter(|e| e["note"] == note).count();
    assert!(
        said(&all, "pushed") > 0 && said(&again, "pushed") == 0 && said(&again, "exists already") > 0,
        "{again:?}"
    );
    all.extend(again);
    all.extend(events(&pull, &["pull", "--progress", "json", &name]));
    all.extend(events(&site, &["build", "--progress", "json", "-t", "x:y", "-o", "oci:out"]));
    let ends: Vec<&Value> = all.iter().filter(|event| event["event"] == "end").collect();
    for event in &ends {
        match &event["digest"] {
            Value::Null => assert!(event["note"].is_string(), "{event}"),
            digest => assert!(digest.as_str().is_some_and(|d| d.len() == 71 && d.starts_with("sha256:")), "{event}"),
        }
    }
    assert!(ends.iter().filter(|event| event["digest"].is_string()).count() > 5, "{ends:?}");
}

#[test]
fn a_digest_moves_no_name() {
    let (site, registry) = (site(), Registry::start());
    let name = format!("{}/a/assistant", registry.host);
    let old = site.ok(&["push", "-q", "assistant:base", &format!("{name}:old")]).trim().to_owned();
    site.ok(&["build", ".", "-t", "assistant:base", "--created", "1"]);
    let new = site.ok(&["push", "-q", "assistant:base", &format!("{name}:latest")]).trim().to_owned();
    assert_ne!(old, new);
    let device = Site::new();
    device.ok(&["pull", &name]);
    let stands_for =
        |device: &Site, name: &str| device.json(&["inspect", "--json", name])["digest"].as_str().map(str::to_owned);
    for pinned in [format!("{name}@{old}"), format!("{name}:latest@{old}")] {
        let said = device.ok(&["pull", &pinned]);
        let own = format!("{name}:sha256-{}", &old["sha256:".len()..][..32]);
        let names = device.ok(&["images"]);
        assert_eq!(
            stands_for(&device, &format!("{name}:latest")).as_deref(),
            Some(new.as_str()),
            "{pinned}: {names}"
        );
        assert_eq!(said, format!("{own} {old}\n"));
        // It is found as it was pulled, and kept.
        device.ok(&["prune"]);
        assert!(device.ok(&["verify", &pinned]).contains(": ok ("));
        assert!(names.contains(&own), "{names}");
        // A Honefile's trainer by that name is taken from here.
        let before = registry.state().seen.len();
        device.write("Honefile", format!("apiVersion: hone.dev/v1\nname: own\ntrainer: {{image: \"{pinned}\"}}\n"));
        device.ok(&["build", "-t", "own:base"]);
        assert_eq!(registry.state().seen.len(), before, "the registry is not asked");
        device.ok(&["rm", &pinned]);
    }
    // Twins: -t says which name; and a name that has it already is enough.
    device.ok(&["pull", &format!("{name}@{old}"), "-t", "mine:old"]);
    assert_eq!(stands_for(&device, "mine:old").as_deref(), Some(old.as_str()));
    let fresh = Site::new();
    fresh.ok(&["pull", &format!("{name}:old")]);
    assert_eq!(fresh.ok(&["pull", &format!("{name}@{old}")]), format!("{name} {old}\n"));
    assert_eq!(fresh.json(&["images", "--json"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn a_tag_without_room_for_modelpack_is_pushed_without_it_and_says_so_first() {
    let (site, registry) = (site(), Registry::start());
    for (length, model) in [(117, true), (118, true), (119, false), (128, false)] {
        let tag = "t".repeat(length);
        let name = format!("{}/a/n{length}:{tag}", registry.host);
        let output = site.command(&["push", "--progress", "plain", "assistant:base", &name]).output().expect("hone");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let want = if model { vec![tag.clone(), format!("{tag}-modelpack")] } else { vec![tag.clone()] };
        assert_eq!(registry.tags(&format!("a/n{length}")), want);
        assert_eq!(
            said.lines().next().is_some_and(|line| line.contains("no tag of the model's own")),
            !model,
            "{said}"
        );
        // A layout has the same names.
        site.ok(&["tag", "assistant:base", &format!("long:{tag}")]);
        site.ok(&["save", &format!("long:{tag}"), "-o", &format!("oci:out{length}")]);
    }
}

/// A manifest, index or blob of a registry's repository `a/b`.
fn put(registry: &Registry, name: &str, document: &Value) -> Value {
    let bytes = serde_json::to_vec(document).expect("JSON");
    let digest = hone_contract::Digest::of(&bytes).to_string();
    let kind = document["mediaType"].as_str().unwrap_or_default().to_owned();
    let mut state = registry.state();
    for name in [name, &digest] {
        state.manifests.insert(format!("a/b/manifests/{name}"), (kind.clone(), bytes.clone()));
    }
    serde_json::json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
}

fn blob(registry: &Registry, kind: &str, bytes: &[u8]) -> Value {
    let digest = hone_contract::Digest::of(bytes).to_string();
    registry.state().blobs.insert(digest.clone(), bytes.to_vec());
    serde_json::json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const MODEL: &str = "application/vnd.cncf.model.manifest.v1+json";

/// An artifact of so many layers, all of the same content.
fn artifact(registry: &Registry, kind: &str, layers: usize) -> Value {
    let config = blob(registry, "application/vnd.oci.empty.v1+json", b"{}");
    let layer = blob(registry, "text/plain", b"a layer");
    let layers = vec![layer; layers];
    serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": config, "layers": layers})
}

fn index(manifests: &[Value]) -> Value {
    serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}

/// Which requests a pull that fails makes, and what it says.
fn refused(registry: &Registry, name: &str) -> (Vec<String>, String) {
    let (device, before) = (Site::new(), registry.state().seen.len());
    let said = device.fails(&["pull", &format!("{}/a/{name}", registry.host)]);
    device.assert_empty();
    let seen = registry.state().seen[before..].to_vec();
    (seen, said)
}

#[test]
fn what_holds_no_image_is_said_to_be_what_it_is_before_any_blob() {
    let (site, registry) = (site(), Registry::start());
    site.ok(&["push", "assistant:base", &format!("{}/a/b:base", registry.host)]);
    let bill = put(&registry, "bill", &artifact(&registry, "text/sp\u{1b}dx", 1));
    put(&registry, "bills", &index(std::slice::from_ref(&bill)));
    let mut said = bill.clone();
    said["artifactType"] = "text/sp\u{1b}dx".into();
    put(&registry, "said", &index(&[said]));
    // As Ollama's: an image's configuration over layers that are none of an image.
    let mut borrowed = artifact(&registry, "", 1);
    borrowed.as_object_mut().expect("object").remove("artifactType");
    borrowed["config"] = blob(&registry, "application/vnd.docker.container.image.v1+json", b"{\"a\":1}");
    put(&registry, "borrowed", &borrowed);
    for (tag, kind, way) in [
        ("borrowed", "text/plain", "pull an image"),
        ("base-modelpack", MODEL, "without -modelpack"),
        ("bill", r"text/sp\u{1b}dx", "pull an image"),
        ("bills", r"text/sp\u{1b}dx", "pull an image"),
        ("said", r"text/sp\u{1b}dx", "pull an image"),
    ] {
        let (seen, said) = refused(&registry, &format!("b:{tag}"));
        assert!(said.contains(&format!("it is no image but an artifact ({kind})")) && said.contains(way), "{said}");
        assert!(!seen.iter().any(|s| s.contains("/blobs/")), "{tag}: {seen:?}");
    }
    // The harmless twin: the image, with the artifact beside it.
    let device = Site::new();
    let name = format!("{}/a/b:base", registry.host);
    device.ok(&["pull", &name]);
    assert!(device.json(&["inspect", "--json", &name])["modelpack"].is_string());
}

#[test]
fn an_index_and_an_artifact_are_bounded_and_nothing_is_asked_for_twice() {
    let (site, registry) = (site(), Registry::start());
    let name = format!("{}/a/b:base", registry.host);
    site.ok(&["push", "assistant:base", &name]);
    let base = registry.state().manifests["a/b/manifests/base"].1.clone();
    let base: Value = serde_json::from_slice(&base).expect("index");
    let of_base = base["manifests"].as_array().expect("manifests").clone();
    let with = |more: &Value, times: usize| index(&[of_base.clone(), vec![more.clone(); times]].concat());
    let small = put(&registry, "small", &artifact(&registry, "text/plain", 128));
    let large = put(&registry, "large", &artifact(&registry, "text/plain", 129));
    put(&registry, "many", &with(&small, 3000));
    put(&registry, "few", &with(&small, 256 - of_base.len()));
    put(&registry, "layers", &with(&large, 1));
    let (seen, said) = refused(&registry, "b:many");
    assert!(said.contains(&format!("names {} manifests, want at most 256", 3000 + of_base.len())), "{said}");
    assert_eq!(seen.len(), 1, "{seen:?}");
    let (seen, said) = refused(&registry, "b:layers");
    assert!(said.contains("129 layers, want at most 128"), "{said}");
    assert!(!seen.iter().any(|s| s.contains("/blobs/")), "{seen:?}");
    // The harmless twin: as many as there may be.
    let (device, before) = (Site::new(), registry.state().seen.len());
    device.ok(&["pull", &format!("{}/a/b:few", registry.host)]);
    let state = registry.state();
    let digest = small["digest"].as_str().expect("digest");
    let asked = state.seen[before..].iter().filter(|s| s.starts_with("GET") && s.ends_with(digest)).count();
    assert_eq!(asked, 1);
}
