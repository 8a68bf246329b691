//! Both documents: golden digests, the rules of the published schemas, and that order does not matter.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

fn file(path: &str) -> File {
    File { path: path.to_owned(), digest: Digest::of(path.as_bytes()), size: path.len() as u64 }
}

fn of_crate(name: &str, license: Option<&str>) -> Crate {
    Crate { name: name.to_owned(), version: "1.2.3+x".to_owned(), license: license.map(str::to_owned) }
}

fn inventory() -> Inventory {
    let library =
        |path: &str, version: Option<&str>| Library { file: file(path), version: version.map(str::to_owned) };
    Inventory {
        image: ImageName { name: "localhost:5000/team/assistant:base".to_owned(), digest: Digest::of(b"image") },
        model: Some(Model {
            name: "assistant".to_owned(),
            identity: Digest::of(b"model"),
            format: "safetensors".to_owned(),
            license: Some("llama3.2".to_owned()),
            source: Some("https://huggingface.co/org/name".to_owned()),
            revision: Some("abc123".to_owned()),
            files: vec![file("/models/assistant/model.safetensors"), file("/models/assistant/config.json")],
        }),
        tokenizer: vec![file("/hone/tokenizer/tokenizer.json")],
        job: Some(file("/hone/job.json")),
        trainer: Some(Trainer {
            name: "onnx".to_owned(),
            digest: Digest::of(b"trainer"),
            programs: vec![file("/hone/bin/hone-train")],
            libraries: vec![library("/lib/libc.so.6", None), library("/hone/lib/libonnxruntime.so", Some("1.32.0"))],
            crates: vec![
                of_crate("serde", Some("MIT OR Apache-2.0")),
                of_crate("half", Some("MIT/Apache-2.0")),
                of_crate("hone-train", None),
                of_crate("zlib-rs", Some("Zlib")),
            ],
        }),
    }
}

fn documents(inventory: &Inventory) -> [Vec<u8>; 2] {
    [spdx(inventory, &date(0)), cyclonedx(inventory, &date(0))]
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// Everything without its model and trainer.
fn bare() -> Inventory {
    Inventory { model: None, tokenizer: Vec::new(), job: None, trainer: None, ..inventory() }
}

/// Who keeps documents keeps them by digest: a change here is a new document for every image there is.
#[test]
fn the_documents_are_those_that_they_always_were() {
    let digests = documents(&inventory()).map(|bytes| Digest::of(&bytes).to_string());
    assert_eq!(digests, [GOLDEN_SPDX, GOLDEN_CYCLONEDX]);
}

const GOLDEN_SPDX: &str = "sha256:4a1a8a76ce30ae2a8b48d38c7bfcb4259d7f8e6e354f2dbd4bd8b58e0abba4bb";
const GOLDEN_CYCLONEDX: &str = "sha256:91433274c9fafe887fab0dbd3d0b02cdbf9677f3fbc46e193d4ea1cbf49b47ca";

#[test]
fn the_order_of_finding_does_not_matter_and_the_content_does() {
    let one = inventory();
    let mut other = inventory();
    let trainer = other.trainer.as_mut().unwrap();
    trainer.crates.reverse();
    trainer.libraries.reverse();
    trainer.crates.push(of_crate("serde", Some("MIT OR Apache-2.0")));
    other.model.as_mut().unwrap().files.reverse();
    assert_eq!(documents(&one), documents(&other));
    other.image.digest = Digest::of(b"another");
    let names = |inventory: &Inventory, created: &str| {
        let spdx = parsed(&spdx(inventory, created))["documentNamespace"].to_string();
        (spdx, parsed(&cyclonedx(inventory, created))["serialNumber"].to_string())
    };
    let all: BTreeSet<_> = [names(&one, &date(0)), names(&other, &date(0)), names(&one, &date(1))].into();
    assert_eq!(all.len(), 3);
}

/// The required keys, the patterns and the references of schemas/spdx-schema.json (2.3), and of the text what it lacks.
#[test]
fn spdx_keeps_the_rules_of_its_schema() {
    for inventory in [inventory(), bare()] {
        let document = parsed(&spdx(&inventory, &date(1_700_000_000)));
        assert_eq!(document["spdxVersion"], "SPDX-2.3");
        assert_eq!((&document["dataLicense"], &document["SPDXID"]), (&"CC0-1.0".into(), &"SPDXRef-DOCUMENT".into()));
        assert_eq!(document["creationInfo"]["created"], "2023-11-14T22:13:20Z");
        assert!(document["documentNamespace"].as_str().unwrap().starts_with("https://"));
        let mut ids = BTreeSet::from(["SPDXRef-DOCUMENT".to_owned()]);
        for package in document["packages"].as_array().unwrap() {
            let id = package["SPDXID"].as_str().unwrap();
            assert!(id.strip_prefix("SPDXRef-").unwrap().chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            assert!(package["name"].is_string() && package["downloadLocation"].is_string(), "{package}");
            assert!(package["packageVerificationCode"].is_null() && package["filesAnalyzed"] == false);
            for sum in package["checksums"].as_array().into_iter().flatten() {
                assert!(sum["algorithm"] == "SHA256" && sum["checksumValue"].as_str().unwrap().len() == 64);
            }
            let license = package["licenseDeclared"].as_str().unwrap();
            let infos = document["hasExtractedLicensingInfos"].as_array();
            let explained = infos.into_iter().flatten().any(|info| info["licenseId"] == license);
            assert!(!license.starts_with("LicenseRef-") || explained, "{license}");
        }
        let mut contained = BTreeSet::new();
        for relation in document["relationships"].as_array().unwrap() {
            let (from, to) = (&relation["spdxElementId"], &relation["relatedSpdxElement"]);
            assert!(ids.contains(from.as_str().unwrap()) && ids.contains(to.as_str().unwrap()), "{relation}");
            let kind = if *from == "SPDXRef-DOCUMENT" { "DESCRIBES" } else { "CONTAINS" };
            assert_eq!(relation["relationshipType"], kind);
            contained.insert(to.as_str().unwrap().to_owned());
        }
        assert_eq!(contained.len(), ids.len() - 1, "everything is somewhere in the image");
    }
}

fn walk<'a>(component: &'a Value, all: &mut Vec<&'a Value>) {
    all.push(component);
    component["components"].as_array().into_iter().flatten().for_each(|inner| walk(inner, all));
}

/// The required keys, enumerations and patterns of bom-1.6.schema.json that concern what is written.
#[test]
fn cyclonedx_keeps_the_rules_of_its_schema() {
    const TYPES: [&str; 5] = ["application", "container", "file", "library", "machine-learning-model"];
    for inventory in [inventory(), bare()] {
        let bom = parsed(&cyclonedx(&inventory, &date(0)));
        assert_eq!(
            (&bom["bomFormat"], &bom["specVersion"], &bom["version"]),
            (&"CycloneDX".into(), &"1.6".into(), &1.into())
        );
        let serial = bom["serialNumber"].as_str().unwrap().strip_prefix("urn:uuid:").unwrap();
        let groups: Vec<usize> = serial.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert!(serial.chars().all(|c| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c)), "{serial}");
        let mut all = Vec::new();
        walk(&bom["metadata"]["component"], &mut all);
        bom["components"].as_array().unwrap().iter().for_each(|component| walk(component, &mut all));
        let mut refs = BTreeSet::new();
        for component in &all {
            assert!(TYPES.contains(&component["type"].as_str().unwrap()) && component["name"].is_string());
            assert!(refs.insert(component["bom-ref"].as_str().unwrap()), "{component}");
            for hash in component["hashes"].as_array().into_iter().flatten() {
                assert!(hash["alg"] == "SHA-256" && hash["content"].as_str().unwrap().len() == 64, "{hash}");
            }
            for choice in component["licenses"].as_array().into_iter().flatten() {
                assert_eq!(choice.as_object().unwrap().len(), 1, "{choice}");
            }
        }
        for dependency in bom["dependencies"].as_array().unwrap() {
            let needed = dependency["dependsOn"].as_array().into_iter().flatten();
            assert!(needed.chain([&dependency["ref"]]).all(|r| refs.contains(r.as_str().unwrap())), "{dependency}");
        }
        let models = all.iter().filter(|c| c["type"] == "machine-learning-model").count();
        assert_eq!(models, usize::from(inventory.model.is_some()));
    }
}

#[test]
fn names_are_written_as_package_urls_have_them() {
    let name = |name: &str| image_purl(&ImageName { name: name.to_owned(), digest: Digest::of(b"") });
    let hex = Digest::of(b"").hex();
    assert_eq!(name("localhost:5000/team/Assistant:v1"), format!("pkg:oci/assistant@sha256%3A{hex}?tag=v1"));
    assert_eq!(name("assistant"), format!("pkg:oci/assistant@sha256%3A{hex}"));
    assert_eq!(name("a/b:v1@sha256:00"), format!("pkg:oci/b@sha256%3A{hex}?tag=v1"));
    assert_eq!(crate_purl(&of_crate("serde", None)), "pkg:cargo/serde@1.2.3%2Bx");
    assert_eq!(uuid(Digest::of(b"")), "e3b0c442-98fc-8c14-9afb-f4c8996fb924");
    for text in ["hf://a/b", "https://a b", "https://", "https://\"", "x", "https://\u{e9}"] {
        assert_eq!(address(text), None, "{text}");
    }
}

#[test]
fn dates_are_dates() {
    for (seconds, want) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_795_402_861, "2026-11-23T03:01:01Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
        (u64::MAX, "9999-12-31T23:59:59Z"),
    ] {
        assert_eq!(date(seconds), want);
    }
}

#[test]
fn a_list_of_crates_is_bounded_and_exact() {
    let list = br#"[{"name": "a", "version": "1.0.0", "license": "MIT"}, {"name": "b", "version": "2.0.0", "license": null}]"#;
    let names: Vec<_> = crates(list).unwrap().into_iter().map(|one| (one.name, one.license)).collect();
    assert_eq!(names, [("a".to_owned(), Some("MIT".to_owned())), ("b".to_owned(), None)]);
    assert!(crates(br#"[{"name": "a", "version": "1", "path": "/home"}]"#).is_err());
    assert!(crates(b"{}").is_err() && crates(b"").is_err());
    let large = crates(&vec![b' '; MAX_CRATES + 1]).unwrap_err().to_string();
    assert!(large.contains("4194305 bytes, want at most 4194304"), "{large}");
}

/// Writes both documents where other tools can be given them: `HONE_SBOM_OUT=DIR cargo test -- --ignored documents_for`;
/// with a trainer's own list of crates when `HONE_SBOM_CRATES` names it.
#[test]
#[ignore = "for other tools' validators, by hand"]
fn documents_for_other_validators() {
    let dir = std::env::var("HONE_SBOM_OUT").expect("HONE_SBOM_OUT");
    let mut whole = inventory();
    if let (Some(path), Some(trainer)) = (std::env::var_os("HONE_SBOM_CRATES"), &mut whole.trainer) {
        trainer.crates = crates(&std::fs::read(path).expect("read")).expect("crates");
    }
    for (name, inventory) in [("whole", whole), ("bare", bare())] {
        let [spdx, cyclonedx] = documents(&inventory);
        std::fs::write(format!("{dir}/{name}.spdx.json"), spdx).expect("write");
        std::fs::write(format!("{dir}/{name}.cdx.json"), cyclonedx).expect("write");
    }
}
