//! CycloneDX 1.6 as JSON (<https://cyclonedx.org/docs/1.6/json/>, schema bom-1.6).

use hone_contract::Digest;
use serde::Serialize;

use super::license::License;
use super::{Crate, File, Inventory, Library, Model, Trainer, address, crate_purl, image_purl, uuid};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Bom {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Serialize)]
struct Metadata {
    timestamp: String,
    tools: Tools,
    component: Component,
}

#[derive(Debug, Serialize)]
struct Tools {
    components: [Component; 1],
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    r#type: &'static str,
    #[serde(rename = "bom-ref", skip_serializing_if = "String::is_empty")]
    bom_ref: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<LicenseChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<ExternalReference>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<Component>,
}

#[derive(Debug, Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

/// One of the two that the schema knows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum LicenseChoice {
    License(Named),
    Expression(String),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Named {
    Id(&'static str),
    Name(String),
}

#[derive(Debug, Serialize)]
struct ExternalReference {
    r#type: &'static str,
    url: String,
}

#[derive(Debug, Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    r#ref: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<String>,
}

/// The document, with a final newline. `created` is a date as [`super::date`] writes it.
pub fn cyclonedx(inventory: &Inventory, created: &str) -> Vec<u8> {
    let inventory = inventory.ordered();
    let components = components(&inventory);
    let image = Component {
        r#type: "container",
        bom_ref: "image".to_owned(),
        name: inventory.image.name.clone(),
        version: Some(inventory.image.digest.to_string()),
        hashes: vec![sha256(inventory.image.digest)],
        purl: Some(image_purl(&inventory.image)),
        ..Component::default()
    };
    let tool = Component { r#type: "application", name: "hone".to_owned(), ..Component::default() };
    let bom = Bom {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: format!("urn:uuid:{}", uuid(inventory.identity(created))),
        version: 1,
        metadata: Metadata { timestamp: created.to_owned(), tools: Tools { components: [tool] }, component: image },
        dependencies: dependencies(&components),
        components,
    };
    let mut bytes = serde_json::to_vec_pretty(&bom).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn components(inventory: &Inventory) -> Vec<Component> {
    let mut all: Vec<Component> = inventory.model.iter().map(model).collect();
    all.extend(
        inventory.tokenizer.iter().enumerate().map(|(n, file)| of_file(format!("tokenizer-{n}"), file, "file")),
    );
    all.extend(inventory.job.iter().map(|job| of_file("job".to_owned(), job, "file")));
    all.extend(inventory.trainer.iter().map(trainer));
    all
}

/// The image needs its parts; the trainer needs what it links and loads.
fn dependencies(components: &[Component]) -> Vec<Dependency> {
    let refs = |list: &[Component]| list.iter().map(|one| one.bom_ref.clone()).collect::<Vec<String>>();
    let image = Dependency { r#ref: "image".to_owned(), depends_on: refs(components) };
    let parts = components.iter().map(|part| Dependency {
        r#ref: part.bom_ref.clone(),
        depends_on: if part.bom_ref == "trainer" { refs(&part.components) } else { Vec::new() },
    });
    [image].into_iter().chain(parts).collect()
}

fn model(model: &Model) -> Component {
    let mut properties = vec![property("dev.hone.model.identity", &model.identity.to_string())];
    properties.push(property("dev.hone.model.format", &model.format));
    let source = model.source.as_deref();
    // What is no address is still what its maker said.
    let other = source.filter(|source| address(source).is_none());
    properties.extend(other.map(|source| property("dev.hone.model.source", source)));
    Component {
        r#type: "machine-learning-model",
        bom_ref: "model".to_owned(),
        name: model.name.clone(),
        version: Some(model.revision.clone().unwrap_or_else(|| model.identity.to_string())),
        licenses: licenses(model.license.as_deref()),
        external_references: source.and_then(address).into_iter().map(distribution).collect(),
        properties,
        components: files("model-file", &model.files, "file"),
        ..Component::default()
    }
}

fn trainer(trainer: &Trainer) -> Component {
    let mut components = files("program", &trainer.programs, "application");
    components.extend(trainer.libraries.iter().enumerate().map(|(n, Library { file, version })| Component {
        version: version.clone(),
        ..of_file(format!("library-{n}"), file, "library")
    }));
    components.extend(trainer.crates.iter().map(of_crate));
    Component {
        r#type: "application",
        bom_ref: "trainer".to_owned(),
        name: trainer.name.clone(),
        version: Some(trainer.digest.to_string()),
        components,
        ..Component::default()
    }
}

fn of_crate(one: &Crate) -> Component {
    Component {
        r#type: "library",
        bom_ref: crate_purl(one),
        name: one.name.clone(),
        version: Some(one.version.clone()),
        licenses: licenses(one.license.as_deref()),
        purl: Some(crate_purl(one)),
        ..Component::default()
    }
}

fn files(prefix: &str, files: &[File], r#type: &'static str) -> Vec<Component> {
    files.iter().enumerate().map(|(n, file)| of_file(format!("{prefix}-{n}"), file, r#type)).collect()
}

fn of_file(bom_ref: String, file: &File, r#type: &'static str) -> Component {
    Component {
        r#type,
        bom_ref,
        name: file.path.clone(),
        hashes: vec![sha256(file.digest)],
        properties: vec![property("dev.hone.size", &file.size.to_string())],
        ..Component::default()
    }
}

fn licenses(text: Option<&str>) -> Vec<LicenseChoice> {
    let choice = match text.and_then(License::parse) {
        None => return Vec::new(),
        Some(License::Id(id)) => LicenseChoice::License(Named::Id(id)),
        Some(License::Expression(expression)) => LicenseChoice::Expression(expression),
        Some(License::Named(name)) => LicenseChoice::License(Named::Name(name)),
    };
    vec![choice]
}

fn distribution(url: &str) -> ExternalReference {
    ExternalReference { r#type: "distribution", url: url.to_owned() }
}

fn property(name: &'static str, value: &str) -> Property {
    Property { name, value: value.to_owned() }
}

fn sha256(digest: Digest) -> Hash {
    Hash { alg: "SHA-256", content: digest.hex() }
}
