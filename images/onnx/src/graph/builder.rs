//! Writes ONNX graphs, operation by operation.
//!
//! Outputs keep the name of the operation that makes them (naming them through an Identity costs a copy); the
//! builder remembers what each stands for. Dimensions that vary from batch to batch are left free, so that one
//! session serves every shape.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::onnx::{self, FLOAT, INT64};

/// The operator set of ONNX Runtime's fused operations.
const CONTRIB: &str = "com.microsoft";
/// ONNX's operator set used here.
const OPSET: i64 = 18;

/// A value in a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Val(String);

/// A graph under construction.
#[derive(Default)]
pub(crate) struct Builder {
    graph: onnx::Graph,
    constants: BTreeMap<(i32, Vec<i64>, Vec<u8>), Val>,
    inputs: BTreeSet<String>,
    outputs: Vec<String>,
    count: usize,
}

/// A finished graph.
#[derive(Debug, Clone)]
pub struct Built {
    /// ONNX's bytes.
    pub bytes: Vec<u8>,
    /// What each output stands for, in order.
    pub outputs: Vec<String>,
}

/// An attribute's value.
enum Attr {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
}

impl Builder {
    fn emit(&mut self, op: &str, domain: &str, inputs: &[&Val], attrs: &[(&str, Attr)], outputs: usize) -> Vec<Val> {
        self.count += 1;
        let names: Vec<String> = (0..outputs).map(|i| format!("{op}_{}_{i}", self.count)).collect();
        let attribute = attrs.iter().map(|(name, value)| attribute(name, value)).collect();
        self.graph.node.push(onnx::Node {
            input: inputs.iter().map(|v| v.0.clone()).collect(),
            output: names.clone(),
            name: Some(format!("{op}_{}", self.count)),
            op_type: Some(op.to_owned()),
            attribute,
            domain: (!domain.is_empty()).then(|| domain.to_owned()),
        });
        names.into_iter().map(Val).collect()
    }

    fn one(&mut self, op: &str, domain: &str, inputs: &[&Val], attrs: &[(&str, Attr)]) -> Val {
        self.emit(op, domain, inputs, attrs, 1).remove(0)
    }

    fn constant(&mut self, kind: i32, dims: Vec<i64>, raw: Vec<u8>) -> Val {
        let next = Val(format!("const_{}", self.constants.len()));
        let key = (kind, dims, raw);
        if let Some(known) = self.constants.get(&key) {
            return known.clone();
        }
        self.graph.initializer.push(onnx::Tensor {
            dims: key.1.clone(),
            data_type: Some(kind),
            name: Some(next.0.clone()),
            raw_data: Some(key.2.clone()),
        });
        self.constants.insert(key, next.clone());
        next
    }

    fn integers(&mut self, values: &[i64]) -> Val {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(INT64, vec![values.len() as i64], raw)
    }

    /// A float input; a negative dimension is free. Asking twice gives the same input.
    pub(crate) fn input(&mut self, name: &str, dims: &[i64]) -> Val {
        self.declare(name, FLOAT, dims)
    }

    /// An integer input; as [`Self::input`].
    pub(crate) fn integer_input(&mut self, name: &str, dims: &[i64]) -> Val {
        self.declare(name, INT64, dims)
    }

    fn declare(&mut self, name: &str, kind: i32, dims: &[i64]) -> Val {
        if self.inputs.insert(name.to_owned()) {
            self.graph.input.push(value_info(name, kind, Some(dims)));
        }
        Val(name.to_owned())
    }

    /// Makes `value` an output that stands for `meaning`.
    pub(crate) fn output(&mut self, meaning: &str, value: &Val) {
        self.graph.output.push(value_info(&value.0, FLOAT, None));
        self.outputs.push(meaning.to_owned());
    }

    /// alpha * a' b' + c, two-dimensional; `'` is a transposition where asked for.
    pub(crate) fn gemm(&mut self, (a, ta): (&Val, bool), (b, tb): (&Val, bool), c: Option<&Val>, alpha: f32) -> Val {
        let attrs =
            [("transA", Attr::Int(ta.into())), ("transB", Attr::Int(tb.into())), ("alpha", Attr::Float(alpha))];
        let mut inputs = vec![a, b];
        inputs.extend(c);
        self.one("Gemm", "", &inputs, &attrs)
    }

    /// alpha * a' b' over the last two dimensions.
    pub(crate) fn matmul(&mut self, (a, ta): (&Val, bool), (b, tb): (&Val, bool), alpha: f32) -> Val {
        let attrs =
            [("transA", Attr::Int(ta.into())), ("transB", Attr::Int(tb.into())), ("alpha", Attr::Float(alpha))];
        self.one("FusedMatMul", CONTRIB, &[a, b], &attrs)
    }

    pub(crate) fn add(&mut self, a: &Val, b: &Val) -> Val {
        self.one("Add", "", &[a, b], &[])
    }

    pub(crate) fn sub(&mut self, a: &Val, b: &Val) -> Val {
        self.one("Sub", "", &[a, b], &[])
    }

    pub(crate) fn mul(&mut self, a: &Val, b: &Val) -> Val {
        self.one("Mul", "", &[a, b], &[])
    }

    pub(crate) fn max(&mut self, a: &Val, b: &Val) -> Val {
        self.one("Max", "", &[a, b], &[])
    }

    pub(crate) fn exp(&mut self, a: &Val) -> Val {
        self.one("Exp", "", &[a], &[])
    }

    pub(crate) fn sigmoid(&mut self, a: &Val) -> Val {
        self.one("Sigmoid", "", &[a], &[])
    }

    /// x * sigmoid(x), fused.
    pub(crate) fn silu(&mut self, a: &Val) -> Val {
        self.one("QuickGelu", CONTRIB, &[a], &[("alpha", Attr::Float(1.0))])
    }

    /// Softmax over the last dimension.
    pub(crate) fn softmax(&mut self, a: &Val) -> Val {
        self.one("Softmax", "", &[a], &[("axis", Attr::Int(-1))])
    }

    /// `op` (ReduceSum, ReduceMean, ReduceMax) over the last dimension.
    pub(crate) fn reduce(&mut self, op: &str, a: &Val, keep: bool) -> Val {
        let axis = self.integers(&[-1]);
        self.one(op, "", &[a, &axis], &[("keepdims", Attr::Int(keep.into()))])
    }

    pub(crate) fn transpose(&mut self, a: &Val, order: &[i64]) -> Val {
        self.one("Transpose", "", &[a], &[("perm", Attr::Ints(order.to_vec()))])
    }

    /// To a fixed shape: 0 keeps a dimension, -1 is what is left.
    pub(crate) fn reshape(&mut self, a: &Val, dims: &[i64]) -> Val {
        let shape = self.integers(dims);
        self.one("Reshape", "", &[a, &shape], &[])
    }

    /// To a shape that the host gives with every run, as the integer input `name` of `rank` numbers.
    pub(crate) fn reshape_to(&mut self, a: &Val, name: &str, rank: i64) -> Val {
        let shape = self.integer_input(name, &[rank]);
        self.one("Reshape", "", &[a, &shape], &[])
    }

    pub(crate) fn concat(&mut self, a: &Val, b: &Val, axis: i64) -> Val {
        self.one("Concat", "", &[a, b], &[("axis", Attr::Int(axis))])
    }

    /// Root-mean-square normalisation over the last dimension: the result, and 1 / rms.
    pub(crate) fn rms(&mut self, x: &Val, weight: &Val, eps: f64) -> (Val, Val) {
        let attrs = [("axis", Attr::Int(-1)), ("epsilon", Attr::Float(eps as f32)), ("stash_type", Attr::Int(1))];
        let mut out = self.emit("SimplifiedLayerNormalization", "", &[x, weight], &attrs, 2);
        let inverse = out.remove(1);
        (out.remove(0), inverse)
    }

    /// Rotary embedding of `[batch, heads, length, head]`, halves split as Hugging Face does.
    pub(crate) fn rotary(&mut self, x: &Val, positions: &Val, cos: &Val, sin: &Val) -> Val {
        self.one("RotaryEmbedding", CONTRIB, &[x, positions, cos, sin], &[("interleaved", Attr::Int(0))])
    }

    /// The finished graph.
    pub(crate) fn build(mut self, name: &str) -> Built {
        self.graph.name = Some(name.to_owned());
        let set =
            |domain: &str, version| onnx::OperatorSet { domain: Some(domain.to_owned()), version: Some(version) };
        let model = onnx::Model {
            ir_version: Some(8),
            producer_name: Some("hone".to_owned()),
            graph: Some(self.graph),
            opset_import: vec![set("", OPSET), set(CONTRIB, 1)],
        };
        Built { bytes: model.encode_to_vec(), outputs: self.outputs }
    }
}

fn attribute(name: &str, value: &Attr) -> onnx::Attribute {
    let mut out = onnx::Attribute { name: Some(name.to_owned()), ..Default::default() };
    match value {
        Attr::Float(f) => (out.f, out.kind) = (Some(*f), Some(1)),
        Attr::Int(i) => (out.i, out.kind) = (Some(*i), Some(2)),
        Attr::Ints(ints) => (out.ints, out.kind) = (ints.clone(), Some(7)),
    }
    out
}

fn value_info(name: &str, kind: i32, dims: Option<&[i64]>) -> onnx::ValueInfo {
    let shape = dims.map(|dims| onnx::Shape {
        dim: dims.iter().map(|&d| onnx::Dimension { dim_value: (d >= 0).then_some(d) }).collect(),
    });
    let tensor_type = Some(onnx::TensorType { elem_type: Some(kind), shape });
    onnx::ValueInfo { name: Some(name.to_owned()), r#type: Some(onnx::Type { tensor_type }) }
}
