//! AIKit's fine-tune configuration, `apiVersion: v1alpha1`
//! (<https://kaito-project.github.io/aikit/docs/specs-finetune>).
//!
//! Every default is AIKit's and is written out: Hone's are others. AIKit takes 0 and an empty text for "not given".

use hone_contract::quoted;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::draft::{Draft, Part, SHOWN};
use super::{Converted, Options, source};
use crate::error::{HonefileError, Source, did_you_mean};
use crate::quantity::{amount, whole};
use crate::raw::Text;

/// What AIKit's one target trains: all projections, at rank and alpha 16; it has no keys for them.
const TARGETS: &[&str] = &["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Schedules as transformers names them (`SchedulerType`), as Hone does, and whether that is the same: with
/// transformers' defaults restarts are one cycle, and the polynomial is of power 1.
const SCHEDULES: [(&str, &str, bool); 10] = [
    ("linear", "linear", true),
    ("cosine", "cosine", true),
    ("constant", "constant", true),
    ("constant_with_warmup", "constant", true),
    ("cosine_with_restarts", "cosine", true),
    ("polynomial", "linear", true),
    ("inverse_sqrt", "constant", false),
    ("reduce_lr_on_plateau", "constant", false),
    ("cosine_with_min_lr", "cosine", false),
    ("warmup_stable_decay", "constant", false),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "apiVersion")]
    api_version: Option<Text>,
    target: Option<Text>,
    #[serde(rename = "baseModel")]
    base_model: Option<Text>,
    datasets: Option<Spanned<Vec<Dataset>>>,
    config: Option<Config>,
    output: Option<Output>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dataset {
    source: Option<Text>,
    r#type: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    unsloth: Option<Unsloth>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Unsloth {
    packing: Option<Text>,
    max_seq_length: Option<Text>,
    #[serde(rename = "loadIn4bit")]
    load_in_4bit: Option<Text>,
    batch_size: Option<Text>,
    gradient_accumulation_steps: Option<Text>,
    warmup_steps: Option<Text>,
    max_steps: Option<Text>,
    learning_rate: Option<Text>,
    logging_steps: Option<Text>,
    optimizer: Option<Text>,
    weight_decay: Option<Text>,
    lr_scheduler_type: Option<Text>,
    seed: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    quantize: Option<Text>,
    name: Option<Text>,
}

/// Converts AIKit's fine-tune configuration.
///
/// # Errors
/// What AIKit would not accept, or a value outside of what a Honefile may say; with its place.
pub fn aikit(text: &str, options: &Options<'_>) -> Result<Converted, HonefileError> {
    let source = source(options, text)?;
    let raw: Raw = serde_saphyr::from_str(source.text).map_err(|e| source.yaml(&e))?;
    let mut aikit = Aikit { source: &source, draft: Draft::default() };
    aikit.version(raw.api_version.as_ref(), raw.target.as_ref())?;
    let output = raw.output.unwrap_or_default();
    match given(output.name.as_ref()) {
        Some(name) => aikit.draft.name(options, line(name), "output.name", &name.value),
        None => aikit.draft.name(options, 1, "output.name", "aikit-model"),
    }
    aikit.base(raw.base_model.as_ref())?;
    aikit.config(&raw.config.unwrap_or_default().unsloth.unwrap_or_default())?;
    aikit.dataset(raw.datasets.as_ref())?;
    if let Some(quantize) = given(output.quantize.as_ref()) {
        let way_out = "merge the adapter and quantize the result with llama.cpp where one file is wanted";
        let what = format!("output.quantize: {}", quantize.value);
        aikit.draft.note(
            Part::Finetune,
            line(quantize),
            &what,
            "training leaves an adapter beside the base as it is",
            way_out,
        );
    }
    aikit.draft.finish("an AIKit fine-tune configuration")
}

/// A value that AIKit would not take for its default.
fn given(text: Option<&Text>) -> Option<&Text> {
    text.filter(|text| !text.value.is_empty())
}

fn line<T>(value: &Spanned<T>) -> usize {
    usize::try_from(value.referenced.line()).unwrap_or(1).max(1)
}

struct Aikit<'a> {
    source: &'a Source<'a>,
    draft: Draft,
}

impl Aikit<'_> {
    fn wrong<T>(&self, key: &str, value: &Spanned<T>, why: &str) -> HonefileError {
        self.source.at(value, format!("{key}: {why}"))
    }

    fn version(&self, version: Option<&Text>, target: Option<&Text>) -> Result<(), HonefileError> {
        match version {
            Some(text) if text.value == "v1alpha1" => {}
            Some(text) => {
                return Err(self.wrong(
                    "apiVersion",
                    text,
                    &format!("want v1alpha1, got `{}`", quoted(&text.value).at_most(SHOWN)),
                ));
            }
            None => return Err(self.source.whole("the key apiVersion is missing; AIKit's is v1alpha1".to_owned())),
        }
        match given(target) {
            Some(text) if text.value != "unsloth" => Err(self.wrong(
                "target",
                text,
                &format!("want unsloth, got `{}`", quoted(&text.value).at_most(SHOWN)),
            )),
            _ => Ok(()),
        }
    }

    fn base(&mut self, text: Option<&Text>) -> Result<(), HonefileError> {
        let Some(text) = given(text) else {
            return Err(self.source.whole("the key baseModel is missing; it names a model of the hub".to_owned()));
        };
        let model = match text.value.as_str() {
            path if path.starts_with(['/', '.']) => path.to_owned(),
            name => format!("hf://{name}"),
        };
        crate::address::model(&model, None).map_err(|why| self.wrong("baseModel", text, &why))?;
        self.draft.key(Part::Base, "model", &model);
        if model.ends_with("-4bit") {
            let way_out = "name the model it was made from, or a GGUF of it, in base.model";
            let why = "bitsandbytes' 4-bit weights are for its own kernels on a GPU; Hone reads F32, F16 and BF16";
            self.draft.note(Part::Base, line(text), "baseModel", why, way_out);
        }
        Ok(())
    }

    fn dataset(&mut self, list: Option<&Spanned<Vec<Dataset>>>) -> Result<(), HonefileError> {
        let Some(list) = list.filter(|list| !list.value.is_empty()) else {
            return Err(self.source.whole("the key datasets is missing or empty; AIKit wants one".to_owned()));
        };
        let [dataset] = list.value.as_slice() else {
            return Err(self.wrong("datasets", list, &format!("want one, as AIKit does, got {}", list.value.len())));
        };
        let (Some(place), Some(kind)) = (given(dataset.source.as_ref()), given(dataset.r#type.as_ref())) else {
            return Err(self.wrong("datasets", list, "want source and type"));
        };
        if kind.value != "alpaca" {
            let mut error = self.wrong(
                "datasets.type",
                kind,
                &format!("want alpaca, got `{}`", quoted(&kind.value).at_most(SHOWN)),
            );
            error.help = did_you_mean(&kind.value, &["alpaca"]);
            return Err(error);
        }
        self.draft.key(Part::Dataset, "format", "alpaca");
        let way_out = match place.value.contains("://") {
            true => {
                "download it into a directory as JSON lines (of an array: `jq -c '.[]' file.json > data/file.jsonl`) and mount that: -v DIR:/data"
            }
            false => {
                "`hf download --repo-type dataset` it, make JSON lines of it (`jq -c '.[]'`), and mount that directory: -v DIR:/data"
            }
        };
        let what = format!("datasets.source: {}", place.value);
        self.draft.note(
            Part::Dataset,
            line(place),
            &what,
            "data is mounted when the image runs and is no part of it",
            way_out,
        );
        Ok(())
    }

    fn config(&mut self, config: &Unsloth) -> Result<(), HonefileError> {
        self.draft.comment(Part::Finetune, "AIKit trains all projections at rank 16 and has no keys for that.");
        self.draft.key(Part::Finetune, "rank", "16");
        self.draft.key(Part::Finetune, "alpha", "16");
        self.draft.list(Part::Finetune, "targets", TARGETS);
        self.extent(config.max_steps.as_ref())?;
        self.count("batch_size", "batchSize", config.batch_size.as_ref(), 2, 1024)?;
        let accumulation = config.gradient_accumulation_steps.as_ref();
        self.count("gradient_accumulation", "gradientAccumulationSteps", accumulation, 4, 4096)?;
        self.rate(config.learning_rate.as_ref())?;
        self.schedule(config.lr_scheduler_type.as_ref(), config.warmup_steps.as_ref())?;
        self.count("max_length", "maxSeqLength", config.max_seq_length.as_ref(), 2048, 1 << 20)?;
        self.count("seed", "seed", config.seed.as_ref(), 42, u64::MAX)?;
        self.optimizer(config.optimizer.as_ref(), config.weight_decay.as_ref())?;
        self.rest(config)
    }

    /// A whole number; 0 and nothing are AIKit's default.
    fn whole(&self, key: &str, text: Option<&Text>, default: u64, most: u64) -> Result<u64, HonefileError> {
        match given(text) {
            None => Ok(default),
            Some(text) => match whole(&text.value, 0, most) {
                Ok(0) => Ok(default),
                Ok(number) => Ok(number),
                Err(why) => Err(self.wrong(&format!("config.unsloth.{key}"), text, &why)),
            },
        }
    }

    fn count(
        &mut self,
        ours: &'static str,
        theirs: &str,
        text: Option<&Text>,
        default: u64,
        most: u64,
    ) -> Result<(), HonefileError> {
        let number = self.whole(theirs, text, default, most)?;
        self.draft.key(Part::Finetune, ours, number.to_string());
        Ok(())
    }

    /// -1 steps is the trainer's own word for "by epochs", of which it then makes three.
    fn extent(&mut self, text: Option<&Text>) -> Result<(), HonefileError> {
        if text.is_some_and(|text| text.value == "-1") {
            self.draft.key(Part::Finetune, "epochs", "3");
            return Ok(());
        }
        self.count("steps", "maxSteps", text, 60, 10_000_000)
    }

    fn rate(&mut self, text: Option<&Text>) -> Result<(), HonefileError> {
        let zero = |text: &&Text| text.value.parse::<f64>().is_ok_and(|number| number == 0.0);
        let rate = match given(text).filter(|text| !zero(text)) {
            None => "0.0002",
            Some(text) => {
                amount(&text.value, 1.0).map_err(|why| self.wrong("config.unsloth.learningRate", text, &why))?;
                &text.value
            }
        };
        self.draft.key(Part::Finetune, "learning_rate", rate);
        Ok(())
    }

    fn schedule(&mut self, text: Option<&Text>, warmup: Option<&Text>) -> Result<(), HonefileError> {
        let mut steps = self.whole("warmupSteps", warmup, 10, 1_000_000)?;
        let name = given(text).map_or("linear", |text| text.value.as_str());
        let Some((_, ours, exact)) = SCHEDULES.iter().find(|(theirs, ..)| *theirs == name) else {
            return Err(self.unknown_schedule(text, name));
        };
        if name == "constant" {
            // transformers' `constant` has no warm-up, whatever is asked for.
            steps = 0;
        }
        self.draft.key(Part::Finetune, "schedule", *ours);
        self.draft.key(Part::Finetune, "warmup", steps.to_string());
        if let (Some(text), false) = (text, exact) {
            let what = format!("config.unsloth.lrSchedulerType: {name}");
            let way_out = format!("it is {ours} here, which is nearest");
            self.draft.note(Part::Finetune, line(text), &what, "Hone has constant, linear and cosine", &way_out);
        }
        Ok(())
    }

    fn unknown_schedule(&self, text: Option<&Text>, name: &str) -> HonefileError {
        let known: Vec<&str> = SCHEDULES.iter().map(|(theirs, ..)| *theirs).collect();
        let why = format!(
            "config.unsloth.lrSchedulerType: want one of {}, got `{}`",
            known.join(", "),
            quoted(name).at_most(SHOWN)
        );
        let mut error = match text {
            Some(text) => self.source.at(text, why),
            None => self.source.whole(why),
        };
        error.help = did_you_mean(name, &known);
        error
    }

    fn optimizer(&mut self, name: Option<&Text>, decay: Option<&Text>) -> Result<(), HonefileError> {
        if let Some(name) = given(name) {
            let what = format!("config.unsloth.optimizer: {}", name.value);
            let why = "Hone trains with AdamW on 32-bit moments";
            let way_out = match name.value.starts_with("adamw") {
                true => "nothing is to be done: it is the same method",
                false => "the learning rate may want to be another for AdamW",
            };
            self.draft.note(Part::Finetune, line(name), &what, why, way_out);
        }
        let (at, value) = match given(decay) {
            None => (1, "0.01, AIKit's default".to_owned()),
            Some(text) => {
                let number: f64 = text.value.parse().unwrap_or(f64::NAN);
                if !(0.0..=1.0).contains(&number) {
                    let why = format!("want a number from 0 to 1, got `{}`", quoted(&text.value).at_most(SHOWN));
                    return Err(self.wrong("config.unsloth.weightDecay", text, &why));
                }
                (line(text), text.value.clone())
            }
        };
        let way_out = "nothing is to be done: on the few parameters of an adapter it makes little difference";
        let what = format!("config.unsloth.weightDecay: {value}");
        self.draft.note(Part::Finetune, at, &what, "a job has no weight decay, it is 0", way_out);
        Ok(())
    }

    /// Keys that are checked and then say nothing to Hone.
    fn rest(&mut self, config: &Unsloth) -> Result<(), HonefileError> {
        self.whole("loggingSteps", config.logging_steps.as_ref(), 1, u64::from(u32::MAX))?;
        if let Some((text, true)) = self.flag("packing", config.packing.as_ref())? {
            let why = "Hone packs the examples of a pass where that computes less, and keeps them apart";
            let way_out = "nothing is to be done; a larger batch_size packs more";
            self.draft.note(Part::Finetune, line(text), "config.unsloth.packing", why, way_out);
        }
        if let Some((text, true)) = self.flag("loadIn4bit", config.load_in_4bit.as_ref())? {
            let why = "the base is used as its file has it";
            let way_out = "for less memory name a quantized GGUF (Q4_0, Q4_1, Q8_0) in base.model";
            self.draft.note(Part::Finetune, line(text), "config.unsloth.loadIn4bit", why, way_out);
        }
        Ok(())
    }

    fn flag<'t>(&self, key: &str, text: Option<&'t Text>) -> Result<Option<(&'t Text, bool)>, HonefileError> {
        let Some(text) = given(text) else {
            return Ok(None);
        };
        // AIKit's reader knows YAML 1.1's words for it.
        match text.value.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(Some((text, true))),
            "false" | "no" | "off" | "n" => Ok(Some((text, false))),
            _ => {
                let why = format!("want true or false, got `{}`", quoted(&text.value).at_most(SHOWN));
                Err(self.wrong(&format!("config.unsloth.{key}"), text, &why))
            }
        }
    }
}
