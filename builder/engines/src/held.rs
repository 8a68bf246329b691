//! What `image inspect` and `container inspect` print, in docker and in podman, and what `docker info` does.
//!
//! Both speak the same JSON but for ids, which podman gives without `sha256:`.

use hone_archive::Shipment;
use hone_contract::Digest;
use hone_contract::digest::BadDigest;
use hone_contract::run::ImageRef;
use serde::Deserialize;

use crate::engine::Found;
use crate::error::Error;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
    architecture: String,
    os: String,
    #[serde(default)]
    config: serde_json::Value,
    #[serde(rename = "RootFS")]
    root_fs: RootFs,
    #[serde(default)]
    size: i64,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "Layers", default)]
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    image: String,
    #[serde(default)]
    image_name: Option<String>,
    config: ContainerConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerConfig {
    image: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    name: String,
    #[serde(default)]
    driver_status: Option<Vec<Vec<String>>>,
    #[serde(default)]
    containerd: Option<ContainerdInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerdInfo {
    address: String,
    namespaces: Namespaces,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Namespaces {
    containers: String,
}

/// Where a docker daemon keeps its images.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ImageStore {
    /// In its own storage.
    Own,
    /// In containerd's, of this machine: address and namespace.
    Containerd(String, String),
    /// In a containerd elsewhere, or nobody says where.
    Elsewhere,
}

/// Reads what `docker info` says about the images of a daemon, on the machine named `host`.
pub(crate) fn image_store(json: &[u8], host: &str) -> ImageStore {
    // Whoever does not answer as expected is an old docker, or none, of which the next command tells.
    let Ok(info) = serde_json::from_slice::<Info>(json) else { return ImageStore::Own };
    let status = info.driver_status.unwrap_or_default();
    let snapshots = |row: &Vec<String>| row[..].concat().starts_with("driver-typeio.containerd.snapshotter");
    match info.containerd {
        _ if !status.iter().any(snapshots) => ImageStore::Own,
        Some(at) if info.name == host => ImageStore::Containerd(at.address, at.namespaces.containers),
        _ => ImageStore::Elsewhere,
    }
}

fn digest(text: &str) -> Result<Digest, BadDigest> {
    if text.contains(':') { text.parse() } else { format!("sha256:{text}").parse() }
}

/// Parses the array that `image inspect` prints.
pub(crate) fn images(json: &[u8], command: &str) -> Result<Vec<Found>, Error> {
    let answer = |source| Error::Answer { command: command.to_owned(), source };
    let bad = |source| Error::Digest { command: command.to_owned(), source };
    let images: Vec<Image> = serde_json::from_slice(json).map_err(answer)?;
    let found = images.into_iter().map(|image| {
        let layers = image.root_fs.layers.unwrap_or_default();
        let diff_ids = layers.iter().map(|l| digest(l)).collect::<Result<_, _>>()?;
        let Image { id, architecture, os, config, size, .. } = image;
        Ok(Found { id: digest(&id)?, architecture, os, config, diff_ids, size: size.try_into().unwrap_or(0) })
    });
    found.collect::<Result<_, _>>().map_err(bad)
}

/// Parses what `container inspect` prints for one container.
pub(crate) fn container(json: &[u8], command: &str) -> Result<ImageRef, Error> {
    let answer = |source| Error::Answer { command: command.to_owned(), source };
    let [container]: [Container; 1] = serde_json::from_slice(json).map_err(answer)?;
    let config = digest(&container.image).map_err(|source| Error::Digest { command: command.to_owned(), source })?;
    let name = container.image_name.unwrap_or(container.config.image);
    // podman calls every image without a registry `localhost/...`; the user typed, and the store has, the short name.
    let reference = name.strip_prefix("localhost/").unwrap_or(&name).to_owned();
    Ok(ImageRef { reference, config })
}

/// How many of the shipment's lowest layers the engine certainly has.
pub(crate) fn prefix(held: &[Found], shipment: &Shipment<'_>) -> usize {
    held.iter().map(|image| shipment.shared(&image.diff_ids)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "100034aaa8b488b6a9c0d9aa0b0377ea8fd8cb657d915856bd04dbb63a951193";

    #[test]
    fn ids_of_both_engines_are_read() {
        for id in [ID.to_owned(), format!("sha256:{ID}")] {
            let json = format!(
                r#"[{{"Id":"{id}","Architecture":"amd64","Os":"linux","Config":{{"Cmd":["sh"]}},
                     "RootFS":{{"Type":"layers","Layers":["sha256:{ID}"]}},"Size":20000000000}}]"#
            );
            let found = images(json.as_bytes(), "x").unwrap().remove(0);
            assert_eq!(found.id.hex(), ID);
            assert_eq!(found.diff_ids, [found.id]);
            assert_eq!(found.config["Cmd"][0], "sh");
            assert_eq!(found.size, 20_000_000_000);
        }
    }

    #[test]
    fn an_image_without_layers_is_an_image() {
        let json = format!(r#"[{{"Id":"{ID}","Architecture":"","Os":"","RootFS":{{"Type":"layers"}}}}]"#);
        let found = images(json.as_bytes(), "x").unwrap().remove(0);
        assert!(found.diff_ids.is_empty() && found.size == 0);
        let json = json.replace("\"Os\":", "\"Size\":-1,\"Os\":");
        assert_eq!(images(json.as_bytes(), "x").unwrap()[0].size, 0);
    }

    #[test]
    fn a_container_names_its_image_as_the_user_typed_it() {
        let docker = format!(r#"[{{"Image":"sha256:{ID}","Config":{{"Image":"assistant:base"}}}}]"#);
        let podman = format!(
            r#"[{{"Image":"{ID}","ImageName":"localhost/assistant:base","Config":{{"Image":"localhost/assistant:base"}}}}]"#
        );
        for json in [docker, podman] {
            let image = container(json.as_bytes(), "x").unwrap();
            assert_eq!((image.reference.as_str(), image.config.hex().as_str()), ("assistant:base", ID));
        }
    }

    #[test]
    fn images_in_containerd_are_told_from_images_in_docker() {
        let info = |status: &str| {
            format!(
                r#"{{"Name":"here","DriverStatus":[["{status}","io.containerd.snapshotter.v1"]],
                     "Containerd":{{"Address":"/run/c.sock","Namespaces":{{"Containers":"moby","Plugins":"p"}}}}}}"#
            )
        };
        let here = image_store(info("driver-type").as_bytes(), "here");
        assert_eq!(here, ImageStore::Containerd("/run/c.sock".into(), "moby".into()));
        assert_eq!(image_store(info("driver-type").as_bytes(), "there"), ImageStore::Elsewhere);
        assert_eq!(image_store(info("Backing Filesystem").as_bytes(), "here"), ImageStore::Own);
        assert_eq!(image_store(br#"{"ServerErrors":["no daemon"],"DriverStatus":null}"#, "here"), ImageStore::Own);
    }

    #[test]
    fn nonsense_is_an_error_that_names_the_command() {
        let error = images(b"[{}]", "docker image inspect x").unwrap_err().to_string();
        assert_eq!(error, "docker image inspect x: answer not understood");
    }
}
