//! The final normalisation and the vocabulary: loss and its gradient for training, logits for generation.

use ort::session::SessionInputValue;

use crate::error::{Result, TrainError};
use crate::graph::{head_logits, head_loss};
use crate::runtime::{Program, Runtime, floats, read};
use crate::weights::Weights;

/// Floats of the embedding that are expanded at a time (16 MiB).
const PART: usize = 4 << 20;
/// Rows scored at a time: they bound the part of the logits that exists at once.
const ROWS: usize = 256;
/// Below any logit, and far enough from overflow.
const LOWEST: f32 = -1e30;

/// The head of a model.
pub struct Head<'w> {
    weights: &'w Weights,
    norm: Vec<f32>,
    program: Program,
    buffer: Vec<f32>,
}

/// A row on its way through the head.
struct Row {
    /// 1 / rms of the input.
    inverse: f32,
    /// Normalised and weighted.
    h: Vec<f32>,
}

/// Running softmax of several rows over the vocabulary.
struct Running {
    m: Vec<f32>,
    z: Vec<f32>,
    acc: Vec<f32>,
}

impl<'w> Head<'w> {
    /// For [`Self::loss`].
    ///
    /// # Errors
    /// The model's files or ONNX Runtime fail.
    pub fn for_training(runtime: &Runtime, weights: &'w Weights) -> Result<Self> {
        let program = runtime.program("head_loss", &head_loss(weights.config()))?;
        Ok(Self { weights, norm: weights.vector("model.norm.weight")?, program, buffer: Vec::new() })
    }

    /// For [`Self::logits`].
    ///
    /// # Errors
    /// The model's files or ONNX Runtime fail.
    pub fn for_generation(runtime: &Runtime, weights: &'w Weights) -> Result<Self> {
        let program = runtime.program("head_logits", &head_logits(weights.config()))?;
        Ok(Self { weights, norm: weights.vector("model.norm.weight")?, program, buffer: Vec::new() })
    }

    fn hidden(&self) -> usize {
        self.weights.config().hidden as usize
    }

    fn parts(&self) -> impl Iterator<Item = std::ops::Range<u64>> + use<> {
        let vocab = self.weights.config().vocab;
        let step = (PART / self.hidden()).max(256) as u64;
        (0..vocab.div_ceil(step)).map(move |i| i * step..((i + 1) * step).min(vocab))
    }

    fn normalise(&self, x: &[f32]) -> Row {
        let mean = x.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>() / x.len() as f64;
        let inverse = (1.0 / (mean + self.weights.config().eps).sqrt()) as f32;
        let h = x.iter().zip(&self.norm).map(|(x, w)| x * inverse * w).collect();
        Row { inverse, h }
    }

    /// Cross entropy summed over the rows that have a target, and its gradient (times `weight`) for every row.
    ///
    /// # Errors
    /// A target is outside the vocabulary, or ONNX Runtime fails.
    pub fn loss(&mut self, x: &[f32], targets: &[Option<u32>], weight: f32) -> Result<(f64, Vec<f32>)> {
        let hidden = self.hidden();
        let mut dx = vec![0.0; x.len()];
        let mut sum = 0.0;
        let scored: Vec<(usize, u32)> = targets.iter().enumerate().filter_map(|(i, t)| Some((i, (*t)?))).collect();
        for lot in scored.chunks(ROWS) {
            let rows: Vec<Row> = lot.iter().map(|(i, _)| self.normalise(&x[i * hidden..][..hidden])).collect();
            let running = self.stream(&rows)?;
            for (k, ((i, target), row)) in lot.iter().zip(&rows).enumerate() {
                let at = i * hidden..(i + 1) * hidden;
                let (acc, z) = (&running.acc[k * hidden..][..hidden], running.z[k]);
                let right = self.target_row(*target)?;
                let logit: f64 = row.h.iter().zip(&right).map(|(h, e)| f64::from(h * e)).sum();
                sum += f64::from(running.m[k]) + f64::from(z).ln() - logit;
                let dh = acc.iter().zip(&right).map(|(a, e)| (a / z - e) * weight);
                self.norm_backward(&x[at.clone()], row.inverse, dh, &mut dx[at]);
            }
        }
        Ok((sum, dx))
    }

    fn target_row(&self, target: u32) -> Result<Vec<f32>> {
        if u64::from(target) >= self.weights.config().vocab {
            let want = format!("one of the model's {}", self.weights.config().vocab);
            return Err(TrainError::setting("token", target, want));
        }
        let mut out = vec![0.0; self.hidden()];
        self.weights.rows_into(self.weights.head_name(), u64::from(target)..u64::from(target) + 1, &mut out)?;
        Ok(out)
    }

    /// Runs all parts of the vocabulary past the rows.
    fn stream(&mut self, rows: &[Row]) -> Result<Running> {
        let (n, hidden) = (rows.len(), self.hidden());
        let h: Vec<f32> = rows.iter().flat_map(|row| row.h.iter().copied()).collect();
        let mut state = Running { m: vec![LOWEST; n], z: vec![0.0; n], acc: vec![0.0; n * hidden] };
        for part in self.parts() {
            let count = (part.end - part.start) as usize;
            let e = self.weights.matrix(self.weights.head_name(), part, &mut self.buffer)?;
            let results = self.program.run(|name| match name {
                "h" => floats(&[n, hidden], &h),
                "E" => floats(&[count, hidden], e),
                "m" => floats(&[n, 1], &state.m),
                "z" => floats(&[n, 1], &state.z),
                _ => floats(&[n, hidden], &state.acc),
            })?;
            let next = Running {
                m: read(&results[0])?.to_vec(),
                z: read(&results[1])?.to_vec(),
                acc: read(&results[2])?.to_vec(),
            };
            state = next;
        }
        Ok(state)
    }

    /// Gradient through y = x * inverse * norm.
    fn norm_backward(&self, x: &[f32], inverse: f32, dh: impl Iterator<Item = f32>, dx: &mut [f32]) {
        let dxn: Vec<f32> = dh.zip(&self.norm).map(|(d, w)| d * w).collect();
        let mean = dxn.iter().zip(x).map(|(d, x)| f64::from(d * x * inverse)).sum::<f64>() / x.len() as f64;
        for ((out, d), x) in dx.iter_mut().zip(&dxn).zip(x) {
            *out = (d - x * inverse * mean as f32) * inverse;
        }
    }

    /// Logits of each row of `x`, row after row.
    ///
    /// # Errors
    /// ONNX Runtime fails.
    pub fn logits(&mut self, x: &[f32]) -> Result<Vec<f32>> {
        let (hidden, vocab) = (self.hidden(), self.weights.config().vocab as usize);
        let h: Vec<f32> = x.chunks(hidden).flat_map(|row| self.normalise(row).h).collect();
        let rows = x.len() / hidden;
        let mut out = vec![0.0; rows * vocab];
        for part in self.parts() {
            let (first, count) = (part.start as usize, (part.end - part.start) as usize);
            let e = self.weights.matrix(self.weights.head_name(), part, &mut self.buffer)?;
            let feed = |name: &str| -> Result<SessionInputValue<'_>> {
                if name == "h" { floats(&[rows, hidden], &h) } else { floats(&[count, hidden], e) }
            };
            let results = self.program.run(feed)?;
            for (row, part) in read(&results[0])?.chunks(count).enumerate() {
                out[row * vocab + first..][..count].copy_from_slice(part);
            }
        }
        Ok(out)
    }
}
