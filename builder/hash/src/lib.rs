//! Two SHA-256 sums over the same data, each with bytes of its own before and after it, in the time of one.
//!
//! A weight file and the tar layer around it hold the same blocks, since the tar's header is a whole number of them. The
//! message schedule of a block is then the same for both sums and is made once; and the rounds of the one run while those
//! of the other wait for their last result, which is all that one sum alone does half of the time (SHA extensions).
//!
//! Everything but that loop is `sha2`'s. Nothing here touches a file or starts a thread.

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)]
mod aarch64;
mod lane;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod rounds;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86_64;

use lane::Lane;

/// Bytes in a block of SHA-256.
const BLOCK: usize = 64;
/// Blocks that both sums take in turn where neither is ours: they stay in the first cache of every processor.
const TURN: usize = (16 << 10) / BLOCK;

/// Takes the same blocks into two states.
type Compress = fn([&mut [u32; 8]; 2], &[[u8; BLOCK]]);

/// Two SHA-256 sums over the same data.
///
/// ```
/// use sha2::{Digest, Sha256};
///
/// let mut twin = hone_hash::Twin::new([b"", &[1; 64]]);
/// twin.update(b"data");
/// let [plain, framed] = twin.finish([b"", b"end"]);
/// assert_eq!(plain[..], Sha256::digest(b"data")[..]);
/// assert_eq!(framed[..], Sha256::digest([&[1; 64][..], b"data", b"end"].concat())[..]);
/// ```
pub struct Twin {
    lanes: [Lane; 2],
    compress: Compress,
}

impl Twin {
    /// Sums that each have `before` of their own. They take one sum's time when the lengths of both are the same but for
    /// whole blocks of 64 bytes; any other is right, and takes two sums' time.
    pub fn new(before: [&[u8]; 2]) -> Self {
        Self::by(fastest(), before)
    }

    fn by(compress: Compress, before: [&[u8]; 2]) -> Self {
        let lanes = before.map(|before| {
            let mut lane = Lane::new();
            lane.update(before);
            lane
        });
        Self { lanes, compress }
    }

    /// Adds `data` to both.
    pub fn update(&mut self, data: &[u8]) {
        let [first, second] = &mut self.lanes;
        if first.begun() != second.begun() {
            // The blocks of the one hold other bytes than those of the other, now and ever after.
            first.update(data);
            second.update(data);
            return;
        }
        let rest = first.fill(data);
        second.fill(data);
        let (blocks, tail) = rest.as_chunks();
        (self.compress)([&mut first.state, &mut second.state], blocks);
        first.keep(blocks, tail);
        second.keep(blocks, tail);
    }

    /// Adds to each an `after` of its own. Both sums, in the order of [`Self::new`].
    pub fn finish(self, after: [&[u8]; 2]) -> [[u8; 32]; 2] {
        let [mut first, mut second] = self.lanes;
        first.update(after[0]);
        second.update(after[1]);
        [first.finish(), second.finish()]
    }
}

fn fastest() -> Compress {
    extended().unwrap_or(in_turns)
}

/// What the processor has of its own.
#[cfg(target_arch = "x86_64")]
fn extended() -> Option<Compress> {
    x86_64::detected()
}

/// What the processor has of its own.
#[cfg(target_arch = "aarch64")]
fn extended() -> Option<Compress> {
    aarch64::detected()
}

/// What the processor has of its own.
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
fn extended() -> Option<Compress> {
    None
}

/// Everywhere: one after the other, while the blocks are near.
fn in_turns([first, second]: [&mut [u32; 8]; 2], blocks: &[[u8; BLOCK]]) {
    for blocks in blocks.chunks(TURN) {
        sha2::block_api::compress256(first, blocks);
        sha2::block_api::compress256(second, blocks);
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// Each way that this machine has.
    fn ways() -> Vec<(&'static str, Compress)> {
        let extended = extended().map(|compress| ("extended", compress));
        extended.into_iter().chain([("in turns", in_turns as Compress)]).collect()
    }

    fn bytes(random: &mut fastrand::Rng, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        random.fill(&mut bytes);
        bytes
    }

    /// What `sha2` makes of it, without any of this.
    fn wanted(parts: [&[u8]; 3]) -> [u8; 32] {
        parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)).finalize().into()
    }

    fn check(random: &mut fastrand::Rng, before: [usize; 2], len: usize, longest_step: usize) {
        let before = before.map(|len| bytes(random, len));
        let data = bytes(random, len);
        let after = [0, 1].map(|_| {
            let len = random.usize(..200);
            bytes(random, len)
        });
        let want = [0, 1].map(|at| wanted([&before[at], &data, &after[at]]));
        for (way, compress) in ways() {
            let mut twin = Twin::by(compress, [&before[0], &before[1]]);
            let mut rest = &data[..];
            while !rest.is_empty() {
                let (step, more) = rest.split_at(random.usize(..=longest_step.min(rest.len())));
                twin.update(step);
                rest = more;
            }
            let lens = (before[0].len(), before[1].len());
            assert_eq!(twin.finish([&after[0], &after[1]]), want, "{way}: {len} bytes after {lens:?}");
        }
    }

    const ROUNDS: usize = if cfg!(miri) { 4 } else { 400 };

    #[test]
    fn both_sums_are_sha2_s() {
        let random = &mut fastrand::Rng::with_seed(1);
        for _ in 0..ROUNDS {
            let before = [random.usize(..4), random.usize(..70)].map(|blocks| blocks * BLOCK);
            let (len, step) = (random.usize(..5000), random.usize(1..1500));
            check(random, before, len, step);
        }
    }

    #[test]
    fn prefixes_of_any_length_are_right() {
        let random = &mut fastrand::Rng::with_seed(2);
        for _ in 0..ROUNDS {
            let (first, apart) = (random.usize(..130), random.usize(..4) * BLOCK);
            let (second, len, step) = (random.usize(..300), random.usize(..2000), random.usize(1..300));
            // Blocks that are begun with other bytes on each side, and blocks that never meet.
            check(random, [first, first + apart], len, step);
            check(random, [first, second], len, step);
        }
    }

    #[test]
    fn every_length_around_two_blocks_ends_right() {
        let random = &mut fastrand::Rng::with_seed(3);
        for len in (0..=130).step_by(if cfg!(miri) { 13 } else { 1 }) {
            check(random, [0, 4096], len, 64);
            check(random, [0, 0], len, 130);
        }
    }

    #[test]
    fn more_than_a_turn_is_one_run() {
        let random = &mut fastrand::Rng::with_seed(4);
        let turns = if cfg!(miri) { 1 } else { 5 };
        let len = turns * TURN * BLOCK + 77;
        check(random, [0, 4096], len, len);
    }

    #[test]
    fn the_machine_s_own_way_is_taken_where_it_has_one() {
        let own = extended().is_some();
        #[cfg(target_arch = "x86_64")]
        assert_eq!(own, is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1"));
        #[cfg(target_arch = "aarch64")]
        assert_eq!(own, std::arch::is_aarch64_feature_detected!("sha2"));
        assert_eq!(ways().len(), 1 + usize::from(own));
    }
}
