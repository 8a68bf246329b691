//! Tables of the rotary embedding.

use hone_model::ModelConfig;

/// Cosines and sines, for as many positions as were asked for so far.
#[derive(Debug)]
pub struct Rope {
    theta: f64,
    half: usize,
    rows: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
    minus_sin: Vec<f32>,
}

impl Rope {
    /// Empty tables.
    pub fn new(config: &ModelConfig) -> Self {
        let half = config.head_dim as usize / 2;
        Self { theta: config.theta, half, rows: 0, cos: Vec::new(), sin: Vec::new(), minus_sin: Vec::new() }
    }

    /// Extends the tables to at least `length` positions.
    pub fn reach(&mut self, length: usize) {
        for position in self.rows..length {
            for i in 0..self.half {
                let angle = position as f64 / self.theta.powf(i as f64 / self.half as f64);
                self.cos.push(angle.cos() as f32);
                self.sin.push(angle.sin() as f32);
                self.minus_sin.push(-angle.sin() as f32);
            }
        }
        self.rows = self.rows.max(length);
    }

    /// A table by its name in the graphs, and its rows.
    pub fn table(&self, name: &str) -> Option<(usize, &[f32])> {
        let table = match name {
            "cos" => &self.cos,
            "sin" => &self.sin,
            "minus_sin" => &self.minus_sin,
            _ => return None,
        };
        Some((self.rows, table))
    }
}
