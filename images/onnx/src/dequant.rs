//! Weight bytes to 32-bit floats, exactly as GGUF and IEEE 754 define them.
//!
//! The blocks' values are those of llama.cpp's reference: one rounding after the product, one after the sum.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use hone_model::Dtype;

/// Fills `out` from the bytes of whole blocks; both lengths must belong together.
pub fn dequantize(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::F32 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        Dtype::F16 => halves(bytes, out),
        Dtype::BF16 => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = bf16::from_le_bytes(*bytes).to_f32();
            }
        }
        Dtype::Q8_0 => blocks::<34>(bytes, out, |block, out| {
            let scale = scale(block, 0);
            for (value, &q) in out.iter_mut().zip(&block[2..]) {
                *value = scale * f32::from(q as i8);
            }
        }),
        Dtype::Q4_0 => blocks::<18>(bytes, out, |block, out| {
            let scale = scale(block, 0);
            nibbles(&block[2..], out, |q| scale * f32::from(q as i8 - 8));
        }),
        Dtype::Q4_1 => blocks::<20>(bytes, out, |block, out| {
            let (scale, least) = (scale(block, 0), self::scale(block, 2));
            nibbles(&block[4..], out, |q| scale * f32::from(q) + least);
        }),
    }
}

/// A block's f16 as f32. Normal numbers only need their exponent moved; the library's conversion asks the processor
/// what it can each time, which would cost a tenth of all expansion.
#[inline(always)]
fn scale(block: &[u8], at: usize) -> f32 {
    let bits = u16::from_le_bytes([block[at], block[at + 1]]);
    match bits & 0x7c00 {
        0 | 0x7c00 => f16::from_bits(bits).to_f32(),
        _ => {
            let (sign, rest) = (u32::from(bits & 0x8000), u32::from(bits & 0x7fff));
            f32::from_bits((sign << 16) | ((rest << 13) + (112 << 23)))
        }
    }
}

fn halves(bytes: &[u8], out: &mut [f32]) {
    match bytemuck::try_cast_slice::<u8, u16>(bytes) {
        Ok(words) if cfg!(target_endian = "little") => {
            let values: &[f16] = half::slice::HalfBitsSliceExt::reinterpret_cast(words);
            values.convert_to_f32_slice(&mut out[..values.len()]);
        }
        _ => {
            for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f16::from_le_bytes(*bytes).to_f32();
            }
        }
    }
}

fn blocks<const N: usize>(bytes: &[u8], out: &mut [f32], one: impl Fn(&[u8; N], &mut [f32; 32])) {
    for (block, out) in bytes.as_chunks::<N>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        one(block, out);
    }
}

/// The low halves of 16 bytes, then the high ones.
#[inline(always)]
fn nibbles(bytes: &[u8], out: &mut [f32; 32], value: impl Fn(u8) -> f32) {
    let (low, high) = out.split_at_mut(16);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(&bytes[..16]) {
        *low = value(byte & 15);
        *high = value(byte >> 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(dtype: Dtype, bytes: &[u8], n: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; n];
        dequantize(dtype, bytes, &mut out);
        out
    }

    #[test]
    fn blocks_follow_the_format() {
        let half = |x: f32| f16::from_f32(x).to_le_bytes();
        let quants: Vec<u8> = (0..16).map(|i| i | ((15 - i) << 4)).collect();
        let q4_1 = [&half(0.5)[..], &half(-1.0), &quants].concat();
        let values = run(Dtype::Q4_1, &q4_1, 32);
        assert_eq!((values[0], values[15], values[16], values[31]), (-1.0, 6.5, 6.5, -1.0));
        let q4_0 = [&half(2.0)[..], &quants].concat();
        let values = run(Dtype::Q4_0, &q4_0, 32);
        assert_eq!((values[0], values[15], values[16]), (-16.0, 14.0, 14.0));
        let q8_0: Vec<u8> = half(0.25).into_iter().chain((0..32).map(|i| (i as i8 - 16) as u8)).collect();
        let values = run(Dtype::Q8_0, &q8_0, 32);
        assert_eq!((values[0], values[16], values[31]), (-4.0, 0.0, 3.75));
    }

    #[test]
    fn every_scale_is_exact() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (scale(&bits.to_le_bytes(), 0), f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "{bits:04x}");
        }
    }

    #[test]
    fn halves_are_exact_also_when_unaligned() {
        let numbers = [1.5f32, -0.25, 65504.0, 6.0e-8];
        let f16s: Vec<u8> = numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        let expected: Vec<f32> = numbers.iter().map(|&x| f16::from_f32(x).to_f32()).collect();
        let shifted = [&[0u8][..], &f16s].concat();
        assert_eq!(run(Dtype::F16, &f16s, 4), expected);
        assert_eq!(run(Dtype::F16, &shifted[1..], 4), expected);
        let bf16s: Vec<u8> = numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
        assert_eq!(run(Dtype::BF16, &bf16s, 1), [1.5]);
        assert_eq!(run(Dtype::F32, &2.5f32.to_le_bytes(), 1), [2.5]);
    }
}
