//! adapter_config.json: read as PEFT writes it ([`LoraConfig`]), checked against the job, and written again with the keys
//! that mean something. So nothing but a LoRA configuration can be in it.

use hone_contract::job::Job;
use hone_contract::{chain, quoted};
use hone_model::LoraConfig;
use serde::Serialize;

use crate::capture::CONFIG;
use crate::error::StepError;

/// What is committed; the keys that loaders ask for, in the order of their names.
#[derive(Debug, Serialize)]
struct Checked {
    base_model_name_or_path: Option<String>,
    bias: &'static str,
    fan_in_fan_out: bool,
    inference_mode: bool,
    init_lora_weights: bool,
    lora_alpha: serde_json::Number,
    lora_dropout: f64,
    modules_to_save: Option<Vec<String>>,
    peft_type: &'static str,
    r: u64,
    target_modules: Vec<String>,
    task_type: &'static str,
    use_rslora: bool,
}

/// The bytes that are committed, and what they say.
pub fn check(bytes: &[u8], job: &Job) -> Result<(Vec<u8>, LoraConfig), StepError> {
    let written = LoraConfig::parse(CONFIG, bytes).map_err(|e| StepError::Refused(chain(&e)))?;
    check_job(&written, job)?;
    let mut target_modules = written.targets.clone();
    target_modules.sort();
    target_modules.dedup();
    let checked = Checked {
        base_model_name_or_path: None,
        bias: "none",
        fan_in_fan_out: false,
        inference_mode: true,
        init_lora_weights: true,
        lora_alpha: number(written.alpha)?,
        lora_dropout: written.dropout,
        modules_to_save: None,
        peft_type: "LORA",
        r: written.rank,
        target_modules,
        task_type: "CAUSAL_LM",
        use_rslora: written.rank_stabilised,
    };
    let mut bytes = serde_json::to_vec_pretty(&checked).map_err(|e| refused(e.to_string()))?;
    bytes.push(b'\n');
    Ok((bytes, written))
}

/// Where the job knows what was trained, the configuration must say the same.
fn check_job(written: &LoraConfig, job: &Job) -> Result<(), StepError> {
    let (Some(finetune), Some(_)) = (&job.finetune, &job.adapter.tensors) else {
        return Ok(());
    };
    if written.rank_stabilised {
        return Err(refused("use_rslora is true, want false: the job's alpha is scaled by alpha / rank".to_owned()));
    }
    if written.rank != u64::from(finetune.rank) {
        return Err(refused(format!("r is {}, want {} as in the job", written.rank, finetune.rank)));
    }
    if written.alpha != finetune.alpha {
        return Err(refused(format!("lora_alpha is {}, want {} as in the job", written.alpha, finetune.alpha)));
    }
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    if sorted(&written.targets) != sorted(&finetune.targets) {
        let (got, want) = (written.targets.join(", "), finetune.targets.join(", "));
        let (got, want) = (quoted(&got), quoted(&want));
        return Err(refused(format!("target_modules are {got}, want {want} as in the job")));
    }
    Ok(())
}

/// Whole numbers are written as such: PEFT's own files have `"lora_alpha": 16`.
fn number(value: f64) -> Result<serde_json::Number, StepError> {
    let whole = (value.fract() == 0.0 && value < 9e15).then(|| serde_json::Number::from(value as u64));
    whole.or_else(|| serde_json::Number::from_f64(value)).ok_or_else(|| refused(format!("lora_alpha is {value}")))
}

fn refused(why: String) -> StepError {
    StepError::Refused(format!("{CONFIG}: {why}"))
}
