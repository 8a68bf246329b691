//! SPDX 2.3 as JSON (<https://spdx.github.io/spdx-spec/v2.3/>, schemas/spdx-schema.json).
//!
//! Files are packages here: an SPDX file must have a SHA1, for which every weight would have to be read once more.

use std::collections::BTreeMap;

use hone_contract::Digest;
use serde::Serialize;

use super::license::License;
use super::{Crate, File, Inventory, Library, Model, Trainer, address, crate_purl, image_purl, uuid};

const NOASSERTION: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    packages: Vec<Package>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<Extracted>,
    relationships: Vec<Relationship>,
}

#[derive(Debug, Serialize)]
struct CreationInfo {
    created: String,
    creators: [&'static str; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    name: String,
    #[serde(rename = "SPDXID")]
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_info: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_file_name: Option<String>,
    primary_package_purpose: &'static str,
    download_location: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    license_concluded: &'static str,
    license_declared: String,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Extracted {
    license_id: String,
    extracted_text: String,
    name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

/// The document, with a final newline. `created` is a date as [`super::date`] writes it.
pub fn spdx(inventory: &Inventory, created: &str) -> Vec<u8> {
    let inventory = inventory.ordered();
    let mut made = Made::default();
    made.image(&inventory);
    let document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: inventory.image.name.clone(),
        document_namespace: format!("https://hone.dev/spdx/{}", uuid(inventory.identity(created))),
        creation_info: CreationInfo { created: created.to_owned(), creators: ["Tool: hone"] },
        packages: made.packages,
        has_extracted_licensing_infos: made.names.into_iter().map(|(id, name)| extracted(id, name)).collect(),
        relationships: made.relationships,
    };
    let mut bytes = serde_json::to_vec_pretty(&document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn extracted(license_id: String, name: String) -> Extracted {
    Extracted { license_id, extracted_text: format!("Its source calls the licence: {name}"), name }
}

/// Packages and what contains what, so far.
#[derive(Debug, Default)]
struct Made {
    packages: Vec<Package>,
    relationships: Vec<Relationship>,
    /// Licences that are not on SPDX's list: identifier -> name.
    names: BTreeMap<String, String>,
}

impl Made {
    fn image(&mut self, inventory: &Inventory) {
        let mut image = package("SPDXRef-Image".to_owned(), &inventory.image.name, "CONTAINER");
        image.version_info = Some(inventory.image.digest.to_string());
        image.checksums = vec![sha256(inventory.image.digest)];
        image.external_refs = vec![purl(image_purl(&inventory.image))];
        self.add(DOCUMENT, image);
        if let Some(model) = &inventory.model {
            self.model(model);
        }
        for (n, file) in inventory.tokenizer.iter().enumerate() {
            self.add("SPDXRef-Image", of_file(format!("SPDXRef-Tokenizer-{n}"), file, "FILE"));
        }
        if let Some(job) = &inventory.job {
            self.add("SPDXRef-Image", of_file("SPDXRef-Job".to_owned(), job, "FILE"));
        }
        if let Some(trainer) = &inventory.trainer {
            self.trainer(trainer);
        }
    }

    fn model(&mut self, model: &Model) {
        let mut made = package("SPDXRef-Model".to_owned(), &model.name, "OTHER");
        made.version_info = Some(model.revision.clone().unwrap_or_else(|| model.identity.to_string()));
        if let Some(source) = model.source.as_deref().and_then(address) {
            source.clone_into(&mut made.download_location);
        }
        made.source_info.clone_from(&model.source);
        made.license_declared = self.license(model.license.as_deref());
        made.comment = Some(format!("machine learning model, format {}, identity {}", model.format, model.identity));
        self.add("SPDXRef-Image", made);
        for (n, file) in model.files.iter().enumerate() {
            self.add("SPDXRef-Model", of_file(format!("SPDXRef-Model-File-{n}"), file, "FILE"));
        }
    }

    fn trainer(&mut self, trainer: &Trainer) {
        let mut made = package("SPDXRef-Trainer".to_owned(), &trainer.name, "APPLICATION");
        made.version_info = Some(trainer.digest.to_string());
        self.add("SPDXRef-Image", made);
        for (n, file) in trainer.programs.iter().enumerate() {
            self.add("SPDXRef-Trainer", of_file(format!("SPDXRef-Program-{n}"), file, "APPLICATION"));
        }
        for (n, Library { file, version }) in trainer.libraries.iter().enumerate() {
            let mut made = of_file(format!("SPDXRef-Library-{n}"), file, "LIBRARY");
            made.version_info.clone_from(version);
            self.add("SPDXRef-Trainer", made);
        }
        for (n, one) in trainer.crates.iter().enumerate() {
            self.of_crate(n, one);
        }
    }

    fn of_crate(&mut self, n: usize, one: &Crate) {
        let mut made = package(format!("SPDXRef-Crate-{n}"), &one.name, "LIBRARY");
        made.version_info = Some(one.version.clone());
        made.license_declared = self.license(one.license.as_deref());
        made.external_refs = vec![purl(crate_purl(one))];
        self.add("SPDXRef-Trainer", made);
    }

    fn license(&mut self, text: Option<&str>) -> String {
        match text.and_then(License::parse) {
            None => NOASSERTION.to_owned(),
            Some(License::Id(id)) => id.to_owned(),
            Some(License::Expression(expression)) => expression,
            Some(License::Named(name)) => {
                let id = License::reference(&name);
                self.names.insert(id.clone(), name);
                id
            }
        }
    }

    fn add(&mut self, parent: &str, package: Package) {
        self.relationships.push(Relationship {
            spdx_element_id: parent.to_owned(),
            relationship_type: if parent == DOCUMENT { "DESCRIBES" } else { "CONTAINS" },
            related_spdx_element: package.id.clone(),
        });
        self.packages.push(package);
    }
}

/// One of which nothing is known but its name.
fn package(id: String, name: &str, purpose: &'static str) -> Package {
    Package {
        name: name.to_owned(),
        id,
        version_info: None,
        package_file_name: None,
        primary_package_purpose: purpose,
        download_location: NOASSERTION.to_owned(),
        source_info: None,
        files_analyzed: false,
        checksums: Vec::new(),
        license_concluded: NOASSERTION,
        license_declared: NOASSERTION.to_owned(),
        copyright_text: NOASSERTION,
        external_refs: Vec::new(),
        comment: None,
    }
}

fn of_file(id: String, file: &File, purpose: &'static str) -> Package {
    Package {
        package_file_name: Some(file.path.clone()),
        checksums: vec![sha256(file.digest)],
        comment: Some(format!("{} bytes", file.size)),
        ..package(id, file.path.rsplit('/').next().unwrap_or(&file.path), purpose)
    }
}

fn sha256(digest: Digest) -> Checksum {
    Checksum { algorithm: "SHA256", checksum_value: digest.hex() }
}

fn purl(locator: String) -> ExternalRef {
    ExternalRef { reference_category: "PACKAGE-MANAGER", reference_type: "purl", reference_locator: locator }
}
