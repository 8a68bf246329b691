//! The vocabulary head, a part of the vocabulary at a time.
//!
//! The full matrix of logits is the peak of a small model's memory. So the embedding's rows are streamed, and the
//! softmax is carried on from part to part: the running maximum m, the sum z of exp(logit - m), and
//! acc = sum of exp(logit - m) * E, from which the host makes loss = m + log z - `h E[y]` and
//! `dh = (acc / z - E[y]) * weight`. One pass over the vocabulary, and no one-hot matrix.

use hone_model::ModelConfig;

use super::builder::{Builder, Built, Val};

fn inputs(b: &mut Builder, hidden: i64) -> (Val, Val) {
    (b.input("h", &[-1, hidden]), b.input("E", &[-1, hidden]))
}

/// One part of the vocabulary for training: `h`, `E`, `m`, `z`, `acc` -> `m`, `z`, `acc`.
pub fn head_loss(config: &ModelConfig) -> Built {
    let hidden = config.hidden as i64;
    let mut b = Builder::default();
    let (h, e) = inputs(&mut b, hidden);
    let m = b.input("m", &[-1, 1]);
    let z = b.input("z", &[-1, 1]);
    let acc = b.input("acc", &[-1, hidden]);
    let logits = b.gemm((&h, false), (&e, true), None, 1.0);
    let peak = b.reduce("ReduceMax", &logits, true);
    let m_next = b.max(&m, &peak);
    let centred = b.sub(&logits, &m_next);
    let p = b.exp(&centred);
    let fall = b.sub(&m, &m_next);
    let shrink = b.exp(&fall);
    let old = b.mul(&z, &shrink);
    let new = b.reduce("ReduceSum", &p, true);
    let z_next = b.add(&old, &new);
    let old = b.mul(&acc, &shrink);
    let acc_next = b.gemm((&p, false), (&e, false), Some(&old), 1.0);
    b.output("m", &m_next);
    b.output("z", &z_next);
    b.output("acc", &acc_next);
    b.build("head_loss")
}

/// One part of the vocabulary for generation: `h`, `E` -> `logits`.
pub fn head_logits(config: &ModelConfig) -> Built {
    let mut b = Builder::default();
    let (h, e) = inputs(&mut b, config.hidden as i64);
    let logits = b.gemm((&h, false), (&e, true), None, 1.0);
    b.output("logits", &logits);
    b.build("head_logits")
}
