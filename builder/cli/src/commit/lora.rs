//! adapter_config.json: read as PEFT writes it, checked against the job, and written again with the keys that mean
//! something. So nothing but a LoRA configuration can be in it.

use hone_image::job::Job;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StepError;
use super::capture::CONFIG;

/// Modules in one adapter.
const MAX_TARGETS: usize = 256;
/// Bytes of a module's name.
const MAX_NAME: usize = 128;
/// Largest rank; PEFT has no limit, memory has.
const MAX_RANK: u64 = 1 << 14;

/// The keys that are read. Others are dropped, after [`refuse_unknown_meaning`] has seen that they say nothing.
#[derive(Debug, Deserialize)]
struct Written {
    peft_type: String,
    r: u64,
    lora_alpha: f64,
    target_modules: Vec<String>,
    #[serde(default)]
    task_type: Option<String>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    lora_dropout: f64,
}

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

/// The checked configuration's bytes, and its rank.
pub fn check(bytes: &[u8], job: &Job) -> Result<(Vec<u8>, u64), StepError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| refused(format!("it is not JSON: {e}")))?;
    refuse_unknown_meaning(&value)?;
    let written: Written = serde_json::from_value(value).map_err(|e| refused(e.to_string()))?;
    check_values(&written)?;
    check_job(&written, job)?;
    let mut target_modules = written.target_modules;
    target_modules.sort();
    target_modules.dedup();
    let checked = Checked {
        base_model_name_or_path: None,
        bias: "none",
        fan_in_fan_out: false,
        inference_mode: true,
        init_lora_weights: true,
        lora_alpha: number(written.lora_alpha)?,
        lora_dropout: written.lora_dropout,
        modules_to_save: None,
        peft_type: "LORA",
        r: written.r,
        target_modules,
        task_type: "CAUSAL_LM",
        use_rslora: written.use_rslora,
    };
    let mut bytes = serde_json::to_vec_pretty(&checked).map_err(|e| refused(e.to_string()))?;
    bytes.push(b'\n');
    Ok((bytes, written.r))
}

/// Keys that change what the tensors mean must say what this program assumes.
fn refuse_unknown_meaning(value: &Value) -> Result<(), StepError> {
    let neutral = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    };
    const MEANINGFUL: [&str; 15] = [
        "alpha_pattern",
        "corda_config",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "layer_replication",
        "layers_to_transform",
        "lora_bias",
        "megatron_config",
        "modules_to_save",
        "rank_pattern",
        "target_parameters",
        "trainable_token_indices",
        "use_dora",
        "use_qalora",
    ];
    for key in MEANINGFUL {
        if let Some(found) = value.get(key).filter(|v| !neutral(v)) {
            return Err(refused(format!("{key} is {found}; only plain LoRA is committed")));
        }
    }
    match value.get("bias") {
        None | Some(Value::Null) => Ok(()),
        Some(bias) if bias == "none" => Ok(()),
        Some(bias) => Err(refused(format!("bias is {bias}, want \"none\""))),
    }
}

fn check_values(written: &Written) -> Result<(), StepError> {
    let Written { peft_type, r, lora_alpha, target_modules, task_type, lora_dropout, .. } = written;
    if peft_type != "LORA" {
        return Err(refused(format!("peft_type is {peft_type:?}, want \"LORA\"")));
    }
    if !(1..=MAX_RANK).contains(r) {
        return Err(refused(format!("r is {r}, want 1 to {MAX_RANK}")));
    }
    if !(lora_alpha.is_finite() && *lora_alpha > 0.0) {
        return Err(refused(format!("lora_alpha is {lora_alpha}, want a positive number")));
    }
    if !(0.0..1.0).contains(lora_dropout) {
        return Err(refused(format!("lora_dropout is {lora_dropout}, want 0 or more, below 1")));
    }
    if let Some(task) = task_type.as_ref().filter(|task| *task != "CAUSAL_LM") {
        return Err(refused(format!("task_type is {task:?}, want \"CAUSAL_LM\"")));
    }
    let plain = |name: &String| {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
        !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(word)
    };
    if target_modules.is_empty() || target_modules.len() > MAX_TARGETS || !target_modules.iter().all(plain) {
        return Err(refused(format!(
            "target_modules: want 1 to {MAX_TARGETS} module names of letters, digits, _ and ."
        )));
    }
    Ok(())
}

/// Where the job knows what was trained, the configuration must say the same.
fn check_job(written: &Written, job: &Job) -> Result<(), StepError> {
    let (Some(finetune), Some(_)) = (&job.finetune, &job.adapter.tensors) else {
        return Ok(());
    };
    if written.use_rslora {
        return Err(refused("use_rslora is true, want false: the job's alpha is scaled by alpha / rank".to_owned()));
    }
    if written.r != u64::from(finetune.rank) {
        return Err(refused(format!("r is {}, want {} as in the job", written.r, finetune.rank)));
    }
    if written.lora_alpha != finetune.alpha {
        return Err(refused(format!("lora_alpha is {}, want {} as in the job", written.lora_alpha, finetune.alpha)));
    }
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    if sorted(&written.target_modules) != sorted(&finetune.targets) {
        let (got, want) = (written.target_modules.join(", "), finetune.targets.join(", "));
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
