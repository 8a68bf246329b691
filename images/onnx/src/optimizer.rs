//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), with PyTorch's order of operations, and the schedules.

use crate::adapter::Adapter;

/// AdamW's constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the mean.
    pub beta1: f64,
    /// Decay of the mean square.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// Moments of every parameter, in the adapter's order.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    config: AdamWConfig,
    /// Steps taken.
    pub steps: u64,
    /// Means of the gradients.
    pub means: Vec<Vec<f32>>,
    /// Means of their squares.
    pub squares: Vec<Vec<f32>>,
}

impl AdamW {
    /// Zero moments.
    pub fn new(config: AdamWConfig, adapter: &Adapter) -> Self {
        let zeros: Vec<Vec<f32>> = adapter.params.iter().map(|p| vec![0.0; p.value.len()]).collect();
        Self { config, steps: 0, means: zeros.clone(), squares: zeros }
    }

    /// One step along the adapter's gradients. A parameter without a gradient is not touched.
    pub fn step(&mut self, adapter: &mut Adapter, learning_rate: f64) {
        self.steps += 1;
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self.config;
        let n = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let (correct1, correct2) = (1.0 - beta1.powi(n), 1.0 - beta2.powi(n));
        let keep = (1.0 - learning_rate * weight_decay) as f32;
        let rate = (learning_rate / correct1) as f32;
        let root = correct2.sqrt() as f32;
        let (b1, b2, eps) = (beta1 as f32, beta2 as f32, eps as f32);
        for (i, param) in adapter.params.iter_mut().enumerate() {
            let moments = self.means[i].iter_mut().zip(&mut self.squares[i]);
            for ((value, g), (m, v)) in param.value.iter_mut().zip(&param.grad).zip(moments) {
                *m += (g - *m) * (1.0 - b1);
                *v = *v * b2 + (1.0 - b2) * g * g;
                *value = *value * keep - rate * *m / (v.sqrt() / root + eps);
            }
        }
    }
}

/// How the learning rate falls after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// In a line to zero.
    Linear,
    /// As half a cosine to zero.
    Cosine,
}

impl Schedule {
    /// The name in a job.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "constant" => Self::Constant,
            "linear" => Self::Linear,
            "cosine" => Self::Cosine,
            _ => return None,
        })
    }

    /// The factor on the peak rate at `step` (from 0) of `steps`, the first `warmup` of which rise.
    pub fn factor(self, step: u64, steps: u64, warmup: u64) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / (warmup + 1) as f64;
        }
        let done = (step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - done,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_rise_and_fall() {
        assert_eq!(Schedule::Constant.factor(0, 10, 0), 1.0);
        assert_eq!(Schedule::Linear.factor(0, 10, 4), 0.2);
        assert_eq!(Schedule::Linear.factor(4, 10, 4), 1.0);
        assert!(Schedule::Linear.factor(9, 10, 4) > 0.0);
        assert!((Schedule::Cosine.factor(5, 10, 0) - 0.5).abs() < 1e-12);
        assert_eq!(Schedule::Linear.factor(0, 0, 0), 1.0);
    }
}
