//! Forward of one layer. Activations are `[rows, width]`, rows being every position of every sequence.
//!
//! Linear with LoRA: y = x W^T + s (x A^T) B^T (+ bias). Attention with grouped queries needs no repetition of K and
//! V: q is viewed as `[batch, kv heads, group * length, head]`. Shapes that depend on the batch come in as integer
//! inputs (`shape.*`), see [`crate::engine`].

use super::builder::{Builder, Built, Val};
use super::{Keep, LayerSpec};

/// A layer's values on the way, for whoever needs them next.
pub(super) struct Trace {
    pub(super) h1: Val,
    pub(super) inv1: Val,
    /// Projections of q and k before normalisation and rotation.
    pub(super) q_raw: Val,
    pub(super) k_raw: Val,
    pub(super) q: Val,
    pub(super) k: Val,
    pub(super) v: Val,
    pub(super) o: Val,
    pub(super) probabilities: Val,
    pub(super) x1: Val,
    pub(super) h2: Val,
    pub(super) inv2: Val,
    pub(super) g: Val,
    pub(super) u: Val,
}

/// A graph of one layer being written.
pub(super) struct Layer<'a> {
    pub(super) b: Builder,
    pub(super) spec: &'a LayerSpec,
}

impl<'a> Layer<'a> {
    pub(super) fn new(spec: &'a LayerSpec) -> Self {
        Self { b: Builder::default(), spec }
    }

    /// An input of `[rows, width]`.
    pub(super) fn rows(&mut self, name: &str, width: u64) -> Val {
        self.b.input(name, &[-1, width as i64])
    }

    pub(super) fn vector(&mut self, name: &str, width: u64) -> Val {
        self.b.input(name, &[width as i64])
    }

    /// The frozen weight of a projection.
    pub(super) fn weight(&mut self, projection: &str) -> Val {
        let [out, input] = self.spec.shape(projection);
        self.b.input(projection, &[out as i64, input as i64])
    }

    /// The LoRA pair of a projection, if it has one.
    pub(super) fn pair(&mut self, projection: &str) -> Option<(Val, Val)> {
        if !self.spec.targets.contains(projection) {
            return None;
        }
        let [out, input] = self.spec.shape(projection);
        let rank = self.spec.rank as i64;
        let a = self.b.input(&format!("{projection}.A"), &[rank, input as i64]);
        let b = self.b.input(&format!("{projection}.B"), &[out as i64, rank]);
        Some((a, b))
    }

    fn linear(&mut self, x: &Val, projection: &str) -> Val {
        let biased = self.spec.config.qkv_bias && matches!(projection, "q_proj" | "k_proj" | "v_proj");
        let mut sum = biased.then(|| {
            let width = self.spec.shape(projection)[0];
            self.vector(&format!("{projection}.bias"), width)
        });
        if let Some((a, b)) = self.pair(projection) {
            let t = self.b.gemm((x, false), (&a, true), None, 1.0);
            sum = Some(self.b.gemm((&t, false), (&b, true), sum.as_ref(), self.spec.scale));
        }
        let weight = self.weight(projection);
        self.b.gemm((x, false), (&weight, true), sum.as_ref(), 1.0)
    }

    /// `[rows, heads * head]` -> `[batch, length, heads, head]`.
    pub(super) fn split(&mut self, x: &Val, queries: bool) -> Val {
        self.b.reshape_to(x, if queries { "shape.bthd" } else { "shape.btkd" }, 4)
    }

    /// `[batch, heads, length, head]` -> `[rows, heads * head]`.
    pub(super) fn merge(&mut self, x: &Val, width: u64) -> Val {
        let x = self.b.transpose(x, &[0, 2, 1, 3]);
        self.b.reshape(&x, &[-1, width as i64])
    }

    /// Normalises the heads of q or k where the family does. Gives the heads, and 1 / rms.
    pub(super) fn head_norm(&mut self, x: &Val, queries: bool) -> (Val, Option<Val>) {
        if !self.spec.config.qk_norm {
            return (x.clone(), None);
        }
        let weight = self.head_norm_weight(queries);
        let (y, inverse) = self.b.rms(x, &weight, self.spec.config.eps);
        (y, Some(inverse))
    }

    pub(super) fn head_norm_weight(&mut self, queries: bool) -> Val {
        let name = if queries { "q_norm" } else { "k_norm" };
        self.vector(name, self.spec.config.head_dim)
    }

    /// Rotates `[batch, heads, length, head]` forwards, or backwards for a gradient.
    pub(super) fn rotate(&mut self, x: &Val, forwards: bool) -> Val {
        let half = (self.spec.config.head_dim / 2) as i64;
        let positions = self.b.integer_input("positions", &[-1, -1]);
        let cos = self.b.input("cos", &[-1, half]);
        let sin = self.b.input(if forwards { "sin" } else { "minus_sin" }, &[-1, half]);
        self.b.rotary(x, &positions, &cos, &sin)
    }

    /// From a projection's rows to heads ready for attention.
    pub(super) fn heads(&mut self, raw: &Val, queries: bool) -> Val {
        let split = self.split(raw, queries);
        let (normed, _) = self.head_norm(&split, queries);
        let heads = self.b.transpose(&normed, &[0, 2, 1, 3]);
        self.rotate(&heads, true)
    }

    /// `[batch, heads, length, head]` as `[batch, kv heads, group * length, head]`.
    pub(super) fn grouped(&mut self, x: &Val) -> Val {
        let c = &self.spec.config;
        self.b.reshape(x, &[0, c.kv_heads as i64, -1, c.head_dim as i64])
    }

    pub(super) fn attention_scale(&self) -> f32 {
        (1.0 / (self.spec.config.head_dim as f64).sqrt()) as f32
    }

    /// Attention probabilities, grouped.
    pub(super) fn probabilities(&mut self, q: &Val, k: &Val) -> Val {
        let grouped = self.grouped(q);
        let scores = self.b.matmul((&grouped, false), (k, true), self.attention_scale());
        let scores = self.b.reshape_to(&scores, "shape.scores", 4);
        let mask = self.b.input("mask", &[-1, -1]);
        let masked = self.b.add(&scores, &mask);
        let p = self.b.softmax(&masked);
        self.b.reshape_to(&p, "shape.grouped", 4)
    }

    /// The layer up to the inputs of its last product. With `past`, keys and values continue those given.
    pub(super) fn trace(&mut self, x: &Val, past: Option<(&Val, &Val)>) -> Trace {
        let c = self.spec.config.clone();
        let w1 = self.vector("input_layernorm", c.hidden);
        let (h1, inv1) = self.b.rms(x, &w1, c.eps);
        let q_raw = self.linear(&h1, "q_proj");
        let k_raw = self.linear(&h1, "k_proj");
        let v_raw = self.linear(&h1, "v_proj");
        let q = self.heads(&q_raw, true);
        let mut k = self.heads(&k_raw, false);
        let v = self.split(&v_raw, false);
        let mut v = self.b.transpose(&v, &[0, 2, 1, 3]);
        if let Some((past_k, past_v)) = past {
            k = self.b.concat(past_k, &k, 2);
            v = self.b.concat(past_v, &v, 2);
        }
        let probabilities = self.probabilities(&q, &k);
        let o = self.b.matmul((&probabilities, false), (&v, false), 1.0);
        let o = self.b.reshape_to(&o, "shape.bhtd", 4);
        let o = self.merge(&o, c.q_rows());
        let y = self.linear(&o, "o_proj");
        let x1 = self.b.add(x, &y);
        let w2 = self.vector("post_attention_layernorm", c.hidden);
        let (h2, inv2) = self.b.rms(&x1, &w2, c.eps);
        let g = self.linear(&h2, "gate_proj");
        let u = self.linear(&h2, "up_proj");
        Trace { h1, inv1, q_raw, k_raw, q, k, v, o, probabilities, x1, h2, inv2, g, u }
    }

    fn finish(&mut self, trace: &Trace) -> Val {
        let gate = self.b.silu(&trace.g);
        let a = self.b.mul(&gate, &trace.u);
        let d = self.linear(&a, "down_proj");
        self.b.add(&trace.x1, &d)
    }
}

/// Forward of a layer: `x` -> `y`, and what `keep` asks for.
pub fn forward(spec: &LayerSpec, keep: Keep) -> Built {
    let mut layer = Layer::new(spec);
    let x = layer.rows("x", spec.config.hidden);
    let trace = layer.trace(&x, None);
    let y = layer.finish(&trace);
    layer.b.output("y", &y);
    if keep == Keep::Activations {
        // Where heads are normalised, the gradient needs them as they were before.
        let (q, k) = if spec.config.qk_norm { (&trace.q_raw, &trace.k_raw) } else { (&trace.q, &trace.k) };
        let kept = [q, k, &trace.v, &trace.o, &trace.x1, &trace.g, &trace.u];
        for (name, value) in super::KEPT.iter().zip(kept) {
            layer.b.output(name, value);
        }
    }
    layer.b.build("forward")
}

/// Forward of a layer for generation: takes the keys and values so far, gives them back with the new ones.
pub fn forward_cached(spec: &LayerSpec) -> Built {
    let mut layer = Layer::new(spec);
    let c = &spec.config;
    let x = layer.rows("x", c.hidden);
    let dims = [-1, c.kv_heads as i64, -1, c.head_dim as i64];
    let past_k = layer.b.input("past.k", &dims);
    let past_v = layer.b.input("past.v", &dims);
    let trace = layer.trace(&x, Some((&past_k, &past_v)));
    let y = layer.finish(&trace);
    layer.b.output("y", &y);
    layer.b.output("k", &trace.k);
    layer.b.output("v", &trace.v);
    layer.b.build("forward_cached")
}
