//! The training loop: steps, progress.jsonl, checkpoints, and at the end the adapter.
//!
//! Nothing is written outside the output directory. The adapter appears last, by rename; before the first step an
//! adapter of an earlier run is removed, so that one is there only if this run finished.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hone_model::ModelConfig;
use serde::{Deserialize, Serialize};

use crate::adapter::Adapter;
use crate::batch::{Batch, Costs, Sequence};
use crate::checkpoint::{self, Position};
use crate::engine::Engine;
use crate::error::{Result, TrainError};
use crate::optimizer::{AdamW, AdamWConfig};
use crate::order::Order;
use crate::settings::Settings;
use crate::tensors;

/// One line of progress.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Steps done, this one included.
    pub step: u64,
    /// Steps of the run.
    pub steps: u64,
    /// Mean loss over the step's scored tokens.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Tokens seen since the run began.
    pub tokens: u64,
    /// Tokens a second in this step.
    pub tokens_per_s: f64,
    /// Seconds spent since the run began, those before an interruption included.
    pub elapsed_s: f64,
}

/// What happens, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// Training begins at `step` of `steps`; above 0 it goes on from a checkpoint.
    Begin {
        /// Steps done before.
        step: u64,
        /// Steps of the run.
        steps: u64,
    },
    /// A step is done.
    Step(&'a Step),
}

/// How a run ended without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The adapter is there.
    Done {
        /// Where.
        adapter: PathBuf,
    },
    /// It was asked to stop, and can go on later.
    Stopped {
        /// The signal.
        signal: i32,
        /// Steps done.
        step: u64,
        /// Steps of the run.
        steps: u64,
        /// Where the checkpoint is.
        checkpoint: PathBuf,
    },
}

/// When checkpoints are written.
#[derive(Debug, Clone, Copy)]
pub struct Cadence {
    /// After this many steps, if given.
    pub steps: Option<u64>,
    /// After this long.
    pub time: Duration,
}

/// A run, ready to begin.
pub struct Run<'a> {
    /// Checked settings.
    pub settings: &'a Settings,
    /// The model.
    pub config: &'a ModelConfig,
    /// Tokenized examples.
    pub data: &'a [Sequence],
    /// Output directory.
    pub out: &'a Path,
    /// What the adapter says it belongs to.
    pub base_name: &'a str,
    /// Identity of everything that decides the result.
    pub fingerprint: &'a str,
    /// When checkpoints are written.
    pub cadence: Cadence,
    /// Whether, and by which signal, the run is asked to stop.
    pub stop: &'a dyn Fn() -> Option<i32>,
}

impl Run<'_> {
    /// Trains `adapter` to the end, or until asked to stop.
    ///
    /// # Errors
    /// The loss is not finite, a file cannot be written, or ONNX Runtime fails. A checkpoint written before stands.
    pub fn train(
        &self,
        engine: &mut Engine<'_>,
        adapter: &mut Adapter,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        let mut optimizer =
            AdamW::new(AdamWConfig { weight_decay: self.settings.weight_decay, ..AdamWConfig::default() }, adapter);
        let mut at = checkpoint::load(self.out, self.fingerprint, adapter, &mut optimizer)?.unwrap_or(Position {
            step: 0,
            tokens: 0,
            seconds: 0.0,
        });
        let mut order = self.order();
        let steps = order.steps();
        remove_adapter(self.out)?;
        let mut progress = Progress::open(self.out, at.step)?;
        tell(Event::Begin { step: at.step, steps });
        let mut last_save = Instant::now();
        while at.step < steps {
            if let Some(signal) = (self.stop)() {
                return self.stopped(signal, steps, &at, adapter, &optimizer);
            }
            let step = self.step(&mut order, &mut at, engine, adapter, &mut optimizer)?;
            progress.add(&step)?;
            tell(Event::Step(&step));
            let counted = self.cadence.steps.is_some_and(|n| at.step.is_multiple_of(n.max(1)));
            if at.step < steps && (counted || last_save.elapsed() >= self.cadence.time) {
                checkpoint::save(self.out, self.fingerprint, &at, adapter, &optimizer)?;
                last_save = Instant::now();
            }
        }
        self.finish(adapter)
    }

    fn order(&self) -> Order {
        let each = self.settings.batch_size * self.settings.accumulation;
        Order::new(self.data.len(), each, self.settings.extent, self.settings.seed)
    }

    fn stopped(
        &self,
        signal: i32,
        steps: u64,
        at: &Position,
        adapter: &Adapter,
        optimizer: &AdamW,
    ) -> Result<Outcome> {
        checkpoint::save(self.out, self.fingerprint, at, adapter, optimizer)?;
        Ok(Outcome::Stopped { signal, step: at.step, steps, checkpoint: checkpoint::directory(self.out) })
    }

    /// One optimizer step.
    fn step(
        &self,
        order: &mut Order,
        at: &mut Position,
        engine: &mut Engine<'_>,
        adapter: &mut Adapter,
        optimizer: &mut AdamW,
    ) -> Result<Step> {
        let begin = Instant::now();
        let examples: Vec<&Sequence> = order.step(at.step).into_iter().map(|i| &self.data[i]).collect();
        let scored: usize = examples.iter().map(|e| e.targets()).sum();
        let costs = Costs::of(self.config);
        let (mut loss, mut tokens) = (0.0, 0);
        adapter.clear_gradients();
        for examples in examples.chunks(self.settings.batch_size) {
            let batch = Batch::new(examples, costs);
            loss += engine.step(&batch, adapter, (1.0 / scored as f64) as f32)?;
            tokens += batch.tokens as u64;
        }
        loss /= scored as f64;
        let finite = adapter.params.iter().all(|p| p.grad.iter().all(|g| g.is_finite()));
        if !loss.is_finite() || !finite {
            let learning_rate = self.settings.learning_rate;
            let loss = if loss.is_finite() { f64::NAN } else { loss };
            return Err(TrainError::Diverged { step: at.step + 1, loss, learning_rate });
        }
        let steps = order.steps();
        let factor = self.settings.schedule.factor(at.step, steps, self.settings.warmup);
        let learning_rate = self.settings.learning_rate * factor;
        optimizer.step(adapter, learning_rate);
        let seconds = begin.elapsed().as_secs_f64();
        *at = Position { step: at.step + 1, tokens: at.tokens + tokens, seconds: at.seconds + seconds };
        Ok(Step {
            step: at.step,
            steps,
            loss,
            learning_rate,
            tokens: at.tokens,
            tokens_per_s: tokens as f64 / seconds.max(1e-9),
            elapsed_s: at.seconds,
        })
    }

    fn finish(&self, adapter: &Adapter) -> Result<Outcome> {
        let (next, to) = (self.out.join("adapter.new"), self.out.join("adapter"));
        clear(&next)?;
        fs::create_dir(&next).map_err(|source| TrainError::io("create", &next, source))?;
        adapter.save(&next, self.base_name)?;
        tensors::rename(&next, &to)?;
        // The adapter is complete: a checkpoint would only make the next run of this job do nothing.
        clear(&checkpoint::directory(self.out))?;
        Ok(Outcome::Done { adapter: to })
    }
}

fn remove_adapter(out: &Path) -> Result<()> {
    fs::create_dir_all(out).map_err(|source| TrainError::io("create", out, source))?;
    clear(&out.join("adapter"))
}

/// Removes a directory that may not be there.
fn clear(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(TrainError::io("remove", dir, error)),
        _ => Ok(()),
    }
}

/// progress.jsonl.
struct Progress {
    path: PathBuf,
    file: File,
}

impl Progress {
    /// Keeps the lines up to `step`: those after it are about to be written again.
    fn open(out: &Path, step: u64) -> Result<Self> {
        let path = out.join("progress.jsonl");
        let fail = |source| TrainError::io("write", &path, source);
        let before = if path.is_file() { fs::read_to_string(&path).map_err(fail)? } else { String::new() };
        let kept: String = before
            .lines()
            .filter(|line| serde_json::from_str::<Step>(line).is_ok_and(|line| line.step <= step))
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(&path, kept).map_err(fail)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(fail)?;
        Ok(Self { path, file })
    }

    fn add(&mut self, step: &Step) -> Result<()> {
        let mut line = serde_json::to_vec(step).unwrap_or_default();
        line.push(b'\n');
        self.file.write_all(&line).map_err(|source| TrainError::io("write", &self.path, source))
    }
}
