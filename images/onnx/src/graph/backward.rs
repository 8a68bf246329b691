//! Backward of one layer: from dy to dx and the gradients of the LoRA pairs. Frozen weights get none.
//!
//! LoRA: with t = x A^T, dB = s dy^T t; dt = s dy B; dA = dt^T x; dx = dy W + dt A. Softmax by the row sums of dO * O.
//! The rotary embedding's transpose is the rotation by the negative angle.

use super::builder::{Built, Val};
use super::forward::{Layer, Trace};
use super::{KEPT, Keep, LayerSpec};

impl Layer<'_> {
    /// Gradient of `linear`: dx plus `sum`; emits the pair's gradients. `x` may be absent where no pair is.
    fn linear_backward(&mut self, dy: &Val, x: &Val, projection: &str, sum: Option<Val>) -> Val {
        let mut sum = sum;
        if let Some((a, b)) = self.pair(projection) {
            let t = self.b.gemm((x, false), (&a, true), None, 1.0);
            let dt = self.b.gemm((dy, false), (&b, false), None, self.spec.scale);
            let da = self.b.gemm((&dt, true), (x, false), None, 1.0);
            let db = self.b.gemm((dy, true), (&t, false), None, self.spec.scale);
            self.b.output(&format!("{projection}.A"), &da);
            self.b.output(&format!("{projection}.B"), &db);
            sum = Some(self.b.gemm((&dt, false), (&a, false), sum.as_ref(), 1.0));
        }
        let weight = self.weight(projection);
        self.b.gemm((dy, false), (&weight, false), sum.as_ref(), 1.0)
    }

    /// Gradient of y = x * inv * w.
    fn rms_backward(&mut self, dy: &Val, x: &Val, inverse: &Val, weight: &Val) -> Val {
        let xn = self.b.mul(x, inverse);
        let dxn = self.b.mul(dy, weight);
        let product = self.b.mul(&dxn, &xn);
        let mean = self.b.reduce("ReduceMean", &product, true);
        let along = self.b.mul(&xn, &mean);
        let across = self.b.sub(&dxn, &along);
        self.b.mul(&across, inverse)
    }

    /// What [`Keep::Activations`] kept, with the rest computed again.
    fn restore(&mut self, x: &Val) -> Trace {
        let c = self.spec.config.clone();
        let heads = |heads: u64| [-1, heads as i64, -1, c.head_dim as i64];
        let [q, k, v, o, x1, g, u] = KEPT;
        let (q_raw, k_raw, q, k) = if c.qk_norm {
            let q_raw = self.rows(q, c.q_rows());
            let k_raw = self.rows(k, c.kv_rows());
            let q = self.heads(&q_raw, true);
            let k = self.heads(&k_raw, false);
            (q_raw, k_raw, q, k)
        } else {
            let q = self.b.input(q, &heads(c.heads));
            let k = self.b.input(k, &heads(c.kv_heads));
            // The raw projections are read only where heads are normalised.
            (q.clone(), k.clone(), q, k)
        };
        let v = self.b.input(v, &heads(c.kv_heads));
        let o = self.rows(o, c.q_rows());
        let x1 = self.rows(x1, c.hidden);
        let g = self.rows(g, c.inter);
        let u = self.rows(u, c.inter);
        let w1 = self.vector("input_layernorm", c.hidden);
        let w2 = self.vector("post_attention_layernorm", c.hidden);
        let (h1, inv1) = self.b.rms(x, &w1, c.eps);
        let (h2, inv2) = self.b.rms(&x1, &w2, c.eps);
        let probabilities = self.probabilities(&q, &k);
        Trace { h1, inv1, q_raw, k_raw, q, k, v, o, probabilities, x1, h2, inv2, g, u }
    }

    /// dy -> the gradient of x1, through the feed-forward half.
    fn feed_forward_backward(&mut self, dy: &Val, t: &Trace) -> Val {
        let sigmoid = self.b.sigmoid(&t.g);
        let silu = self.b.mul(&t.g, &sigmoid);
        let a = self.b.mul(&silu, &t.u);
        let da = self.linear_backward(dy, &a, "down_proj", None);
        let du = self.b.mul(&da, &silu);
        // silu' = sigmoid + silu (1 - sigmoid)
        let product = self.b.mul(&silu, &sigmoid);
        let rest = self.b.sub(&silu, &product);
        let slope = self.b.add(&sigmoid, &rest);
        let dau = self.b.mul(&da, &t.u);
        let dg = self.b.mul(&dau, &slope);
        let dh2 = self.linear_backward(&dg, &t.h2, "gate_proj", None);
        let dh2 = self.linear_backward(&du, &t.h2, "up_proj", Some(dh2));
        let weight = self.vector("post_attention_layernorm", self.spec.config.hidden);
        let through = self.rms_backward(&dh2, &t.x1, &t.inv2, &weight);
        self.b.add(dy, &through)
    }

    /// Gradients of q, k (rotated back, not yet through the head norm) and v, each `[batch, heads, length, head]`.
    fn attention_backward(&mut self, d_o: &Val, t: &Trace) -> [Val; 3] {
        let c = self.spec.config.clone();
        let product = self.b.mul(d_o, &t.o);
        let product = self.split(&product, true);
        let sums = self.b.reduce("ReduceSum", &product, false);
        let sums = self.b.transpose(&sums, &[0, 2, 1]);
        let sums = self.b.reshape(&sums, &[0, c.kv_heads as i64, -1, 1]);
        let split = self.split(d_o, true);
        let heads = self.b.transpose(&split, &[0, 2, 1, 3]);
        let d_heads = self.grouped(&heads);
        let dv = self.b.matmul((&t.probabilities, true), (&d_heads, false), 1.0);
        let dp = self.b.matmul((&d_heads, false), (&t.v, true), 1.0);
        let centred = self.b.sub(&dp, &sums);
        let ds = self.b.mul(&t.probabilities, &centred);
        let scale = self.attention_scale();
        let dq = self.b.matmul((&ds, false), (&t.k, false), scale);
        let q = self.grouped(&t.q);
        let dk = self.b.matmul((&ds, true), (&q, false), scale);
        let dq = self.b.reshape_to(&dq, "shape.bhtd", 4);
        [self.rotate(&dq, false), self.rotate(&dk, false), dv]
    }

    /// Through the head norm, where there is one, to the rows of a projection.
    fn heads_backward(&mut self, d: &Val, raw: &Val, queries: bool) -> Val {
        let width = if queries { self.spec.config.q_rows() } else { self.spec.config.kv_rows() };
        if !self.spec.config.qk_norm {
            return self.merge(d, width);
        }
        let split = self.split(raw, queries);
        let weight = self.head_norm_weight(queries);
        let (_, inverse) = self.b.rms(&split, &weight, self.spec.config.eps);
        let d = self.b.transpose(d, &[0, 2, 1, 3]);
        let d = self.rms_backward(&d, &split, &inverse, &weight);
        self.b.reshape(&d, &[-1, width as i64])
    }
}

/// Backward of a layer: `x`, `dy` (and what was kept) -> `dx` and the gradients of its pairs.
pub fn backward(spec: &LayerSpec, keep: Keep) -> Built {
    let mut layer = Layer::new(spec);
    let hidden = spec.config.hidden;
    let x = layer.rows("x", hidden);
    let dy = layer.rows("dy", hidden);
    let trace = match keep {
        Keep::Activations => layer.restore(&x),
        Keep::Input => layer.trace(&x, None),
    };
    let dx1 = layer.feed_forward_backward(&dy, &trace);
    let d_o = layer.linear_backward(&dx1, &trace.o, "o_proj", None);
    let [dq, dk, dv] = layer.attention_backward(&d_o, &trace);
    let dq = layer.heads_backward(&dq, &trace.q_raw, true);
    let dk = layer.heads_backward(&dk, &trace.k_raw, false);
    let dv = layer.merge(&dv, spec.config.kv_rows());
    let dh = layer.linear_backward(&dq, &trace.h1, "q_proj", None);
    let dh = layer.linear_backward(&dk, &trace.h1, "k_proj", Some(dh));
    let dh = layer.linear_backward(&dv, &trace.h1, "v_proj", Some(dh));
    let weight = layer.vector("input_layernorm", hidden);
    let through = layer.rms_backward(&dh, &x, &trace.inv1, &weight);
    let dx = layer.b.add(&dx1, &through);
    layer.b.output("dx", &dx);
    layer.b.build("backward")
}
