//! `hone-train train`.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use hone_contract::job::{DATA_DIRS, Finetune, Job, OUT_DIR};
use hone_contract::quoted_path;
use hone_model::ModelConfig;
use hone_train::adapter::{Adapter, continued};
use hone_train::data::{self, Data, Reading};
use hone_train::engine::Engine;
use hone_train::settings::{Settings, default_finetune};
use hone_train::text::Text;
use hone_train::train::{Cadence, Outcome, Run};
use hone_train::weights::Weights;
use hone_train::{Result, TrainError, usage};

use super::show::Show;
use super::signals::Signals;
use super::{Machine, Places};

/// Trains; what is given here wins over the job.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    places: Places,
    /// Data: a JSON lines file, or a directory of *.jsonl [default: /data, else /app/data].
    #[arg(long)]
    data: Option<PathBuf>,
    /// Output directory.
    #[arg(long, default_value = OUT_DIR)]
    out: PathBuf,
    #[command(flatten)]
    finetune: Overrides,
    #[command(flatten)]
    machine: Machine,
    /// Write a checkpoint every so many steps.
    #[arg(long)]
    checkpoint_steps: Option<u64>,
    /// Write a checkpoint every so many seconds.
    #[arg(long, default_value_t = 60)]
    checkpoint_seconds: u64,
}

#[derive(Debug, Args)]
struct Overrides {
    /// LoRA rank.
    #[arg(long)]
    rank: Option<u32>,
    /// LoRA alpha.
    #[arg(long)]
    alpha: Option<f64>,
    /// Projections, comma separated.
    #[arg(long, value_delimiter = ',')]
    targets: Option<Vec<String>>,
    /// Shape of the data: text, chat or alpaca.
    #[arg(long)]
    format: Option<String>,
    /// Optimizer steps.
    #[arg(long)]
    steps: Option<u64>,
    /// Passes over the data.
    #[arg(long, conflicts_with = "steps")]
    epochs: Option<f64>,
    /// Examples in a pass.
    #[arg(long)]
    batch_size: Option<u32>,
    /// Passes in a step.
    #[arg(long)]
    gradient_accumulation: Option<u32>,
    /// Peak learning rate.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// constant, linear or cosine.
    #[arg(long)]
    schedule: Option<String>,
    /// Steps in which the learning rate rises.
    #[arg(long)]
    warmup: Option<u64>,
    /// Tokens of an example.
    #[arg(long)]
    max_length: Option<u32>,
    /// Seed of adapter and order.
    #[arg(long)]
    seed: Option<u64>,
    /// Decoupled weight decay.
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f64,
}

fn put<T: Clone>(place: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        *place = value.clone();
    }
}

impl Overrides {
    fn apply(&self, mut finetune: Finetune) -> Finetune {
        put(&mut finetune.rank, self.rank.as_ref());
        put(&mut finetune.alpha, self.alpha.as_ref());
        put(&mut finetune.targets, self.targets.as_ref());
        put(&mut finetune.dataset.format, self.format.as_ref());
        put(&mut finetune.batch_size, self.batch_size.as_ref());
        put(&mut finetune.gradient_accumulation, self.gradient_accumulation.as_ref());
        put(&mut finetune.learning_rate, self.learning_rate.as_ref());
        put(&mut finetune.schedule, self.schedule.as_ref());
        put(&mut finetune.warmup, self.warmup.as_ref());
        put(&mut finetune.max_length, self.max_length.as_ref());
        put(&mut finetune.seed, self.seed.as_ref());
        if self.steps.is_some() || self.epochs.is_some() {
            (finetune.steps, finetune.epochs) = (self.steps, self.epochs);
        }
        finetune
    }
}

/// Runs it; gives the exit code.
pub fn run(args: &TrainArgs) -> Result<u8> {
    let signals = Signals::listen()?;
    let mut show = Show::new();
    let job = args.places.read_job()?;
    let resources = job.as_ref().map(|job| job.resources.clone()).unwrap_or_default();
    let runtime = args.machine.runtime(resources.cpu)?;
    let model = args.places.model(job.as_ref())?;
    let weights = Weights::open(&model, runtime.threads())?;
    let given = job.as_ref().and_then(|job| job.finetune.clone()).unwrap_or_else(default_finetune);
    let settings = Settings::new(&args.finetune.apply(given), args.finetune.weight_decay, weights.config())?;
    let data = read_data(args, job.as_ref(), &weights, &settings)?;
    let mut adapter = first_adapter(weights.config(), &settings, &args.places.adapter)?;
    introduce(&mut show, &data, &settings, &adapter);
    let inputs: [&dyn Display; 3] = [&identity(job.as_ref(), &model), &data.digest, &adapter.digest()];
    let fingerprint = settings.fingerprint(&inputs);
    let mut engine = Engine::new(&runtime, &weights, &adapter, args.machine.dial(resources.memory))?;
    let run = Run {
        settings: &settings,
        config: weights.config(),
        data: &data.sequences,
        out: &args.out,
        base_name: &base_name(job.as_ref(), &model),
        fingerprint: &fingerprint,
        cadence: Cadence { steps: args.checkpoint_steps, time: Duration::from_secs(args.checkpoint_seconds) },
        stop: &|| signals.came(),
    };
    let outcome = run.train(&mut engine, &mut adapter, &mut |event| show.event(&event))?;
    Ok(finish(&mut show, &outcome))
}

/// The tokenizer is dropped here: tens of megabytes that training does not need.
fn read_data(args: &TrainArgs, job: Option<&Job>, weights: &Weights, settings: &Settings) -> Result<Data> {
    let text = Text::open(args.places.tokenizer(job).as_deref(), weights)?;
    let reading = Reading { format: settings.format, system: settings.system.as_deref(), text: &text };
    data::load(&data_path(args)?, &reading, settings.max_length)
}

fn data_path(args: &TrainArgs) -> Result<PathBuf> {
    let usual = || DATA_DIRS.iter().map(PathBuf::from).find(|dir| dir.exists());
    args.data.clone().or_else(usual).ok_or_else(|| TrainError::Setting {
        what: "data".to_owned(),
        got: format!("neither {} nor {}", DATA_DIRS[0], DATA_DIRS[1]),
        want: "a mount there (-v YOUR_DATA:/data), or --data".to_owned(),
    })
}

fn first_adapter(config: &ModelConfig, settings: &Settings, dir: &Path) -> Result<Adapter> {
    match continued(config, &settings.adapter, dir)? {
        Some(adapter) => Ok(adapter),
        None => Adapter::fresh(config, &settings.adapter, settings.seed),
    }
}

fn introduce(show: &mut Show, data: &Data, settings: &Settings, adapter: &Adapter) {
    let tokens: usize = data.sequences.iter().map(|s| s.ids.len()).sum();
    show.say(&format!(
        "training {} values (rank {} on {}) on {} examples, {tokens} tokens",
        adapter.size(),
        adapter.spec.rank,
        adapter.spec.targets.join(" "),
        data.sequences.len(),
    ));
    if let Some(first) = data.special.first() {
        let (more, first) = (data.special.len(), quoted_path(first));
        show.say(&format!(
            "data {first}: a FIFO, socket or device, which is no data and was not read ({more} such in all)"
        ));
    }
    if data.left_out > 0 {
        show.say(&format!(
            "{} examples are left out: max_length {} leaves nothing of their answers",
            data.left_out, settings.max_length
        ));
    }
}

/// What the result depends on of the model: the job's identity, or else the path.
fn identity(job: Option<&Job>, model: &Path) -> String {
    let of_job = job.and_then(|job| job.base.as_ref()).filter(|base| Path::new(&base.path) == model);
    of_job.map_or_else(|| model.display().to_string(), |base| base.identity.to_string())
}

fn base_name(job: Option<&Job>, model: &Path) -> String {
    let of_model = || model.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    job.map_or_else(of_model, |job| job.name.clone())
}

fn finish(show: &mut Show, outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Done { adapter } => {
            show.say(&format!("adapter in {}; peak memory {:.0} MB", adapter.display(), usage::peak_rss_mb()));
            0
        }
        Outcome::Stopped { signal, step, steps, checkpoint } => {
            show.say(&format!("stopped after step {step} of {steps}; checkpoint in {}", checkpoint.display()));
            128 + *signal as u8
        }
    }
}
