//! One sum: blocks that are begun, and the end of a message (FIPS 180-4, 5.1.1 and 6.2.2).

use sha2::block_api::compress256;

use crate::BLOCK;

/// The state before the first block (FIPS 180-4, 5.3.3).
const BEGIN: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
/// Bytes of the message's length, at the end of its last block.
const LENGTH: usize = 8;

/// A sum that goes on.
pub(crate) struct Lane {
    pub(crate) state: [u32; 8],
    /// What came after the last whole block.
    block: [u8; BLOCK],
    len: u64,
}

impl Lane {
    pub(crate) fn new() -> Self {
        Self { state: BEGIN, block: [0; BLOCK], len: 0 }
    }

    /// Bytes of the block that is begun.
    pub(crate) fn begun(&self) -> usize {
        (self.len % BLOCK as u64) as usize
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        let (blocks, tail) = self.fill(data).as_chunks();
        compress256(&mut self.state, blocks);
        self.keep(blocks, tail);
    }

    /// Takes of `data` what the block that is begun still needs; the rest comes back.
    pub(crate) fn fill<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        let begun = self.begun();
        if begun == 0 {
            return data;
        }
        let (head, rest) = data.split_at(data.len().min(BLOCK - begun));
        self.block[begun..begun + head.len()].copy_from_slice(head);
        self.len += head.len() as u64;
        if begun + head.len() == BLOCK {
            compress256(&mut self.state, &[self.block]);
        }
        rest
    }

    /// Counts whole blocks that the state has taken, and begins one with `tail`. Nothing of either comes while one is
    /// begun.
    pub(crate) fn keep(&mut self, blocks: &[[u8; BLOCK]], tail: &[u8]) {
        self.len += (blocks.len() * BLOCK + tail.len()) as u64;
        self.block[..tail.len()].copy_from_slice(tail);
    }

    pub(crate) fn finish(mut self) -> [u8; 32] {
        let (begun, bits) = (self.begun(), self.len.wrapping_mul(8));
        let mut end = [0; 2 * BLOCK];
        end[..begun].copy_from_slice(&self.block[..begun]);
        end[begun] = 0x80;
        let len = if begun < BLOCK - LENGTH { BLOCK } else { 2 * BLOCK };
        end[len - LENGTH..len].copy_from_slice(&bits.to_be_bytes());
        compress256(&mut self.state, end[..len].as_chunks().0);
        let mut sum = [0; 32];
        for (bytes, word) in sum.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        sum
    }
}
