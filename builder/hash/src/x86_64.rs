//! Intel's and AMD's SHA extensions.
//!
//! `sha256rnds2` needs four cycles and one begins every two: the rounds of two sums fit into the time of one. Both take
//! the same four words of the schedule out of the same register.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
};

use crate::rounds::K;
use crate::{BLOCK, Compress};

/// The way of processors that have the extensions.
pub(crate) fn detected() -> Option<Compress> {
    let has =
        is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1");
    // SAFETY: `compress` needs these three features and nothing else, and they are there: it is handed out only then.
    has.then_some(|states, blocks| unsafe { compress(states, blocks) })
}

/// A state as the instructions take it, the first named in the highest lane.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
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
                four_rounds(&mut first, &mut second, w[i], &k[i]);
            }
        }
        first = sum(first, begin.0);
        second = sum(second, begin.1);
    }
    store(first, one);
    store(second, two);
}

/// Four rounds of both.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn four_rounds(first: &mut State, second: &mut State, w: __m128i, k: &[u32; 4]) {
    let [k0, k1, k2, k3] = k.map(u32::cast_signed);
    let low = _mm_add_epi32(w, _mm_set_epi32(k3, k2, k1, k0));
    first.cdgh = _mm_sha256rnds2_epu32(first.cdgh, first.abef, low);
    second.cdgh = _mm_sha256rnds2_epu32(second.cdgh, second.abef, low);
    let high = _mm_shuffle_epi32(low, 0b1110);
    first.abef = _mm_sha256rnds2_epu32(first.abef, first.cdgh, high);
    second.abef = _mm_sha256rnds2_epu32(second.abef, second.cdgh, high);
}

/// The next four words of the schedule, out of the sixteen before them.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn next(w0: __m128i, w1: __m128i, w2: __m128i, w3: __m128i) -> __m128i {
    let back_seven = _mm_alignr_epi8(w3, w2, 4);
    _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), back_seven), w3)
}

/// The sixteen words of a block, which are big endian.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn words(block: &[u8; BLOCK]) -> [__m128i; 4] {
    let swapped = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let halves = block.as_chunks().0;
    [0, 2, 4, 6].map(|at| {
        let [low, high] = [halves[at], halves[at + 1]].map(i64::from_le_bytes);
        _mm_shuffle_epi8(_mm_set_epi64x(high, low), swapped)
    })
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn load(state: &[u32; 8]) -> State {
    let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
    State { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn store(State { abef, cdgh }: State, state: &mut [u32; 8]) {
    let [a, b, e, f] = lanes(abef);
    let [c, d, g, h] = lanes(cdgh);
    *state = [a, b, c, d, e, f, g, h];
}

/// The highest first.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn lanes(words: __m128i) -> [u32; 4] {
    let lanes = [
        _mm_extract_epi32::<3>(words),
        _mm_extract_epi32::<2>(words),
        _mm_extract_epi32::<1>(words),
        _mm_extract_epi32::<0>(words),
    ];
    lanes.map(i32::cast_unsigned)
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn sum(one: State, two: State) -> State {
    State { abef: _mm_add_epi32(one.abef, two.abef), cdgh: _mm_add_epi32(one.cdgh, two.cdgh) }
}
