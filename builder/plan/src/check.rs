//! As written -> checked: every range, every choice, every default. The first mistake ends it.

use std::collections::BTreeSet;

use hone_contract::job::{Dataset, Finetune, Resources};
use hone_contract::quoted;
use hone_contract::rules::{self, Amount, BUILT_IN, Choice, TARGETS, Whole};
use hone_image::oci::Platform;
use serde_saphyr::Spanned;

use crate::address;
use crate::error::{HonefileError, Source, did_you_mean};
use crate::plan::{AdapterPlan, BasePlan, BuildPlan, Origin, OwnTrainer, Said, TrainerPlan, TrainerSource};
use crate::quantity::{amount, memory, whole};
use crate::raw::{self, Raw, Text};

/// What `apiVersion` must be.
pub const API_VERSION: &str = "hone.dev/v1";
/// What is said where no model is named.
const NO_MODEL: &str = "the key base.model is missing; it names a weight file or a directory";
pub(crate) fn check(file: &Source<'_>, raw: Raw) -> Result<BuildPlan, HonefileError> {
    let check = Check { source: file };
    check.api_version(raw.api_version.as_ref())?;
    let name = check.name(raw.name.as_ref())?;
    let base = raw.base.map(|base| check.base(base)).transpose()?;
    let trainer = check.trainer(raw.trainer)?;
    if base.is_none() && !matches!(trainer, TrainerPlan::Own(_)) {
        return Err(file.whole(NO_MODEL.to_owned()));
    }
    let platforms = raw.platforms.map(|list| check.platforms(&list)).transpose()?.unwrap_or_default();
    let said = raw.finetune.as_ref().map_or_else(Said::default, |finetune| Said {
        max_length: finetune.value.max_length.is_some(),
        format: finetune.value.dataset.as_ref().is_some_and(|dataset| dataset.format.is_some()),
    });
    let finetune = check.finetune(raw.finetune, &trainer)?;
    let resources = check.resources(raw.resources.unwrap_or_default())?;
    let adapter = check.adapter(raw.adapter.unwrap_or_default())?;
    Ok(BuildPlan { name, base, trainer, platforms, finetune, said, resources, adapter })
}

struct Check<'a> {
    source: &'a Source<'a>,
}

impl Check<'_> {
    /// Names the key in front of what is wrong with its value.
    fn wrong<T>(&self, key: &str, value: &Spanned<T>, why: impl AsRef<str>) -> HonefileError {
        self.source.at(value, format!("{key}: {}", why.as_ref()))
    }

    fn api_version(&self, text: Option<&Text>) -> Result<(), HonefileError> {
        match text {
            Some(text) if text.value == API_VERSION => Ok(()),
            Some(text) => {
                Err(self.wrong("apiVersion", text, format!("want {API_VERSION}, got `{}`", quoted(&text.value))))
            }
            None => {
                Err(self.source.whole(format!("the key apiVersion is missing; write `apiVersion: {API_VERSION}`")))
            }
        }
    }

    fn name(&self, text: Option<&Text>) -> Result<String, HonefileError> {
        let Some(text) = text else {
            return Err(self
                .source
                .whole("the key name is missing; it names the model, e.g. `name: assistant`".to_owned()));
        };
        rules::name(&text.value).map_err(|why| self.wrong("name", text, why))?;
        Ok(text.value.clone())
    }

    fn base(&self, raw: raw::Base) -> Result<BasePlan, HonefileError> {
        let model = raw.model.ok_or_else(|| self.source.whole(NO_MODEL.to_owned()))?;
        let sha256 = raw.sha256.as_ref().map(|text| text.value.as_str());
        let found = address::model(&model.value, sha256).map_err(|why| self.wrong("base.model", &model, why))?;
        if let (Some(text), false) = (&raw.sha256, matches!(found, crate::ModelSource::Url { .. })) {
            return Err(self.wrong("base.sha256", text, "it goes with an http or https address only"));
        }
        let tokenizer = raw.tokenizer.map(|t| self.path("base.tokenizer", &t)).transpose()?;
        let follow_links = self.switch("base.follow_links", &raw.follow_links, "false")?;
        let local = tokenizer.is_some() || matches!(found, crate::ModelSource::Path(_));
        if let (Some(text), false) = (&raw.follow_links, local) {
            return Err(self.wrong("base.follow_links", text, "it goes with a path only"));
        }
        let word = |key: &str, text: Option<Text>| text.map(|t| self.word(key, &t)).transpose();
        let origin = Origin {
            source: word("base.source", raw.source)?,
            revision: word("base.revision", raw.revision)?,
            licenses: word("base.license", raw.license)?,
        };
        Ok(BasePlan { model: found, tokenizer, follow_links, origin })
    }

    /// One line of text for an annotation.
    fn word(&self, key: &str, text: &Text) -> Result<String, HonefileError> {
        let plain = !text.value.is_empty() && text.value.len() <= 1024 && !text.value.contains(char::is_control);
        if plain { Ok(text.value.clone()) } else { Err(self.wrong(key, text, "want one line of at most 1024 bytes")) }
    }

    fn platforms(&self, list: &Spanned<Vec<Text>>) -> Result<Vec<Platform>, HonefileError> {
        let mut platforms = Vec::new();
        for text in &list.value {
            let platform = address::platform(&text.value).map_err(|why| self.wrong("platforms", text, why))?;
            if platforms.contains(&platform) {
                return Err(self.wrong(
                    "platforms",
                    text,
                    format!("{} is there twice", quoted(&platform.to_string())),
                ));
            }
            platforms.push(platform);
        }
        if platforms.is_empty() {
            return Err(self.wrong("platforms", list, "want at least one, e.g. linux/arm64"));
        }
        Ok(platforms)
    }

    fn path(&self, key: &str, text: &Text) -> Result<String, HonefileError> {
        if text.value.is_empty() || text.value.contains('\0') {
            return Err(self.wrong(key, text, "want a path"));
        }
        Ok(text.value.clone())
    }

    fn trainer(&self, raw: Option<Spanned<raw::Trainer>>) -> Result<TrainerPlan, HonefileError> {
        let Some(raw) = raw else {
            return Ok(TrainerPlan::BuiltIn(BUILT_IN[0].to_owned()));
        };
        match &raw.value {
            raw::Trainer::Named(name) if name == "none" => Ok(TrainerPlan::None),
            raw::Trainer::Named(name) if BUILT_IN.contains(&name.as_str()) => Ok(TrainerPlan::BuiltIn(name.clone())),
            raw::Trainer::Named(name) => {
                let want = format!("want {}, none, or a mapping with rootfs, image or layout", BUILT_IN.join(", "));
                Err(self.wrong("trainer", &raw, format!("{want}, got `{}`", quoted(name))))
            }
            raw::Trainer::Own(own) => self.own(&raw, own).map(TrainerPlan::Own),
        }
    }

    fn own(&self, whole: &Spanned<raw::Trainer>, raw: &raw::Own) -> Result<OwnTrainer, HonefileError> {
        let from = match (&raw.rootfs, &raw.image, &raw.layout) {
            (Some(dir), None, None) => TrainerSource::Rootfs(self.path("trainer.rootfs", dir)?),
            (None, Some(text), None) => {
                let image = address::reference(&text.value).map_err(|why| self.wrong("trainer.image", text, why))?;
                TrainerSource::Image(image)
            }
            (None, None, Some(text)) => {
                let path = text.value.strip_prefix("oci:").unwrap_or(&text.value);
                let layout = address::layout(path).map_err(|why| self.wrong("trainer.layout", text, why))?;
                TrainerSource::Layout(layout)
            }
            _ => return Err(self.wrong("trainer", whole, "want one of the keys rootfs, image and layout")),
        };
        let command = raw.command.as_ref().map(|words| self.command(words)).transpose()?;
        if command.is_none() && raw.rootfs.is_some() {
            return Err(self.wrong("trainer", whole, "the key command is missing; it lists what trains"));
        }
        let workdir = raw.workdir.as_ref().map(|text| self.workdir(text)).transpose()?;
        Ok(OwnTrainer {
            from,
            command,
            workdir,
            env: raw.env.as_ref().map(|env| self.env(env)).transpose()?.unwrap_or_default(),
            user: raw.user.as_ref().map(|text| self.user(text)).transpose()?,
        })
    }

    fn command(&self, words: &Spanned<Vec<Text>>) -> Result<Vec<String>, HonefileError> {
        let command: Vec<String> = words.value.iter().map(|word| word.value.clone()).collect();
        rules::command(&command).map_err(|why| self.wrong("trainer.command", words, why))?;
        Ok(command)
    }

    fn workdir(&self, text: &Text) -> Result<String, HonefileError> {
        let plain = text.value.starts_with('/') && !text.value.split('/').any(|c| c == "..");
        if plain && !text.value.contains('\0') {
            return Ok(text.value.clone());
        }
        Err(self.wrong("trainer.workdir", text, format!("want an absolute path, got `{}`", quoted(&text.value))))
    }

    fn env(&self, env: &raw::Env) -> Result<Vec<String>, HonefileError> {
        let mut pairs = Vec::new();
        for (name, value) in &env.0 {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let starts = name.value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !starts || !name.value.chars().all(word) {
                let why = format!("want a name of letters, digits and _, got `{}`", quoted(&name.value));
                return Err(self.wrong("trainer.env", name, why));
            }
            if value.value.contains('\0') {
                return Err(self.wrong("trainer.env", value, "a value cannot hold a NUL"));
            }
            pairs.push(format!("{}={}", name.value, value.value));
        }
        Ok(pairs)
    }

    fn user(&self, text: &Text) -> Result<String, HonefileError> {
        let part = |p: &str| {
            !p.is_empty() && p.len() <= 32 && p.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        };
        if text.value.split(':').count() <= 2 && text.value.split(':').all(part) {
            return Ok(text.value.clone());
        }
        Err(self.wrong(
            "trainer.user",
            text,
            format!("want a user, a uid, or uid:gid, got `{}`", quoted(&text.value)),
        ))
    }

    fn finetune(
        &self,
        raw: Option<Spanned<raw::Finetune>>,
        trainer: &TrainerPlan,
    ) -> Result<Option<Finetune>, HonefileError> {
        match (raw, trainer) {
            (Some(raw), TrainerPlan::None) => {
                Err(self.wrong("finetune", &raw, "there is nothing to set when trainer is none"))
            }
            (None, TrainerPlan::None | TrainerPlan::Own(_)) => Ok(None),
            (None, TrainerPlan::BuiltIn(_)) => self.finetune_of(raw::Finetune::default(), true).map(Some),
            (Some(raw), TrainerPlan::BuiltIn(_)) => self.finetune_of(raw.value, true).map(Some),
            (Some(raw), TrainerPlan::Own(_)) => self.finetune_of(raw.value, false).map(Some),
        }
    }

    fn finetune_of(&self, raw: raw::Finetune, built_in: bool) -> Result<Finetune, HonefileError> {
        let (steps, epochs) = self.length(raw.steps.as_ref(), raw.epochs.as_ref())?;
        let count = |rule: Whole, text: &Option<Text>, default: u32| {
            self.number(rule, text, u64::from(default)).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
        };
        let rank = count(rules::RANK, &raw.rank, 8)?;
        Ok(Finetune {
            method: self.choice(rules::METHOD, &raw.method, "lora")?,
            rank,
            alpha: self.real(rules::ALPHA, &raw.alpha, f64::from(rank) * 2.0)?,
            targets: self.targets(raw.targets.as_ref(), built_in)?,
            dataset: self.dataset(raw.dataset.unwrap_or_default())?,
            steps,
            epochs,
            batch_size: count(rules::BATCH_SIZE, &raw.batch_size, 1)?,
            gradient_accumulation: count(rules::ACCUMULATION, &raw.gradient_accumulation, 4)?,
            learning_rate: self.real(rules::LEARNING_RATE, &raw.learning_rate, 2e-4)?,
            schedule: self.choice(rules::SCHEDULE, &raw.schedule, "linear")?,
            warmup: self.number(rules::WARMUP, &raw.warmup, 0)?,
            max_length: count(rules::MAX_LENGTH, &raw.max_length, 512)?,
            seed: self.number(rules::SEED, &raw.seed, 0)?,
        })
    }

    fn dataset(&self, raw: raw::Dataset) -> Result<Dataset, HonefileError> {
        let format = self.choice(rules::FORMAT, &raw.format, "chat")?;
        let Some(system) = raw.system else {
            return Ok(Dataset { format, system: None });
        };
        let wrong = |why: String| self.wrong("finetune.dataset.system", &system, why);
        rules::system(&system.value, &format).map_err(wrong)?;
        Ok(Dataset { format, system: Some(system.value) })
    }

    fn length(
        &self,
        steps: Option<&Text>,
        epochs: Option<&Text>,
    ) -> Result<(Option<u64>, Option<f64>), HonefileError> {
        match (steps, epochs) {
            (Some(_), Some(epochs)) => Err(self.wrong("finetune.epochs", epochs, "give steps or epochs, not both")),
            (Some(steps), None) => {
                let rule = rules::STEPS;
                let steps = whole(&steps.value, rule.least, rule.most).map_err(|e| self.wrong(rule.key, steps, e))?;
                Ok((Some(steps), None))
            }
            (None, Some(epochs)) => {
                let rule = rules::EPOCHS;
                let epochs = amount(&epochs.value, rule.most).map_err(|e| self.wrong(rule.key, epochs, e))?;
                Ok((None, Some(epochs)))
            }
            (None, None) => Ok((None, Some(3.0))),
        }
    }

    fn targets(&self, raw: Option<&Spanned<Vec<Text>>>, built_in: bool) -> Result<Vec<String>, HonefileError> {
        let Some(list) = raw else {
            return Ok(["q_proj", "k_proj", "v_proj", "o_proj"].map(str::to_owned).to_vec());
        };
        let mut before = BTreeSet::new();
        for text in &list.value {
            if built_in && !TARGETS.contains(&text.value.as_str()) {
                return Err(self.unknown_choice("finetune.targets", text, &TARGETS));
            }
            rules::target(&text.value, &mut before, built_in)
                .map_err(|why| self.wrong("finetune.targets", text, why))?;
        }
        let targets: Vec<String> = list.value.iter().map(|text| text.value.clone()).collect();
        rules::targets(&targets).map_err(|why| self.wrong("finetune.targets", list, why))?;
        Ok(targets)
    }

    fn resources(&self, raw: raw::Resources) -> Result<Resources, HonefileError> {
        let (cpu, pids) = (rules::CPU, rules::PIDS);
        let cpu = |t: Text| amount(&t.value, cpu.most).map_err(|e| self.wrong(cpu.key, &t, e));
        let memory = |t: Text| memory(&t.value).map_err(|e| self.wrong(rules::MEMORY.key, &t, e));
        let pids = |t: Text| whole(&t.value, pids.least, pids.most).map_err(|e| self.wrong(pids.key, &t, e));
        Ok(Resources {
            cpu: raw.cpu.map(cpu).transpose()?,
            memory: raw.memory.map(memory).transpose()?,
            pids: raw.pids.map(pids).transpose()?,
        })
    }

    fn adapter(&self, raw: raw::Adapter) -> Result<AdapterPlan, HonefileError> {
        let commit = self.switch("adapter.commit", &raw.commit, "true")?;
        let Some(tag) = raw.tag else {
            return Ok(AdapterPlan { commit, tag: hone_contract::job::USUAL_TAG.to_owned() });
        };
        rules::tag(&tag.value).map_err(|why| self.wrong("adapter.tag", &tag, why))?;
        Ok(AdapterPlan { commit, tag: tag.value })
    }

    fn number(&self, rule: Whole, text: &Option<Text>, default: u64) -> Result<u64, HonefileError> {
        let Some(text) = text else {
            return Ok(default);
        };
        whole(&text.value, rule.least, rule.most).map_err(|why| self.wrong(rule.key, text, why))
    }

    fn real(&self, rule: Amount, text: &Option<Text>, default: f64) -> Result<f64, HonefileError> {
        let Some(text) = text else {
            return Ok(default);
        };
        amount(&text.value, rule.most).map_err(|why| self.wrong(rule.key, text, why))
    }

    fn switch(&self, key: &'static str, text: &Option<Text>, default: &str) -> Result<bool, HonefileError> {
        Ok(self.choice(Choice { key, known: &["true", "false"] }, text, default)? == "true")
    }

    fn choice(&self, rule: Choice, text: &Option<Text>, default: &str) -> Result<String, HonefileError> {
        match text {
            None => Ok(default.to_owned()),
            Some(text) if rule.known.contains(&text.value.as_str()) => Ok(text.value.clone()),
            Some(text) => Err(self.unknown_choice(rule.key, text, rule.known)),
        }
    }

    fn unknown_choice(&self, key: &str, text: &Text, known: &[&str]) -> HonefileError {
        let mut error = self.wrong(key, text, rules::one_of(known, &text.value));
        error.help = did_you_mean(&text.value, known);
        error
    }
}
