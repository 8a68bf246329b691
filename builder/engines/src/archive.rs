//! A docker archive (`docker save`'s format), written as a stream.
//!
//! Its manifest lists every layer, its files only those that the engine lacks: dockerd looks a layer up by its chain
//! before it opens the file (moby image/tarexport/load.go; tried with 20.10 and 28.5).

use std::io::{self, Read, Write};

use hone_image::Digest;

use crate::command::Error;
use crate::engine::Delivery;
use crate::shipment::{ShipLayer, Shipment};

const BLOCK: u64 = 512;

/// Writes the archive of `shipment` without its `skip` lowest layers.
pub(crate) fn write(shipment: &Shipment<'_>, skip: usize, to: &mut dyn Write) -> Result<Delivery, Error> {
    let failed = |object: &dyn ToString, source| Error::Layer {
        reference: shipment.reference.clone(),
        object: object.to_string(),
        source,
    };
    let config = format!("{}.json", shipment.id().hex());
    bytes(to, &config, &shipment.config).map_err(|e| failed(&"configuration", e))?;
    let mut sent = Delivery { sent_layers: 0, sent_bytes: 0 };
    for layer in &shipment.layers[skip..] {
        let size = file(to, layer).map_err(|e| failed(&format!("layer {}", layer.diff_id), e))?;
        sent = Delivery { sent_layers: sent.sent_layers + 1, sent_bytes: sent.sent_bytes + size };
    }
    let names: Vec<_> = shipment.layers.iter().map(|l| name(&l.diff_id)).collect();
    let manifest = serde_json::json!([{ "Config": config, "RepoTags": [shipment.reference], "Layers": names }]);
    bytes(to, "manifest.json", manifest.to_string().as_bytes()).map_err(|e| failed(&"manifest", e))?;
    to.write_all(&[0; 2 * BLOCK as usize]).map_err(|e| failed(&"end", e))?;
    Ok(sent)
}

fn name(diff_id: &Digest) -> String {
    format!("{}.tar", diff_id.hex())
}

fn bytes(to: &mut dyn Write, name: &str, content: &[u8]) -> io::Result<()> {
    to.write_all(&header(name, content.len() as u64))?;
    to.write_all(content)?;
    pad(to, content.len() as u64)
}

fn file(to: &mut dyn Write, layer: &ShipLayer<'_>) -> io::Result<u64> {
    let size = layer.length()?;
    to.write_all(&header(&name(&layer.diff_id), size))?;
    let copied = io::copy(&mut (layer.open)()?.take(size), to)?;
    if copied != size {
        return Err(io::Error::other(format!("{copied} bytes, want {size}")));
    }
    pad(to, size)?;
    Ok(size)
}

fn pad(to: &mut dyn Write, size: u64) -> io::Result<()> {
    to.write_all(&[0; BLOCK as usize][..(size.next_multiple_of(BLOCK) - size) as usize])
}

/// A ustar header of a regular file (POSIX.1-1988); sizes from 8 GiB on in GNU's base-256 form.
fn header(name: &str, size: u64) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < 1 << 33 {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::command::feed;

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
        let shipment = shipment(&[b"one", b"two", b"three"]);
        let mut out = Vec::new();
        let sent = write(&shipment, 2, &mut out).unwrap();
        assert_eq!(sent, Delivery { sent_layers: 1, sent_bytes: 5 });
        let listed = feed(Command::new("tar").arg("t"), |to| {
            to.write_all(&out).map_err(|source| Error::Start { program: "tar".into(), source })
        });
        let want = format!("{}.json\n{}\nmanifest.json\n", Digest::of(b"{}").hex(), name(&Digest::of(b"three")));
        assert_eq!(String::from_utf8(listed.unwrap()).unwrap(), want);
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

    #[test]
    fn a_size_beyond_octal_is_written_in_base_256() {
        let block = header("x", 1 << 33);
        assert_eq!(&block[124..136], &[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    }
}
