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
        let (elements, bytes) = self.block();
        let count = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d))?;
        if !shape.last().copied().unwrap_or(1).is_multiple_of(elements) {
            return None;
        }
        (count / elements).checked_mul(bytes)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The name of a GGUF type, also of one that is not computed here.
pub fn ggml_name(number: u32) -> String {
    let names = [
        (0, "F32"),
        (1, "F16"),
        (2, "Q4_0"),
        (3, "Q4_1"),
        (8, "Q8_0"),
        (30, "BF16"),
        (6, "Q5_0"),
        (7, "Q5_1"),
        (9, "Q8_1"),
        (10, "Q2_K"),
        (11, "Q3_K"),
        (12, "Q4_K"),
        (13, "Q5_K"),
        (14, "Q6_K"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (20, "IQ4_NL"),
        (23, "IQ4_XS"),
        (28, "F64"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
        (39, "MXFP4"),
    ];
    names
        .iter()
        .find(|(n, _)| *n == number)
        .map_or_else(|| format!("number {number}"), |(_, name)| (*name).to_owned())
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
    }
}
