//! Ollama's Modelfile (<https://docs.ollama.com/modelfile>).

mod base;
mod parse;

use std::collections::BTreeMap;

use hone_contract::quoted;
use hone_sbom::License;

use self::parse::{INSTRUCTIONS, Instruction, instructions, wrong};
use super::draft::{Draft, Part, SHOWN};
use super::{Converted, Options, source};
use crate::error::{HonefileError, Source, did_you_mean};
use crate::quantity::whole;

/// Parameters that have a place in a Honefile.
const CARRIED: [&str; 2] = ["num_ctx", "seed"];
/// Parameters of generation and of loading, as the documentation, `api.Options` and the parser's deprecated ones have them.
const OPTIONS: [&str; 33] = [
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "stop",
    "num_predict",
    "draft_num_predict",
    "repeat_last_n",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "num_keep",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "use_mmap",
    "use_mlock",
    "penalize_newline",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "tfs_z",
    "numa",
    "num_gqa",
    "rope_frequency_base",
    "rope_frequency_scale",
    "embedding_only",
];

/// Whether a word, in any case, begins an instruction.
pub(super) fn is_instruction(word: &str) -> bool {
    INSTRUCTIONS.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Converts a Modelfile.
///
/// # Errors
/// What Ollama would not accept, and what a Honefile cannot begin with (two models, none); with its place.
pub fn modelfile(text: &str, options: &Options<'_>) -> Result<Converted, HonefileError> {
    let source = source(options, text)?;
    let all = Instructions { source: &source, all: instructions(&source)? };
    let mut draft = Draft::default();
    all.from(&mut draft, options)?;
    all.license(&mut draft);
    all.adapter(&mut draft);
    all.parameters(&mut draft)?;
    all.system(&mut draft)?;
    all.messages(&mut draft);
    all.rest(&mut draft);
    draft.finish("a Modelfile")
}

struct Instructions<'a> {
    source: &'a Source<'a>,
    all: Vec<Instruction>,
}

impl Instructions<'_> {
    fn named(&self, name: &str) -> impl Iterator<Item = &Instruction> {
        let name = name.to_owned();
        self.all.iter().filter(move |one| one.name == name)
    }

    /// The last one counts, as in Ollama.
    fn last(&self, name: &str) -> Option<&Instruction> {
        self.named(name).last()
    }

    fn from(&self, draft: &mut Draft, options: &Options<'_>) -> Result<(), HonefileError> {
        let mut from = self.named("FROM");
        let Some(first) = from.next() else {
            return Err(self.source.whole("there is no FROM: a Modelfile names its base model so".to_owned()));
        };
        if let Some(second) = from.next() {
            let mut error =
                wrong(self.source, second.place.clone(), "a second FROM; Hone takes one model".to_owned());
            error.help = Some("put the files into one directory and name that in base.model".to_owned());
            return Err(error);
        }
        let at = |why: String| wrong(self.source, first.place.clone(), format!("FROM: {why}"));
        let base = base::base(&first.value, options).map_err(at)?;
        draft.name(options, first.line, "FROM", &base.name);
        draft.key(Part::Base, "model", base.model);
        if let Some(quantization) = base.quantization {
            let why = format!(
                "hf:// takes the whole repository, and not its one file for {}",
                quoted(&quantization).at_most(SHOWN)
            );
            let way_out = "name that file: base.model: https://huggingface.co/ORG/NAME/resolve/REVISION/FILE.gguf, with base.sha256";
            draft.note(Part::Base, first.line, &format!("FROM {}", first.value), &why, way_out);
        }
        Ok(())
    }

    /// A licence's name is an annotation of the image; its text is a file.
    fn license(&self, draft: &mut Draft) {
        let all: Vec<&Instruction> = self.named("LICENSE").collect();
        let known = match all.as_slice() {
            [one] => License::parse(&one.value),
            _ => None,
        };
        match (known, all.first()) {
            (_, None) => {}
            (Some(License::Id(id)), _) => draft.key(Part::Base, "license", id),
            (Some(License::Expression(expression)), _) => draft.key(Part::Base, "license", expression),
            (Some(License::Named(_)) | None, Some(first)) => {
                let way_out = "give its SPDX expression as base.license, and put the text as LICENSE into the model's directory";
                draft.note(Part::Base, first.line, "LICENSE", "base.license holds a name, and no text", way_out);
            }
        }
    }

    fn adapter(&self, draft: &mut Draft) {
        if let Some(adapter) = self.last("ADAPTER") {
            let why = "a Honefile has no adapter: an image gets its adapter by training";
            let way_out = "merge it into the model (PEFT merge_and_unload, llama-export-lora) and name the result in base.model";
            draft.note(Part::Base, adapter.line, &format!("ADAPTER {}", adapter.value), why, way_out);
        }
    }

    fn parameters(&self, draft: &mut Draft) -> Result<(), HonefileError> {
        let mut last: BTreeMap<&str, &Instruction> = BTreeMap::new();
        for one in self.named("PARAMETER") {
            let known = || CARRIED.into_iter().chain(OPTIONS).collect::<Vec<_>>();
            if !known().contains(&one.word.as_str()) {
                let message = format!("unknown parameter `{}`", quoted(&one.word).at_most(SHOWN));
                let mut error = wrong(self.source, one.place.clone(), message);
                error.help =
                    did_you_mean(&one.word, &known()).or_else(|| Some(format!("known: {}", known().join(", "))));
                return Err(error);
            }
            last.insert(&one.word, one);
        }
        if let Some(context) = last.remove("num_ctx") {
            let number = self.number(context, 1, 1 << 20)?;
            draft.comment(Part::Finetune, "num_ctx, which a longer example is cut to: less is less memory.");
            draft.key(Part::Finetune, "max_length", number.to_string());
        }
        match last.remove("seed") {
            Some(seed) if seed.value.trim() == "-1" => {
                let way_out = "it is 0 here: the same data gives the same adapter";
                draft.note(Part::Finetune, seed.line, "PARAMETER seed -1", "Hone has no seed by chance", way_out);
            }
            Some(seed) => draft.key(Part::Finetune, "seed", self.number(seed, 0, u64::MAX)?.to_string()),
            None => {}
        }
        let mut rest: Vec<&Instruction> = last.into_values().collect();
        rest.sort_by_key(|one| one.line);
        for one in rest {
            let way_out = option(one);
            let what = format!("PARAMETER {} {}", one.word, one.value);
            draft.note(Part::Finetune, one.line, &what, "an option of generation, and no part of training", &way_out);
        }
        Ok(())
    }

    fn number(&self, one: &Instruction, least: u64, most: u64) -> Result<u64, HonefileError> {
        let message = |why: String| wrong(self.source, one.place.clone(), format!("PARAMETER {}: {why}", one.word));
        whole(one.value.trim(), least, most).map_err(message)
    }

    /// SYSTEM; or the one MESSAGE that stands for it.
    fn system(&self, draft: &mut Draft) -> Result<(), HonefileError> {
        let Some(one) = self.last("SYSTEM").or_else(|| self.spoken()).filter(|one| !one.value.is_empty()) else {
            return Ok(());
        };
        // The limits are the Honefile's own; said here, they have the Modelfile's place.
        if one.value.len() > hone_contract::rules::MOST_SYSTEM || one.value.contains('\0') {
            let why = format!("{}: want at most {} bytes without a NUL", one.name, hone_contract::rules::MOST_SYSTEM);
            return Err(wrong(self.source, one.place.clone(), why));
        }
        draft.key(Part::Dataset, "system", &one.value);
        Ok(())
    }

    /// The system message among the messages, when SYSTEM is not there and it is the only one.
    fn spoken(&self) -> Option<&Instruction> {
        let mut all = self.named("MESSAGE").filter(|one| one.word == "system");
        let first = all.next()?;
        (self.last("SYSTEM").is_none() && all.next().is_none()).then_some(first)
    }

    fn messages(&self, draft: &mut Draft) {
        let carried = self.spoken().map(|one| one.line);
        let mut left = self.named("MESSAGE").filter(|one| Some(one.line) != carried);
        if let Some(first) = left.next() {
            let what = format!("MESSAGE, {} of them", left.count() + 1);
            let way_out =
                "write the conversation as a line of the data: {\"messages\": [{\"role\": .., \"content\": ..}]}";
            draft.note(Part::Dataset, first.line, &what, "a Honefile holds no conversation", way_out);
        }
    }

    /// What concerns Ollama's way to run a model.
    fn rest(&self, draft: &mut Draft) {
        for (name, why, way_out) in [
            (
                "TEMPLATE",
                "Hone uses the tokenizer's own chat template, in Jinja",
                "where the tokenizer has none, put chat_template.jinja beside a tokenizer.json and name the directory in base.tokenizer",
            ),
            ("DRAFT", "Hone does not generate with a draft model", "nothing is to be done"),
            ("RENDERER", "Hone uses the tokenizer's own chat template", "nothing is to be done"),
            ("PARSER", "Hone gives the model's text as it is", "nothing is to be done"),
            ("REQUIRES", "it is Ollama's version", "nothing is to be done"),
        ] {
            if let Some(one) = self.last(name) {
                draft.note(Part::Finetune, one.line, name, why, way_out);
            }
        }
    }
}

/// What to do without an option of generation.
fn option(one: &Instruction) -> String {
    match one.word.as_str() {
        "num_predict" => format!("say it to `generate`: --max-tokens {}", quoted(one.value.trim()).at_most(SHOWN)),
        "num_thread" => "set resources.cpu, or HONE_THREADS where it runs".to_owned(),
        "stop" => "nothing is to be done: an answer ends with the tokenizer's own tokens for that".to_owned(),
        "num_gpu" | "main_gpu" | "low_vram" => "nothing is to be done: Hone computes on processors".to_owned(),
        _ => "nothing is to be done: `generate` takes the likeliest token".to_owned(),
    }
}
