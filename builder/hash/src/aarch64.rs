//! ARM's SHA2 instructions.
//!
//! `sha256h` needs four cycles or more on the processors of edge devices (Cortex-A72 and later) and others begin behind
//! it: the rounds of two sums fit into little more than the time of one.

use std::arch::aarch64::{
    uint32x4_t, vaddq_u32, vcombine_u8, vcombine_u32, vcreate_u8, vcreate_u32, vgetq_lane_u32, vreinterpretq_u32_u8,
    vrev32q_u8, vsha256h2q_u32, vsha256hq_u32, vsha256su0q_u32, vsha256su1q_u32,
};

use crate::rounds::K;
use crate::{BLOCK, Compress};

/// The way of processors that have the instructions.
pub(crate) fn detected() -> Option<Compress> {
    let has = std::arch::is_aarch64_feature_detected!("sha2");
    // SAFETY: `compress` needs this feature and nothing else, and it is there: it is handed out only then.
    has.then_some(|states, blocks| unsafe { compress(states, blocks) })
}

/// A state as the instructions take it, the first named in the lowest lane.
#[derive(Clone, Copy)]
struct State {
    abcd: uint32x4_t,
    efgh: uint32x4_t,
}

#[target_feature(enable = "sha2")]
fn compress([one, two]: [&mut [u32; 8]; 2], blocks: &[[u8; BLOCK]]) {
    let (mut first, mut second) = (load(one), load(two));
    for block in blocks {
        let begin = (first, second);
        let mut w = words(block);
        for (group, k) in K.iter().enumerate() {
            for i in 0..4 {
                if group > 0 {
                    w[i] = next(w[i], w[(i + 1) % 4], w[(i + 2) % 4], w[(i + 3) % 4]);
                }
                let wk = vaddq_u32(w[i], vector(&k[i]));
                first = four_rounds(first, wk);
                second = four_rounds(second, wk);
            }
        }
        first = sum(first, begin.0);
        second = sum(second, begin.1);
    }
    store(first, one);
    store(second, two);
}

#[inline]
#[target_feature(enable = "sha2")]
fn four_rounds(State { abcd, efgh }: State, wk: uint32x4_t) -> State {
    State { abcd: vsha256hq_u32(abcd, efgh, wk), efgh: vsha256h2q_u32(efgh, abcd, wk) }
}

/// The next four words of the schedule, out of the sixteen before them.
#[inline]
#[target_feature(enable = "sha2")]
fn next(w0: uint32x4_t, w1: uint32x4_t, w2: uint32x4_t, w3: uint32x4_t) -> uint32x4_t {
    vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3)
}

/// The sixteen words of a block, which are big endian.
#[inline]
#[target_feature(enable = "sha2")]
fn words(block: &[u8; BLOCK]) -> [uint32x4_t; 4] {
    let halves = block.as_chunks().0;
    [0, 2, 4, 6].map(|at| {
        let [low, high] = [halves[at], halves[at + 1]].map(|half| vcreate_u8(u64::from_le_bytes(half)));
        vreinterpretq_u32_u8(vrev32q_u8(vcombine_u8(low, high)))
    })
}

#[inline]
#[target_feature(enable = "sha2")]
fn vector([a, b, c, d]: &[u32; 4]) -> uint32x4_t {
    let half = |low: u32, high: u32| vcreate_u32(u64::from(low) | u64::from(high) << 32);
    vcombine_u32(half(*a, *b), half(*c, *d))
}

#[inline]
#[target_feature(enable = "sha2")]
fn load([a, b, c, d, e, f, g, h]: &[u32; 8]) -> State {
    State { abcd: vector(&[*a, *b, *c, *d]), efgh: vector(&[*e, *f, *g, *h]) }
}

#[inline]
#[target_feature(enable = "sha2")]
fn store(State { abcd, efgh }: State, state: &mut [u32; 8]) {
    let [a, b, c, d] = lanes(abcd);
    let [e, f, g, h] = lanes(efgh);
    *state = [a, b, c, d, e, f, g, h];
}

#[inline]
#[target_feature(enable = "sha2")]
fn lanes(words: uint32x4_t) -> [u32; 4] {
    [vgetq_lane_u32::<0>(words), vgetq_lane_u32::<1>(words), vgetq_lane_u32::<2>(words), vgetq_lane_u32::<3>(words)]
}

#[inline]
#[target_feature(enable = "sha2")]
fn sum(one: State, two: State) -> State {
    State { abcd: vaddq_u32(one.abcd, two.abcd), efgh: vaddq_u32(one.efgh, two.efgh) }
}
