//! Element types of weight files, and how many bytes a shape takes in each.

use std::fmt;

/// The element types that the trainer can compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// 16-bit brain float.
    BF16,
    /// GGUF: blocks of 32, f16 scale, int8.
    Q8_0,
    /// GGUF: blocks of 32, f16 scale, 4 bits, minus 8.
    Q4_0,
    /// GGUF: blocks of 32, f16 scale and minimum, 4 bits.
    Q4_1,
}

/// Elements in a block of the quantized types.
pub const BLOCK: u64 = 32;

impl Dtype {
    /// The types a GGUF tensor may have.
    pub const GGUF: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1";
    /// The types a safetensors tensor may have.
    pub const SAFETENSORS: &str = "F32, F16, BF16";

    /// From GGUF's type number.
    pub fn from_ggml(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            30 => Self::BF16,
            _ => return None,
        })
    }

    /// From the name in a safetensors header.
    pub fn from_safetensors(name: &str) -> Option<Self> {
        Some(match name {
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::BF16,
            _ => return None,
        })
    }

    /// Elements in one block, and bytes it takes.
    pub fn block(self) -> (u64, u64) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q8_0 => (BLOCK, 34),
            Self::Q4_0 => (BLOCK, 18),
            Self::Q4_1 => (BLOCK, 20),
        }
    }

    /// Bytes of a tensor of this shape; none when the number overflows or the last dimension is not whole blocks.
    pub fn bytes(self, shape: &[u64]) -> Option<u64> {
        in_blocks(self.block(), shape)
    }
}

fn in_blocks((elements, bytes): (u64, u64), shape: &[u64]) -> Option<u64> {
    let count = elements_of(shape)?;
    if !shape.last().copied().unwrap_or(1).is_multiple_of(elements) {
        return None;
    }
    (count / elements).checked_mul(bytes)
}

fn elements_of(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d))
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Every type that a GGUF tensor may have: number, name, elements in a block and the bytes it takes (ggml.c,
/// `type_traits`). Most are not computed here; their sizes are needed to tell whether a file is honest.
const GGML: [(u32, &str, u64, u64); 35] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (31, "Q4_0_4_4", 32, 18),
    (32, "Q4_0_4_8", 32, 18),
    (33, "Q4_0_8_8", 32, 18),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
];

/// The name of a GGUF type, also of one that is not computed here.
pub fn ggml_name(number: u32) -> String {
    GGML.iter()
        .find(|(n, ..)| *n == number)
        .map_or_else(|| format!("number {number}"), |(_, name, ..)| (*name).to_owned())
}

/// Bytes of a tensor of this GGUF type and shape; the outer `None` is a type that nobody has described, the inner one a
/// shape that has no size in it.
pub fn ggml_bytes(number: u32, shape: &[u64]) -> Option<Option<u64>> {
    let (_, _, elements, bytes) = GGML.iter().find(|(n, ..)| *n == number)?;
    Some(in_blocks((*elements, *bytes), shape))
}

/// Every type that a safetensors tensor may have, and bits of one element (safetensors, tensor.rs, `Dtype::bitsize`).
const SAFETENSORS: [(&str, u64); 22] = [
    ("BOOL", 8),
    ("F4", 4),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("U8", 8),
    ("I8", 8),
    ("F8_E5M2", 8),
    ("F8_E4M3", 8),
    ("F8_E5M2FNUZ", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E8M0", 8),
    ("I16", 16),
    ("U16", 16),
    ("F16", 16),
    ("BF16", 16),
    ("I32", 32),
    ("U32", 32),
    ("F32", 32),
    ("C64", 64),
    ("F64", 64),
    ("I64", 64),
    ("U64", 64),
];

/// Bytes of a tensor of this safetensors type and shape; as [`ggml_bytes`]. Elements that do not fill whole bytes have
/// no size.
pub fn safetensors_bytes(name: &str, shape: &[u64]) -> Option<Option<u64>> {
    let (_, bits) = SAFETENSORS.iter().find(|(known, _)| *known == name)?;
    let bits = elements_of(shape).and_then(|n| n.checked_mul(*bits));
    Some(bits.filter(|bits| bits.is_multiple_of(8)).map(|bits| bits / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_blocks_and_overflow_is_none() {
        assert_eq!(Dtype::Q4_1.bytes(&[3, 64]), Some(3 * 2 * 20));
        assert_eq!(Dtype::Q8_0.bytes(&[64, 3]), None);
        assert_eq!(Dtype::F32.bytes(&[]), Some(4));
        assert_eq!(Dtype::F32.bytes(&[u64::MAX, 2]), None);
        assert_eq!(Dtype::F32.bytes(&[u64::MAX]), None);
        assert_eq!(ggml_bytes(12, &[2, 512]), Some(Some(2 * 2 * 144)));
        assert_eq!((ggml_bytes(12, &[2, 64]), ggml_bytes(99, &[1])), (Some(None), None));
        assert_eq!(safetensors_bytes("F4", &[3, 2]), Some(Some(3)));
        assert_eq!(safetensors_bytes("F6_E2M3", &[4]), Some(Some(3)));
        assert_eq!((safetensors_bytes("F4", &[3]), safetensors_bytes("F5", &[8])), (Some(None), None));
        assert_eq!(safetensors_bytes("U64", &[u64::MAX / 8]), Some(None));
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            assert_eq!(safetensors_bytes(&dtype.to_string(), &[7]), Some(dtype.bytes(&[7])));
        }
        for number in 0..64 {
            if let Some(dtype) = Dtype::from_ggml(number) {
                assert_eq!(ggml_bytes(number, &[3, 64]), Some(dtype.bytes(&[3, 64])), "{dtype}");
            }
        }
    }
}
