//! zstd: the one encoder, with level and parameters pinned because a layer's digest is taken of its output;
//! the one decoder, with a bounded window.
//!
//! The library's version is pinned too (`zstd` is an exact dependency): another encoder may find other matches
//! for the same input, and every image would get a new digest.

use std::io::{self, Read, Write};

/// Largest window a zstd layer may ask for, as a power of two: 128 MiB, what `zstd -d` allows by default.
const WINDOW_LOG_MAX: u32 = 27;

/// Compression level of text and program layers. Higher ones gain little on shared libraries and cost minutes
/// on an edge device.
const LEVEL: i32 = 6;

/// An encoder in front of `writer`; call `finish` on it.
///
/// # Errors
/// When zstd cannot allocate its state.
pub fn zstd_writer<W: Write>(writer: W) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(writer, LEVEL)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

/// Unpacks zstd, with a bounded window.
///
/// # Errors
/// When zstd cannot allocate its state.
pub fn zstd_reader<R: Read + Send>(blob: R) -> io::Result<impl Read + Send> {
    let mut decoder = zstd::Decoder::new(blob)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_contract::digest::Digest;

    fn compress(chunks: &[&[u8]]) -> Vec<u8> {
        let mut encoder = zstd_writer(Vec::new()).expect("encoder");
        for chunk in chunks {
            encoder.write_all(chunk).expect("write");
        }
        encoder.finish().expect("finish")
    }

    fn sample() -> Vec<u8> {
        // A linear congruential generator, kept to 32 symbols so that it compresses.
        let mut state = 1u32;
        (0..300_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 27) as u8
            })
            .collect()
    }

    #[test]
    fn output_does_not_depend_on_how_the_input_was_cut() {
        let data = sample();
        let (a, b) = data.split_at(1);
        let thirds: Vec<&[u8]> = data.chunks(100_000).collect();
        assert_eq!(compress(&[&data]), compress(&[a, b]));
        assert_eq!(compress(&[&data]), compress(&thirds));
    }

    #[test]
    fn golden_digest_of_the_encoder() {
        // When this changes, the encoder changed: every trainer, tokenizer and job layer gets a new digest.
        // Do not accept that for a library update; raise the pin only together with a note to users.
        assert_eq!(
            Digest::of(&compress(&[&sample()])).to_string(),
            "sha256:1103312cbe7a00f25cef7365badc7c1abaf53d181145c04891344795d60591ea"
        );
    }
}
