//! The command line: one file a verb.

mod generate;
mod golden;
mod logits;
mod show;
mod signals;
mod train;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use hone_contract::job::{ADAPTER_DIR, JOB_PATH, Job, MAX_JOB_BYTES};
use hone_train::engine::Dial;
use hone_train::layers::Residence;
use hone_train::runtime::{Runtime, library_path, thread_count};
use hone_train::{Result, TrainError, usage};

/// LoRA training and generation on ONNX Runtime.
#[derive(Debug, Parser)]
#[command(name = "hone-train", version, args_override_self = true)]
pub struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Train an adapter as the job says.
    Train(Box<train::TrainArgs>),
    /// Answer a prompt, greedily.
    Generate(generate::GenerateArgs),
    /// Run a golden folder and print how far off it is, as one line of JSON.
    Golden(golden::GoldenArgs),
    /// Logits of given tokens, to compare with other programs.
    Logits(logits::LogitsArgs),
}

/// Runs the command; gives the exit code.
pub fn run(command: Command) -> Result<u8> {
    match command.verb {
        Verb::Train(args) => train::run(&args),
        Verb::Generate(args) => generate::run(&args),
        Verb::Golden(args) => golden::run(&args),
        Verb::Logits(args) => logits::run(&args),
    }
}

/// Where model, tokenizer and adapter are; what is not given is taken from the job.
#[derive(Debug, Clone, Args)]
struct Places {
    /// The job; it may be absent when --model is given.
    #[arg(long, default_value = JOB_PATH)]
    job: PathBuf,
    /// Base model: a GGUF file, or a directory with one or with config.json and *.safetensors.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Tokenizer: a directory with tokenizer.json, or a GGUF file [default: the job's, or the model's own].
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// Adapter to start from, or to generate with.
    #[arg(long, default_value = ADAPTER_DIR)]
    adapter: PathBuf,
}

impl Places {
    /// The job, if it is there; it must be when there is no model without it.
    fn read_job(&self) -> Result<Option<Job>> {
        let file = match hone_files::open_regular(&self.job) {
            Ok(file) => file,
            Err(_) if self.model.is_some() && std::fs::metadata(&self.job).is_err() => return Ok(None),
            Err(source) => return Err(io("open job (or give --model)", &self.job, source)),
        };
        // Read no more than a job may have: `Job::parse` says what is wrong with a larger one.
        let mut bytes = Vec::new();
        let read = file.take(MAX_JOB_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|source| io("read job", &self.job, source))?;
        let job = Job::parse(&bytes).map_err(|source| TrainError::Job { path: self.job.clone(), source })?;
        if let Some(note) = job.note() {
            hone_contract::tell(std::io::stderr(), &format!("note: {note}"));
        }
        Ok(Some(job))
    }

    fn model(&self, job: Option<&Job>) -> Result<PathBuf> {
        let of_job = || job.and_then(|job| job.base.as_ref()).map(|base| PathBuf::from(&base.path));
        self.model.clone().or_else(of_job).ok_or_else(|| TrainError::Setting {
            what: format!("job {}", self.job.display()),
            got: "no base model".to_owned(),
            want: "one, or --model".to_owned(),
        })
    }

    fn tokenizer(&self, job: Option<&Job>) -> Option<PathBuf> {
        // The job's tokenizer belongs to the job's model.
        let of_job = job.filter(|_| self.model.is_none()).and_then(|job| job.base.as_ref()?.tokenizer.clone());
        self.tokenizer.clone().or_else(|| of_job.map(PathBuf::from))
    }
}

fn io(operation: &'static str, path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Io { operation, path: path.to_owned(), source }
}

/// How much of the machine to use.
#[derive(Debug, Clone, Args)]
struct Machine {
    /// Threads [default: the processors this process may use].
    #[arg(long, env = "HONE_THREADS")]
    threads: Option<usize>,
    /// Where quantized or 16-bit weights are expanded to 32 bits: when used, or once for all.
    #[arg(long, value_enum, default_value_t, env = "HONE_WEIGHTS")]
    weights: Residence,
    /// Megabytes of activations kept for the backward pass; layers beyond are computed twice
    /// [default: a quarter of the memory there is, at most 256].
    #[arg(long, env = "HONE_ACTIVATION_MB")]
    activation_mb: Option<u64>,
}

impl Machine {
    fn runtime(&self, cpu: Option<f64>) -> Result<Runtime> {
        let asked = self.threads.or_else(|| cpu.map(|cpu| cpu.ceil() as usize));
        let available = thread_count(None);
        Runtime::load(&library_path(), thread_count(Some(asked.unwrap_or(available).min(available))))
    }

    fn dial(&self, memory: Option<u64>) -> Dial {
        let auto = || usage::memory_available().min(memory.unwrap_or(u64::MAX)) / 4;
        let activations = self.activation_mb.map_or_else(|| auto().min(256 << 20), |mb| mb.saturating_mul(1_000_000));
        Dial { residence: self.weights, activations }
    }
}
