//! A docker archive: `docker save`'s format, written as a stream, and read.
//!
//! Its manifest lists every layer, its files only those that the engine lacks: dockerd looks a layer up by its chain
//! before it opens the file (moby image/tarexport/load.go; tried with 20.10 and 28.5).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use hone_contract::{Digest, Hashing};
use hone_image::image::MAX_LAYERS;
use hone_image::layer::LayerKind;
use hone_image::oci::{ImageConfig, Manifest, Plain, Sealed};
use hone_image::tar::TarWriter;
use hone_image::{Image, Layer, Pack, media};
use serde::Deserialize;

use crate::archive::{ArchiveError, Source, format_of};
use crate::images::Contents;
use crate::oci_read::parsed;
use crate::shipment::{Delivery, ShipLayer, Shipment, WriteError, cause};
use crate::table::Place;

/// Images in one archive, at most.
const MAX_LISTED: usize = 4096;

/// Writes the archive of `shipment`, whole; the same bytes for the same shipment.
///
/// # Errors
/// When a layer cannot be read or has another length than it says, or `to` takes no more.
pub fn write_docker_archive(shipment: &Shipment<'_>, to: &mut dyn Write) -> Result<Delivery, WriteError> {
    write(shipment, 0, to)
}

/// Writes the archive of `shipment` without its `skip` lowest layers.
///
/// # Errors
/// As [`write_docker_archive`].
pub fn write(shipment: &Shipment<'_>, skip: usize, to: &mut dyn Write) -> Result<Delivery, WriteError> {
    let mut out = TarWriter::archive(to);
    let config = format!("{}.json", shipment.id().hex());
    bytes(&mut out, &config, &shipment.config).map_err(shipment.failed("configuration"))?;
    let mut sent = Delivery { sent_layers: 0, sent_bytes: 0 };
    let mut written = Vec::new();
    for layer in &shipment.layers[skip..] {
        // A layer that an image has twice is one file.
        if written.contains(&layer.diff_id) {
            continue;
        }
        written.push(layer.diff_id);
        let size = file(&mut out, layer).map_err(shipment.failed(format!("layer {}", layer.diff_id)))?;
        sent = Delivery { sent_layers: sent.sent_layers + 1, sent_bytes: sent.sent_bytes + size };
    }
    let names: Vec<_> = shipment.layers.iter().map(|l| name(&l.diff_id)).collect();
    let manifest = serde_json::json!([{ "Config": config, "RepoTags": [shipment.reference], "Layers": names }]);
    bytes(&mut out, "manifest.json", manifest.to_string().as_bytes()).map_err(shipment.failed("manifest"))?;
    out.finish().map_err(shipment.failed("end"))?;
    Ok(sent)
}

/// Adds a file of these bytes.
pub(crate) fn bytes(out: &mut TarWriter<&mut dyn Write>, name: &str, content: &[u8]) -> io::Result<()> {
    out.file(name, false, content.len() as u64, &mut &*content).map_err(cause)
}

fn name(diff_id: &Digest) -> String {
    format!("{}.tar", diff_id.hex())
}

fn file(out: &mut TarWriter<&mut dyn Write>, layer: &ShipLayer<'_>) -> io::Result<u64> {
    let size = layer.length()?;
    out.file(&name(&layer.diff_id), false, size, &mut (layer.open)()?).map_err(cause)?;
    Ok(size)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// `manifest.json`.
#[derive(Deserialize)]
struct List(Vec<Listed>);

impl Plain for List {}

/// Reads the images that `manifest.json`, at `place`, lists.
pub(crate) fn contents(source: &Source, place: Place) -> Result<Contents, ArchiveError> {
    let listed: Sealed<List> = parsed("manifest", "manifest.json", source.read(place, "manifest.json")?)?;
    let List(listed) = listed.value();
    bounded("images", listed.len(), MAX_LISTED)?;
    let mut reading = Reading { source, hashed: BTreeMap::new(), found: Contents::default() };
    for image in listed {
        reading.image(image)?;
    }
    Ok(reading.found)
}

fn bounded(what: &'static str, got: usize, max: usize) -> Result<(), ArchiveError> {
    if got > max { Err(ArchiveError::TooMany { what, max }) } else { Ok(()) }
}

struct Reading<'a> {
    source: &'a Source,
    hashed: BTreeMap<u64, Digest>,
    found: Contents,
}

impl Reading<'_> {
    fn image(&mut self, listed: &Listed) -> Result<(), ArchiveError> {
        // Told before they are hashed, and again when it is known whether one is a version's adapter.
        bounded("layers", listed.layers.len(), MAX_LAYERS + 1)?;
        let bytes = self.source.read(self.source.find(&listed.config, "manifest.json")?, &listed.config)?;
        let config: Sealed<ImageConfig> = parsed("config", &listed.config, bytes)?;
        named_after(&listed.config, config.digest())?;
        let diff_ids = &config.value().rootfs.diff_ids;
        let count = |n: usize| format!("{n} layers");
        if diff_ids.len() != listed.layers.len() {
            let (got, want) = (count(listed.layers.len()), count(diff_ids.len()));
            return Err(ArchiveError::Mismatch { object: listed.config.clone(), got, want });
        }
        let layers = listed.layers.iter().zip(diff_ids).map(|(name, id)| self.layer(name, *id));
        let layers: Vec<_> = layers.collect::<Result<_, _>>()?;
        let descriptors = layers.into_iter().map(|layer| layer.descriptor).collect();
        let manifest = Sealed::new(Manifest::new(config.descriptor(media::CONFIG), descriptors, BTreeMap::new()));
        let object = listed.config.clone();
        let image = Image::join(manifest, config).map_err(|source| ArchiveError::Image { object, source })?;
        let names = listed.repo_tags.iter().flatten().filter_map(|tag| tag.parse().ok());
        self.found.pack(names, Pack::alone(image));
        Ok(())
    }

    /// A layer as it lies in the archive: mostly a plain tar, whose digest its diff id is, or says it is.
    fn layer(&mut self, name: &str, diff_id: Digest) -> Result<Layer, ArchiveError> {
        let place = self.source.find(name, "manifest.json")?;
        let mut magic = [0; 6];
        let most = magic.len().min(usize::try_from(place.size).unwrap_or(usize::MAX));
        let io_error = |source| ArchiveError::Io { object: name.to_owned(), source };
        self.source.section(place).read_exact(&mut magic[..most]).map_err(io_error)?;
        let media_type = match format_of(&magic) {
            None => {
                self.found.blobs.entry(diff_id).or_insert(place);
                return Ok(plain(Layer::tar(LayerKind::Other, diff_id, place.size)));
            }
            Some("gzip") => media::LAYER_GZIP,
            Some("zstd") => media::LAYER_ZSTD,
            Some(_) => {
                let why = "a layer is compressed with neither gzip nor zstd";
                return Err(ArchiveError::Entry { name: name.to_owned(), why });
            }
        };
        let digest = self.digest(place).map_err(io_error)?;
        self.found.blobs.insert(digest, place);
        let mut layer = Layer::tar(LayerKind::Other, digest, place.size);
        layer.descriptor.media_type = media_type.to_owned();
        Ok(plain(Layer { diff_id, ..layer }))
    }

    /// The digest of a compressed layer, which nothing in the archive tells; read once, however often it is listed.
    fn digest(&mut self, place: Place) -> io::Result<Digest> {
        if let Some(known) = self.hashed.get(&place.at) {
            return Ok(*known);
        }
        let digest = Hashing::all(self.source.section(place))?.digest();
        self.hashed.insert(place.at, digest);
        Ok(digest)
    }
}

/// Without annotations: what a layer of a docker archive is for, nobody said.
fn plain(mut layer: Layer) -> Layer {
    layer.descriptor.annotations.clear();
    layer
}

/// Refuses a configuration whose file is named after another digest.
fn named_after(name: &str, digest: Digest) -> Result<(), ArchiveError> {
    let stem = name.rsplit('/').next().unwrap_or(name);
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    match format!("sha256:{stem}").parse::<Digest>() {
        Ok(want) if want != digest => {
            let (got, want) = (digest.to_string(), want.to_string());
            Err(ArchiveError::Mismatch { object: name.to_owned(), got, want })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn shipment(contents: &'static [&'static [u8]]) -> Shipment<'static> {
        let layer = |bytes: &'static [u8]| ShipLayer {
            diff_id: Digest::of(bytes),
            size: None,
            open: Box::new(move || Ok(Box::new(bytes))),
        };
        let layers = contents.iter().copied().map(layer).collect();
        Shipment { reference: "a:b".into(), config: b"{}".to_vec(), layers }
    }

    #[test]
    fn tar_reads_what_was_written_and_skipped_layers_are_only_named() {
        let shipment = shipment(&[b"one", b"two", b"three", b"three"]);
        let mut out = Vec::new();
        let sent = write(&shipment, 2, &mut out).unwrap();
        assert_eq!(sent, Delivery { sent_layers: 1, sent_bytes: 5 });
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&out).unwrap();
        let listed = Command::new("tar").arg("tf").arg(file.path()).output().unwrap().stdout;
        let want = format!("{}.json\n{}\nmanifest.json\n", Digest::of(b"{}").hex(), name(&Digest::of(b"three")));
        assert_eq!(String::from_utf8(listed).unwrap(), want);
        let text = String::from_utf8_lossy(&out);
        for layer in &shipment.layers {
            assert!(text.contains(&format!("\"{}\"", name(&layer.diff_id))), "manifest names {}", layer.diff_id);
        }
    }

    #[test]
    fn a_layer_shorter_than_promised_is_an_error() {
        let mut short = shipment(&[b"one"]);
        short.layers[0].size = Some(4);
        let error = write(&short, 0, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), format!("send image a:b: layer {}", Digest::of(b"one")));
    }
}
