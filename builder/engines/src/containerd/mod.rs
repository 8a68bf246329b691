//! Images in containerd, through its own API: the services of content, images, containers and leases.
//!
//! Blobs go in as they are, under the manifest that names them, and only those that the content store lacks. What is
//! written, and what is found to be there, is under a lease until the image has its name, which protects it from then
//! on by the labels of its documents: the order is that of containerd's own client (client/import.go).
//!
//! Nothing is unpacked on the way: `ctr run`, nerdctl and CRI unpack an image at its first use, for the snapshotter
//! that they use, and an image for other machines can be loaded as well.

mod client;
mod images;

use std::env;
use std::fs::File;
use std::io::{self, BufWriter, Cursor, Read, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use hone_archive::{Archive, Delivery, OciBlob, OciRoot, OciShipment, Shipment, write_oci_archive};
use hone_contract::run::ImageRef;
use hone_contract::{Digest, Reference, chain};
use hone_image::oci::{Descriptor, Manifest, Platform, Sealed};
use hone_image::platform::goarch;
use hone_image::{Image, media};

use crate::engine::{Engine, Found};
use crate::error::Error;
use crate::saved;

use client::Client;
use images::gone;

/// Where containerd listens when nobody says otherwise.
const DEFAULT: &str = "/run/containerd/containerd.sock";
/// How long it may take to say that it is there.
const THERE: Duration = Duration::from_secs(2);

/// A namespace of a containerd.
#[derive(Debug, Clone)]
pub struct Containerd {
    address: Option<String>,
    namespace: String,
    machine: Platform,
}

impl Containerd {
    /// A namespace of the containerd at CONTAINERD_ADDRESS, as `ctr` has it, or of this machine's usual one.
    pub fn new(namespace: &str) -> Self {
        let machine = Platform::linux(goarch(env::consts::ARCH), None);
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
        let client = self.client()?.leased()?;
        let sent = send(&client, shipment);
        client.release();
        sent
    }

    /// Whether it is there, and this user may use it.
    pub(crate) fn answers(&self) -> bool {
        Client::connect_within(&self.address(), &self.namespace, THERE, THERE)
            .is_ok_and(|client| client.version().is_ok())
    }

    /// The configuration of the image that this manifest or index is.
    pub(crate) fn config_of(&self, digest: Digest) -> Result<Option<Digest>, Error> {
        let image = images::image(&Rc::new(self.client()?), &self.machine, digest)?;
        Ok(image.map(|image| image.config().digest()))
    }

    fn address(&self) -> String {
        let said = || env::var("CONTAINERD_ADDRESS").ok().filter(|address| !address.is_empty());
        self.address.clone().or_else(said).unwrap_or_else(|| DEFAULT.to_owned())
    }

    fn client(&self) -> Result<Client, Error> {
        Client::connect(&self.address(), &self.namespace)
    }

    /// All images, with the digests they are listed under; those that are not there whole, or are none of containers, left
    /// out, and so are those that nobody should read: they are in the way of nobody who did not ask for them.
    fn images(&self, client: &Rc<Client>) -> Result<Vec<(Digest, Image)>, Error> {
        let mut images = Vec::new();
        for target in client.images()? {
            match images::image(client, &self.machine, target.digest) {
                Err(error @ Error::Document { .. }) => log::warn!("an image is passed over: {}", chain(&error)),
                found => images.extend(found?.map(|image| (target.digest, image))),
            }
        }
        Ok(images)
    }

    /// The image of this name, if it is there whole.
    fn named(&self, client: &Rc<Client>, name: &str) -> Result<Option<Image>, Error> {
        match client.image(name)? {
            Some(target) => images::image(client, &self.machine, target.digest),
            None => Ok(None),
        }
    }

    /// A manifest for `shipment`: of the layers below that an image here has, as that image has them; of the others
    /// as plain tars.
    fn by_manifest<'a>(&self, shipment: &'a Shipment<'_>) -> Result<OciShipment<'a>, Error> {
        let images = self.images(&Rc::new(self.client()?))?;
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
        let client = Rc::new(self.client()?);
        if !reference.starts_with("sha256:") {
            return self.named(&client, &canonical(reference))?.as_ref().map(images::found).transpose();
        }
        // By digest: of its configuration, its manifest, or the index that it is in.
        let wanted = |(named, image): &&(Digest, Image)| {
            let ids = [*named, image.digest(), image.config().digest()];
            ids.iter().any(|id| id.to_string() == reference)
        };
        self.images(&client)?.iter().find(wanted).map(|(_, image)| images::found(image)).transpose()
    }

    fn load(&self, shipment: &Shipment<'_>) -> Result<Delivery, Error> {
        self.deliver(&self.by_manifest(shipment)?)
    }

    fn save(&self, reference: &str, dir: &Path) -> Result<Archive, Error> {
        let client = Rc::new(self.client()?);
        let operation = format!("save image {reference}");
        let target = client.image(&canonical(reference))?;
        let target = target.ok_or_else(|| client.refused(&operation, "it has no image of this name"))?;
        let shipment = images::whole(&client, reference, target)?;
        saved::saved(reference, dir, |path| {
            let failed = |source| Error::SaveIn { reference: reference.to_owned(), dir: dir.to_owned(), source };
            let mut file = BufWriter::new(File::create_new(path).map_err(failed)?);
            write_oci_archive(&shipment, &mut file)?;
            file.flush().map_err(failed)
        })
    }

    fn image_of(&self, container: &str) -> Result<ImageRef, Error> {
        let client = Rc::new(self.client()?);
        let name = client.image_of(container)?;
        let Some(image) = self.named(&client, &name)? else {
            let said = format!("image {name} of container {container} is not there, or not whole");
            return Err(client.refused("look for a container's image", &said));
        };
        // The user typed, and the store has, the short name.
        let reference = name.parse::<Reference>().map_or(name, |reference| reference.to_string());
        Ok(ImageRef { reference, config: image.config().digest() })
    }
}

/// Sends what is missing, labels the documents, names the images.
fn send(client: &Client, shipment: &OciShipment<'_>) -> Result<Delivery, Error> {
    let mut sent = Delivery { sent_layers: 0, sent_bytes: 0 };
    let failed = |digest: Digest| {
        let reference = shipment.name();
        move |source| Error::Layer { reference: reference.clone(), object: format!("blob {digest}"), source }
    };
    let (documents, blobs) = shipment.contents(true);
    for OciBlob { descriptor, open } in blobs {
        let bytes = client.write(descriptor, open, &failed(descriptor.digest))?;
        sent.sent_layers += usize::from(bytes > 0);
        sent.sent_bytes += bytes;
    }
    for (digest, bytes) in documents {
        let Some((descriptor, children)) = shipment.document(digest) else { continue };
        let open = || -> io::Result<Box<dyn Read>> { Ok(Box::new(Cursor::new(bytes.to_vec()))) };
        client.write(descriptor, &open, &failed(descriptor.digest))?;
        if !children.is_empty() {
            client.label(descriptor.digest, &images::labels(descriptor, children))?;
        }
    }
    for root in shipment.roots(true) {
        if let Some(reference) = &root.reference {
            client.set_image(&reference.canonical(), &root.descriptor)?;
        }
    }
    Ok(sent)
}

/// A name as ctr and nerdctl have it; what is no reference stays what it is, and is not found.
fn canonical(reference: &str) -> String {
    reference.parse().map_or_else(|_| reference.to_owned(), |r: Reference| r.canonical())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::client::fake::api::{
        Image as Named, Info, InfoRequest, InfoResponse, ListImagesResponse, ReadContentRequest, ReadContentResponse,
    };
    use super::client::fake::{Code, types};
    use hone_image::image::BaseImage;
    use prost::Message;

    use super::client::fake::{Answer, Fake};
    use super::*;

    /// A containerd with images of these manifests, and these blobs; where there is none for a digest, reading it fails.
    fn with(manifests: Vec<Digest>, blobs: BTreeMap<String, Option<Vec<u8>>>) -> Fake {
        let named = |digest: &Digest| Named {
            target: Some(types::Descriptor { digest: digest.to_string(), ..types::Descriptor::default() }),
            ..Named::default()
        };
        let listed = ListImagesResponse { images: manifests.iter().map(named).collect() };
        Fake::new(move |method, message| match method {
            "List" => Answer::of(&listed),
            "Info" => match blobs.get(&InfoRequest::decode(message).expect("a message").digest) {
                None => Answer::Refused(Code::NotFound),
                Some(bytes) => {
                    let size = bytes.as_ref().map_or(1, |bytes| bytes.len()) as i64;
                    Answer::of(&InfoResponse { info: Some(Info { size, ..Info::default() }) })
                }
            },
            "Read" => match blobs.get(&ReadContentRequest::decode(message).expect("a message").digest) {
                Some(Some(bytes)) => Answer::of(&ReadContentResponse { offset: 0, data: bytes.clone() }),
                _ => Answer::Refused(Code::Unknown),
            },
            _ => Answer::Silence,
        })
    }

    fn image(name: &str) -> Image {
        Image::base(BaseImage {
            name: name.to_owned(),
            architecture: goarch(env::consts::ARCH).to_owned(),
            variant: None,
            config: Default::default(),
            layers: vec![],
            annotations: Default::default(),
        })
    }

    #[test]
    fn a_document_that_is_damaged_hides_no_other_image() {
        let (good, bad) = (image("good"), image("bad"));
        let [manifest, config] = [bad.digest(), bad.config().digest()];
        for damaged in [manifest, config] {
            // Other bytes, none that can be read, and too many.
            for bytes in [Some(b"{}".to_vec()), None, Some(vec![b' '; 9 << 20])] {
                let mut blobs = BTreeMap::new();
                for image in [&good, &bad] {
                    blobs.insert(image.digest().to_string(), Some(image.manifest().bytes().to_vec()));
                    blobs.insert(image.config().digest().to_string(), Some(image.config().bytes().to_vec()));
                }
                blobs.insert(damaged.to_string(), bytes);
                let fake = with(vec![bad.digest(), good.digest()], blobs);
                let found = fake.engine().inspect(&good.config().digest().to_string()).expect("a list");
                assert_eq!(found.map(|found| found.id), Some(good.config().digest()));
                // Who asks for that one is told.
                let error = fake.engine().config_of(manifest).expect_err("damaged");
                assert!(matches!(&error, Error::Document { digest, .. } if *digest == damaged), "{error:?}");
            }
        }
    }
}
