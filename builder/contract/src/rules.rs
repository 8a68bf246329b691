//! What a Honefile may ask for, and therefore a job: one rule a value, and one way to say what is wrong with it.
//!
//! A job comes out of an image, which may be a stranger's. [`crate::job::Job`] is only made of one that keeps all of this.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use crate::job::{AdapterSpec, Base, Dataset, Finetune, Job, Resources};
use crate::lora::{MAX_TARGET, MAX_TARGETS, pairs};
use crate::quote::quoted;
use crate::reference::Reference;

pub use crate::lora::TARGETS;
/// Trainers that come with Hone.
pub const BUILT_IN: [&str; 1] = ["onnx"];
/// A system message longer than this is no longer one (bytes): it stands before every example.
pub const MOST_SYSTEM: usize = 64 << 10;
/// An adapter whose tensors are not known beforehand may have this many bytes.
pub const MOST_UNKNOWN_ADAPTER: u64 = 256 << 20;
/// No adapter may have more (bytes): one of rank 1024 of every module of a model of 8 billion weights has 11 GB.
const MOST_ADAPTER: u64 = 16 << 30;
/// Room for the header of the tensor file and for adapter_config.json, beside the tensors (bytes).
const HEADER_ROOM: u64 = 1 << 20;
/// Bytes of the largest element type an adapter may have.
const WIDEST: u64 = 4;
/// Most bytes of memory that a limit may have: above 2^53 a float, as which sizes are read, is no longer exact.
const MOST_MEMORY: u64 = 1 << 53;

/// Most files of a base model.
pub const MOST_FILES: usize = 10_000;
/// Most words of a command line.
const MOST_WORDS: usize = 4096;

/// What is wrong with one value: its key, and why.
pub type Wrong = (&'static str, String);

/// A whole number's rule.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    /// The key in a Honefile.
    pub key: &'static str,
    /// The smallest.
    pub least: u64,
    /// The largest.
    pub most: u64,
}

/// A number's rule.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// The key in a Honefile.
    pub key: &'static str,
    /// The largest; above zero it is in any case.
    pub most: f64,
}

/// The rule of a word among several.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// The key in a Honefile.
    pub key: &'static str,
    /// The words.
    pub known: &'static [&'static str],
}

const fn whole(key: &'static str, least: u64, most: u64) -> Whole {
    Whole { key, least, most }
}

/// LoRA's rank.
pub const RANK: Whole = whole("finetune.rank", 1, 1024);
/// Optimizer steps.
pub const STEPS: Whole = whole("finetune.steps", 1, 10_000_000);
/// Examples in a pass.
pub const BATCH_SIZE: Whole = whole("finetune.batch_size", 1, 1024);
/// Passes in a step.
pub const ACCUMULATION: Whole = whole("finetune.gradient_accumulation", 1, 4096);
/// Steps of warm-up.
pub const WARMUP: Whole = whole("finetune.warmup", 0, 1_000_000);
/// Tokens of an example.
pub const MAX_LENGTH: Whole = whole("finetune.max_length", 1, 1 << 20);
/// The seed.
pub const SEED: Whole = whole("finetune.seed", 0, u64::MAX);
/// Processes and threads, up to Linux's largest pid_max on 64-bit machines.
pub const PIDS: Whole = whole("resources.pids", 1, 1 << 22);
/// Bytes of memory; the least is what any trainer can start in.
pub const MEMORY: Whole = whole("resources.memory", 4 << 20, MOST_MEMORY);
/// LoRA's alpha.
pub const ALPHA: Amount = Amount { key: "finetune.alpha", most: 65536.0 };
/// Passes over the data.
pub const EPOCHS: Amount = Amount { key: "finetune.epochs", most: 10_000.0 };
/// The peak learning rate.
pub const LEARNING_RATE: Amount = Amount { key: "finetune.learning_rate", most: 1.0 };
/// Processors.
pub const CPU: Amount = Amount { key: "resources.cpu", most: 4096.0 };
/// How to train.
pub const METHOD: Choice = Choice { key: "finetune.method", known: &["lora"] };
/// How the learning rate goes.
pub const SCHEDULE: Choice = Choice { key: "finetune.schedule", known: &["constant", "linear", "cosine"] };
/// What the data looks like.
pub const FORMAT: Choice = Choice { key: "finetune.dataset.format", known: &["text", "chat", "alpaca"] };

impl Whole {
    /// What to say of `got`.
    pub fn want(&self, got: impl Display) -> String {
        let Self { least, most, .. } = self;
        let got = got.to_string();
        if self.key == MEMORY.key {
            return format!("want a size such as 512M or 1.5G, at least {least} bytes, got `{}`", quoted(&got));
        }
        format!("want a whole number from {least} to {most}, got `{}`", quoted(&got))
    }

    fn check(&self, number: u64) -> Result<(), Wrong> {
        let fits = (self.least..=self.most).contains(&number);
        if fits { Ok(()) } else { Err((self.key, self.want(number))) }
    }
}

impl Amount {
    /// What to say of `got`.
    pub fn want(&self, got: impl Display) -> String {
        format!("want a number above 0, at most {}, got `{}`", self.most, quoted(&got.to_string()))
    }

    fn check(&self, number: f64) -> Result<(), Wrong> {
        // Not a number is neither.
        if number > 0.0 && number <= self.most { Ok(()) } else { Err((self.key, self.want(number))) }
    }
}

impl Choice {
    /// What to say of `got`.
    pub fn want(&self, got: &str) -> String {
        one_of(self.known, got)
    }

    fn check(&self, word: &str) -> Result<(), Wrong> {
        if self.known.contains(&word) { Ok(()) } else { Err((self.key, self.want(word))) }
    }
}

/// What to say of `got`, which is none of `known`.
pub fn one_of(known: &[&str], got: &str) -> String {
    let list = match known {
        [only] => (*only).to_owned(),
        _ => format!("one of {}", known.join(", ")),
    };
    format!("want {list}, got `{}`", quoted(got))
}

/// A name that is a docker path component, a directory and a label value at once.
///
/// # Errors
/// What a name is.
pub fn name(name: &str) -> Result<(), String> {
    let trial: Result<Reference, _> = name.parse();
    let plain = !name.contains(['/', ':', '@']) && name.len() <= 63 && !name.contains("--") && !name.contains("__");
    if plain && trial.is_ok() {
        return Ok(());
    }
    let want = "want at most 63 lower case letters and digits, joined by single . _ or -";
    Err(format!("{want}, got `{}`", quoted(name)))
}

/// The command line that trains.
///
/// # Errors
/// What a command line is.
pub fn command(words: &[String]) -> Result<(), String> {
    match words.len() {
        more if more > MOST_WORDS => Err(format!("want at most {MOST_WORDS} words, got {more}")),
        _ if words.first().is_none_or(String::is_empty) || words.iter().any(|word| word.contains('\0')) => {
            Err("want a program and its arguments".to_owned())
        }
        _ => Ok(()),
    }
}

/// One LoRA target, which joins those `before` it; `built_in` is whether a trainer of Hone's trains.
///
/// # Errors
/// Why it cannot be one.
pub fn target<'a>(name: &'a str, before: &mut BTreeSet<&'a str>, built_in: bool) -> Result<(), String> {
    if built_in && !TARGETS.contains(&name) {
        return Err(one_of(&TARGETS, name));
    }
    if name.is_empty() {
        return Err("want the name of a module".to_owned());
    }
    if name.len() > MAX_TARGET {
        return Err(format!("want a name of at most {MAX_TARGET} bytes, got {}", name.len()));
    }
    if !before.insert(name) {
        return Err(format!("`{}` is there twice", quoted(name)));
    }
    Ok(())
}

/// All LoRA targets together.
///
/// # Errors
/// When there is none, or more than an adapter may have.
pub fn targets(all: &[String]) -> Result<(), String> {
    match all.len() {
        0 => Err(format!("want at least one of {}", TARGETS.join(", "))),
        1..=MAX_TARGETS => Ok(()),
        more => Err(format!("want at most {MAX_TARGETS} modules, got {more}")),
    }
}

/// A system message for data of a format.
///
/// # Errors
/// Why it cannot be one.
pub fn system(text: &str, format: &str) -> Result<(), String> {
    match text.len() {
        _ if format == "text" => Err("data of format text has no chats to put it before".to_owned()),
        0 => Err("want a system message; leave the key out for none".to_owned()),
        _ if text.contains('\0') => Err("it cannot hold a NUL".to_owned()),
        size if size > MOST_SYSTEM => Err(format!("want at most {MOST_SYSTEM} bytes, got {size}")),
        _ => Ok(()),
    }
}

/// The tag of new versions.
///
/// # Errors
/// Why it is none.
pub fn tag(template: &str) -> Result<(), String> {
    if !template.contains("{n}") {
        return Err("want `{n}` in it, the version number: each version has a tag of its own".to_owned());
    }
    let filled = template.replace("{tag}", "base").replace("{n}", "1");
    let trial: Result<Reference, _> = format!("x:{filled}").parse();
    match trial {
        Ok(reference) if reference.tag() == filled => Ok(()),
        _ => Err("want letters, digits and . _ - around `{tag}` and `{n}`".to_owned()),
    }
}

/// Most bytes that an adapter of these tensors can have, whatever its element type.
pub fn largest(tensors: &BTreeMap<String, Vec<u64>>) -> u64 {
    let elements = |shape: &Vec<u64>| shape.iter().fold(1u64, |n, d| n.saturating_mul(*d));
    let data = tensors.values().fold(0u64, |sum, shape| sum.saturating_add(elements(shape)));
    // Each name stands in the header, with about a hundred bytes around it.
    let names: u64 = tensors.keys().map(|name| name.len() as u64 + 128).sum();
    data.saturating_mul(WIDEST).saturating_add(names).saturating_add(HEADER_ROOM)
}

/// Everything that a Honefile would be asked.
pub(crate) fn check(job: &Job) -> Result<(), Wrong> {
    name(&job.name).map_err(|why| ("name", why))?;
    if let Some(base) = &job.base {
        check_base(base)?;
    }
    if let Some(trainer) = &job.trainer {
        command(&trainer.command).map_err(|why| ("trainer.command", why))?;
    }
    if let Some(finetune) = &job.finetune {
        let built_in = job.trainer.as_ref().is_some_and(|trainer| BUILT_IN.contains(&trainer.name.as_str()));
        check_finetune(finetune, built_in)?;
    }
    check_resources(&job.resources)?;
    check_adapter(&job.adapter, job.finetune.as_ref())
}

/// Paths that stay where they are said to be.
fn check_base(base: &Base) -> Result<(), Wrong> {
    let inside = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0');
    let want = |path: &str| format!("want a path without .., got `{}`", quoted(path));
    if !base.path.strip_prefix('/').is_some_and(inside) {
        return Err(("base.path", want(&base.path)));
    }
    if base.files.len() > MOST_FILES {
        return Err(("base.files", format!("want at most {MOST_FILES} files, got {}", base.files.len())));
    }
    match base.files.iter().find(|file| !inside(&file.path)) {
        Some(file) => Err(("base.files", want(&file.path))),
        None => Ok(()),
    }
}

fn check_finetune(finetune: &Finetune, built_in: bool) -> Result<(), Wrong> {
    METHOD.check(&finetune.method)?;
    RANK.check(finetune.rank.into())?;
    ALPHA.check(finetune.alpha)?;
    targets(&finetune.targets).map_err(|why| ("finetune.targets", why))?;
    let mut before = BTreeSet::new();
    for name in &finetune.targets {
        target(name, &mut before, built_in).map_err(|why| ("finetune.targets", why))?;
    }
    let Dataset { format, system: message } = &finetune.dataset;
    FORMAT.check(format)?;
    if let Some(message) = message {
        system(message, format).map_err(|why| ("finetune.dataset.system", why))?;
    }
    if finetune.steps.is_some() && finetune.epochs.is_some() {
        return Err(("finetune.epochs", "give steps or epochs, not both".to_owned()));
    }
    finetune.steps.map_or(Ok(()), |steps| STEPS.check(steps))?;
    finetune.epochs.map_or(Ok(()), |epochs| EPOCHS.check(epochs))?;
    BATCH_SIZE.check(finetune.batch_size.into())?;
    ACCUMULATION.check(finetune.gradient_accumulation.into())?;
    LEARNING_RATE.check(finetune.learning_rate)?;
    SCHEDULE.check(&finetune.schedule)?;
    WARMUP.check(finetune.warmup)?;
    MAX_LENGTH.check(finetune.max_length.into())
}

fn check_resources(resources: &Resources) -> Result<(), Wrong> {
    resources.cpu.map_or(Ok(()), |cpu| CPU.check(cpu))?;
    resources.memory.map_or(Ok(()), |memory| MEMORY.check(memory))?;
    resources.pids.map_or(Ok(()), |pids| PIDS.check(pids))
}

fn check_adapter(adapter: &AdapterSpec, finetune: Option<&Finetune>) -> Result<(), Wrong> {
    tag(&adapter.tag).map_err(|why| ("adapter.tag", why))?;
    let most = match &adapter.tensors {
        Some(tensors) => check_tensors(tensors, finetune).map_err(|why| ("adapter.tensors", why))?,
        None => MOST_UNKNOWN_ADAPTER,
    };
    let fits = adapter.max_bytes <= most;
    if fits {
        Ok(())
    } else {
        Err(("adapter.max_bytes", format!("want at most {most}, got `{}`", adapter.max_bytes)))
    }
}

/// The tensors are those of a LoRA adapter as `finetune` asks for it; gives the most bytes that they can have.
fn check_tensors(tensors: &BTreeMap<String, Vec<u64>>, finetune: Option<&Finetune>) -> Result<u64, String> {
    let Some(finetune) = finetune else {
        return Err("want none without finetune, whose rank and targets they follow from".to_owned());
    };
    let shapes = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    pairs(&shapes, finetune.rank.into(), &finetune.targets)?;
    match largest(tensors) {
        most if most <= MOST_ADAPTER => Ok(most),
        most => Err(format!("want an adapter of at most {MOST_ADAPTER} bytes, got one of {most}")),
    }
}
