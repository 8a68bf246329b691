//! Images in containerd, through its command line: `ctr images import`, `ctr images export`, `ctr content`.
//!
//! Blobs go in as they are, under the manifest that names them, and only those that the content store lacks: an
//! import does not look for the others (tried with 1.6.20). It does not say either when one is nowhere: what
//! an image needs is therefore counted again when it is there, and protected from the collector by its name.
//!
//! Nothing is unpacked on the way: `ctr run`, nerdctl and CRI unpack an image at its first use, for the snapshotter
//! that they use, and an image for other machines can be loaded as well.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::Command;

use hone_image::oci::{Descriptor, Manifest, Platform, Sealed};
use hone_image::platform::goarch;
use hone_image::run::ImageRef;
use hone_image::{Digest, Document, Image, Reference, media};
use serde::Deserialize;

use crate::archive::{self, Archive};
use crate::command::{feed, output, output_within};
use crate::ctr;
use crate::engine::{Delivery, Engine, Found};
use crate::error::Error;
use crate::oci::{OciBlob, OciRoot, OciShipment};
use crate::saved::{self, writing};
use crate::shipment::Shipment;

/// A namespace of a containerd.
#[derive(Debug, Clone)]
pub struct Containerd {
    address: Option<String>,
    namespace: String,
    machine: Platform,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    image: String,
}

impl Containerd {
    /// A namespace of the containerd that the user's own `ctr` talks to.
    pub fn new(namespace: &str) -> Self {
        let machine = Platform::linux(goarch(std::env::consts::ARCH), None);
        Self { address: None, namespace: namespace.to_owned(), machine }
    }

    /// The same, on a machine of which more is known than its architecture: of an index the best image for it counts.
    #[must_use]
    pub fn on(self, machine: Platform) -> Self {
        Self { machine, ..self }
    }

    /// A namespace of the containerd at this socket, e.g. `/run/containerd/containerd.sock`.
    pub fn at(address: &str, namespace: &str) -> Self {
        Self { address: Some(address.to_owned()), ..Self::new(namespace) }
    }

    /// Makes every named root of `shipment` an image, sending only blobs that the namespace lacks.
    ///
    /// A nil error means that the names resolve to these documents, and that everything they lead to is there.
    ///
    /// # Errors
    /// When a blob cannot be read or containerd refuses.
    pub fn deliver(&self, shipment: &OciShipment<'_>) -> Result<Delivery, Error> {
        let mut sent = Delivery { sent_layers: 0, sent_bytes: 0 };
        let mut held = self.held()?;
        // What was there when it was counted may be collected before the image that needs it has its name; once it
        // has, what is sent stays.
        for _ in 0..2 {
            let more = self.import(shipment, &held)?;
            sent.sent_layers += more.sent_layers;
            sent.sent_bytes += more.sent_bytes;
            held = self.held()?;
            if missing(shipment, &held).is_none() {
                return Ok(sent);
            }
        }
        match missing(shipment, &held) {
            None => Ok(sent),
            Some(digest) => Err(Error::Lost { reference: shipment.name(), digest }),
        }
    }

    /// Whether it is there, and this user may use it.
    pub(crate) fn answers(&self) -> bool {
        output(&mut self.command(&["--connect-timeout", "2s", "version"])).is_ok()
    }

    /// The configuration of the image that this manifest or index is.
    pub(crate) fn config_of(&self, digest: Digest) -> Result<Option<Digest>, Error> {
        Ok(self.image(digest)?.map(|image| image.config().digest()))
    }

    fn import(&self, shipment: &OciShipment<'_>, held: &BTreeSet<Digest>) -> Result<Delivery, Error> {
        let mut sent = Delivery { sent_layers: 0, sent_bytes: 0 };
        let mut command = self.command(&["images", "import", "--no-unpack"]);
        // The collector spares what has labels, and only what is imported gets them. Of an index that is not whole
        // containerd takes this machine's part, or nothing.
        if !shipment.is_partial() {
            command.arg("--all-platforms");
        }
        feed(command.arg("-"), |to| {
            sent = archive::oci_write::write(shipment, true, held, to)?;
            Ok(())
        })?;
        Ok(sent)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        if let Some(address) = &self.address {
            command.args(["--address", address]);
        }
        command.args(["--namespace", &self.namespace]).args(args);
        command
    }

    /// Digests of all blobs that the namespace has whole.
    fn held(&self) -> Result<BTreeSet<Digest>, Error> {
        Ok(ctr::content(&output(&mut self.command(&["content", "ls", "--quiet"]))?))
    }

    /// A document of the content store; `None` when it is not there.
    fn document(&self, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        match output(&mut self.command(&["content", "get", &digest.to_string()])) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The images of these names, or all, with the digests they are listed under; those that are not there whole, or are none of containers, left out.
    fn images(&self, names: &[String]) -> Result<Vec<(Digest, Image)>, Error> {
        let filters: Vec<_> = names.iter().map(|name| format!("name=={name:?}")).collect();
        let table = output(self.command(&["images", "ls"]).args(filters))?;
        let mut images = Vec::new();
        for digest in ctr::images(&table)? {
            match self.image(digest) {
                // One that nobody should read is in the way of nobody who did not ask for it.
                Err(Error::Document { .. }) if names.is_empty() => {}
                found => images.extend(found?.map(|image| (digest, image))),
            }
        }
        Ok(images)
    }

    /// The image that this index or manifest is: of several, that for this machine.
    fn image(&self, digest: Digest) -> Result<Option<Image>, Error> {
        let Some(bytes) = self.document(digest)? else { return Ok(None) };
        let index = match ctr::document(digest, None, bytes)? {
            Document::Manifest(manifest) => return self.join(manifest),
            Document::Index(index) => index,
        };
        for entry in ctr::best_first(&self.machine, index.value()) {
            let Some(bytes) = self.document(entry.digest)? else { continue };
            let Document::Manifest(manifest) = ctr::document(entry.digest, Some(&entry.media_type), bytes)? else {
                continue;
            };
            if let Some(image) = self.join(manifest)? {
                return Ok(Some(image));
            }
        }
        Ok(None)
    }

    fn join(&self, manifest: Sealed<Manifest>) -> Result<Option<Image>, Error> {
        if !manifest.value().is_image() {
            return Ok(None);
        }
        let Some(config) = self.document(manifest.value().config.digest)? else { return Ok(None) };
        // A manifest and a configuration that disagree are no image, whoever put them there.
        let config = Sealed::parse("config", config).ok();
        Ok(config.and_then(|config| Image::join(manifest, config).ok()))
    }

    /// A manifest for `shipment`: of the layers below that an image here has, as that image has them; of the others
    /// as plain tars.
    fn by_manifest<'a>(&self, shipment: &'a Shipment<'_>) -> Result<OciShipment<'a>, Error> {
        let images = self.images(&[])?;
        let shared = |image: &Image| shipment.shared(&image.config().value().rootfs.diff_ids);
        let near = images.iter().map(|(_, image)| image).max_by_key(|image| shared(image));
        let count = near.map_or(0, shared);
        let failed =
            |object: String| move |source| Error::Layer { reference: shipment.reference.clone(), object, source };
        let mut blobs = Vec::new();
        for layer in near.iter().flat_map(|image| image.layers()).take(count) {
            blobs.push(OciBlob { descriptor: layer.descriptor.clone(), open: Box::new(|| Err(gone())) });
        }
        for layer in &shipment.layers[count..] {
            let size = layer.length().map_err(failed(format!("layer {}", layer.diff_id)))?;
            let descriptor = Descriptor::of(media::LAYER_TAR, layer.diff_id, size);
            blobs.push(OciBlob { descriptor, open: Box::new(|| (layer.open)()) });
        }
        let config = Descriptor::of(media::CONFIG, shipment.id(), shipment.config.len() as u64);
        let layers = blobs.iter().map(|blob| blob.descriptor.clone()).collect();
        let manifest = Sealed::new(Manifest::new(config, layers, Default::default()));
        let reference = shipment.reference.parse().map_err(|source| Error::Name { source })?;
        let root = OciRoot { reference: Some(reference), descriptor: manifest.descriptor(media::MANIFEST) };
        let documents = [manifest.bytes().to_vec(), shipment.config.clone()];
        OciShipment::new(vec![root], documents, blobs)
            .map_err(|source| Error::Shipment { reference: shipment.reference.clone(), source })
    }
}

impl Engine for Containerd {
    fn inspect(&self, reference: &str) -> Result<Option<Found>, Error> {
        let images = match reference.starts_with("sha256:") {
            true => self.images(&[])?,
            false => self.images(&[canonical(reference)])?,
        };
        // By digest: of its configuration, its manifest, or the index that it is in.
        let wanted = |(named, image): &&(Digest, Image)| {
            let ids = [*named, image.digest(), image.config().digest()].map(|digest| digest.to_string());
            !reference.starts_with("sha256:") || ids.iter().any(|id| id == reference)
        };
        images.iter().find(wanted).map(|(_, image)| ctr::found(image)).transpose()
    }

    fn load(&self, shipment: &Shipment<'_>) -> Result<Delivery, Error> {
        self.deliver(&self.by_manifest(shipment)?)
    }

    fn save(&self, reference: &str, dir: &Path) -> Result<Archive, Error> {
        let size = self.inspect(reference)?.map_or(0, |found| found.size);
        saved::saved(reference, dir, |file| {
            let export = |more: &[&str]| {
                let mut command = self.command(&["images", "export"]);
                output_within(command.args(more).arg(file).arg(canonical(reference)), writing(file, size)).map(drop)
            };
            // With all platforms the model's artifact comes along; that fails where some were never pulled.
            export(&["--all-platforms"]).or_else(|error| if error.is_silence() { Err(error) } else { export(&[]) })
        })
    }

    fn image_of(&self, container: &str) -> Result<ImageRef, Error> {
        let command = "ctr containers info";
        let json = output(&mut self.command(&["containers", "info", container]))?;
        let answer = |source| Error::Answer { command: command.to_owned(), source };
        let Container { image: name } = serde_json::from_slice(&json).map_err(answer)?;
        let images = self.images(std::slice::from_ref(&name))?;
        let Some((_, image)) = images.first() else {
            let stderr = format!("image {name} of container {container} is not there, or not whole");
            return Err(Error::Failed { command: command.to_owned(), code: 0, stderr });
        };
        // The user typed, and the store has, the short name.
        let reference = name.parse::<Reference>().map_or(name, |reference| reference.to_string());
        Ok(ImageRef { reference, config: image.config().digest() })
    }
}

/// A name as ctr and nerdctl have it; what is no reference stays what it is, and is not found.
fn canonical(reference: &str) -> String {
    reference.parse().map_or_else(|_| reference.to_owned(), |r: Reference| r.canonical())
}

fn missing(shipment: &OciShipment<'_>, held: &BTreeSet<Digest>) -> Option<Digest> {
    let (documents, blobs) = shipment.contents(true);
    let all = documents.iter().map(|(digest, _)| *digest).chain(blobs.iter().map(|blob| blob.descriptor.digest));
    all.into_iter().find(|digest| !held.contains(digest))
}

fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Failed { stderr, .. } if stderr.contains(": not found"))
}

fn gone() -> io::Error {
    let why = "an image of containerd had this layer, and it is gone; load the image that it was part of again";
    io::Error::new(io::ErrorKind::NotFound, why)
}
