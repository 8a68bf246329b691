//! adapter_config.json as PEFT writes it, checked to mean plain LoRA: the update of a module is `alpha / r * B A`, of the base
//! model's own weights.
//!
//! Every key that is read is known here, with the values that leave that meaning alone. A key that is not known may change
//! what the tensors mean (PEFT adds such keys in every release), so it must say nothing. Keys and values are those of
//! PEFT's `LoraConfig` up to 0.21.

use serde_json::{Map, Value};

use hone_contract::lora::{MAX_TARGET, MAX_TARGETS};
use hone_contract::quoted;

use crate::ModelError;

/// Largest rank; PEFT has no limit, memory has.
const MAX_RANK: u64 = 1 << 14;

/// Keys that say nothing of the tensors: where the base came from, who wrote the file, and settings of features that have
/// switches of their own.
const NOTES: [&str; 9] = [
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",
    "inference_mode",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];
/// Keys that are read into [`Written`].
const READ: [&str; 7] = ["lora_alpha", "lora_dropout", "peft_type", "r", "target_modules", "task_type", "use_rslora"];
/// How A and B begin, when the base's weights are left as they are: PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA take a part out of
/// them, and their A and B are then for other weights than the base's. EVA takes A from what the modules are given, and where
/// it gives modules ranks of their own, `rank_pattern` says so.
const BEGINNINGS: [&str; 3] = ["eva", "gaussian", "orthogonal"];

/// A plain LoRA configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// LoRA rank r.
    pub rank: u64,
    /// LoRA alpha.
    pub alpha: f64,
    /// Module names, as written.
    pub targets: Vec<String>,
    /// Dropout while it was trained; it says nothing of the tensors.
    pub dropout: f64,
    /// The update is scaled by alpha / sqrt(r) instead (Kalajdzievski 2023, arXiv 2312.03732).
    pub rank_stabilised: bool,
}

struct Written {
    r: u64,
    lora_alpha: f64,
    target_modules: Vec<String>,
    task_type: Option<String>,
    use_rslora: Option<bool>,
    lora_dropout: Option<f64>,
}

impl LoraConfig {
    /// Reads the configuration called `file` in errors.
    ///
    /// # Errors
    /// The first key that makes it something else than plain LoRA.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, ModelError> {
        let refused = |why: String| ModelError::Peft { file: file.to_owned(), why };
        let value: Value = serde_json::from_slice(bytes).map_err(|e| refused(format!("it is not JSON: {e}")))?;
        let Value::Object(keys) = &value else {
            return Err(refused("it is not a JSON object".to_owned()));
        };
        // First what kind it is: other kinds have other keys.
        if keys.get("peft_type").is_none_or(|kind| kind != "LORA") {
            return Err(refused(wrong(keys, "peft_type", "\"LORA\"")));
        }
        for (key, value) in keys {
            plain(key, value).map_err(refused)?;
        }
        let written = written(keys).map_err(refused)?;
        check(&written).map_err(refused)?;
        Ok(Self {
            rank: written.r,
            alpha: written.lora_alpha,
            targets: written.target_modules,
            dropout: written.lora_dropout.unwrap_or(0.0),
            rank_stabilised: written.use_rslora.unwrap_or(false),
        })
    }
}

/// The values of [`READ`], each of its type.
fn written(keys: &Map<String, Value>) -> Result<Written, String> {
    fn needed<T>(
        keys: &Map<String, Value>,
        key: &str,
        want: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, String> {
        keys.get(key).and_then(read).ok_or_else(|| wrong(keys, key, want))
    }
    fn given<T>(
        keys: &Map<String, Value>,
        key: &str,
        want: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        match keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => needed(keys, key, want, read).map(Some),
        }
    }
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let words = |value: &Value| value.as_array().and_then(|all| all.iter().map(word).collect());
    Ok(Written {
        r: needed(keys, "r", &format!("a whole number from 1 to {MAX_RANK}"), Value::as_u64)?,
        lora_alpha: needed(keys, "lora_alpha", "a positive number", Value::as_f64)?,
        target_modules: needed(keys, "target_modules", "a list of module names", words)?,
        task_type: given(keys, "task_type", "\"CAUSAL_LM\"", word)?,
        use_rslora: given(keys, "use_rslora", "true or false", Value::as_bool)?,
        lora_dropout: given(keys, "lora_dropout", "0 or more, below 1", Value::as_f64)?,
    })
}

fn wrong(keys: &Map<String, Value>, key: &str, want: &str) -> String {
    match keys.get(key) {
        Some(value) => format!("{key} is {}, want {want}", shown(value)),
        None => format!("{key} is missing, want {want}"),
    }
}

/// Whether a key leaves the meaning alone.
fn plain(key: &str, value: &Value) -> Result<(), String> {
    let fine = match key {
        _ if NOTES.contains(&key) || READ.contains(&key) => true,
        "bias" => {
            return match value.is_null() || value == "none" {
                true => Ok(()),
                false => Err(format!("bias is {}, want \"none\"", shown(value))),
            };
        }
        "init_lora_weights" => match value {
            Value::Null | Value::Bool(_) => true,
            Value::String(word) => BEGINNINGS.contains(&word.as_str()),
            _ => false,
        },
        _ => says_nothing(value),
    };
    if fine { Ok(()) } else { Err(format!("{} is {}; only plain LoRA is committed", quoted(key), shown(value))) }
}

/// PEFT's ways to leave something out.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    }
}

fn check(written: &Written) -> Result<(), String> {
    let Written { r, lora_alpha, target_modules, task_type, lora_dropout, .. } = written;
    if !(1..=MAX_RANK).contains(r) {
        return Err(format!("r is {r}, want 1 to {MAX_RANK}"));
    }
    if !(lora_alpha.is_finite() && *lora_alpha > 0.0) {
        return Err(format!("lora_alpha is {lora_alpha}, want a positive number"));
    }
    if let Some(dropout) = lora_dropout.filter(|dropout| !(0.0..1.0).contains(dropout)) {
        return Err(format!("lora_dropout is {dropout}, want 0 or more, below 1"));
    }
    if let Some(task) = task_type.as_ref().filter(|task| *task != "CAUSAL_LM") {
        return Err(format!("task_type is \"{}\", want \"CAUSAL_LM\"", quoted(task)));
    }
    let plain = |name: &String| {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
        !name.is_empty() && name.len() <= MAX_TARGET && name.bytes().all(word)
    };
    if target_modules.is_empty() || target_modules.len() > MAX_TARGETS || !target_modules.iter().all(plain) {
        return Err(format!("target_modules: want 1 to {MAX_TARGETS} module names of letters, digits, _ and ."));
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    quoted(&value.to_string()).at_most(100).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What PEFT 0.19 writes for `LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], task_type="CAUSAL_LM")`.
    fn of_peft() -> Value {
        json!({
            "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
            "base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M", "bias": "none", "corda_config": null,
            "ensure_weight_tying": false, "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false,
            "inference_mode": true, "init_lora_weights": true, "layer_replication": null, "layers_pattern": null,
            "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.0,
            "lora_ga_config": null, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null,
            "peft_type": "LORA", "peft_version": "0.19.0", "qalora_group_size": 16, "r": 4, "rank_pattern": {},
            "revision": null, "target_modules": ["q_proj"], "target_parameters": null, "task_type": "CAUSAL_LM",
            "trainable_token_indices": null, "use_bdlora": null, "use_dora": false, "use_qalora": false,
            "use_rslora": false,
        })
    }

    fn parse(value: &Value) -> Result<LoraConfig, String> {
        LoraConfig::parse("c", value.to_string().as_bytes()).map_err(|e| e.to_string())
    }

    fn with(key: &str, value: Value) -> Value {
        let mut config = of_peft();
        config[key] = value;
        config
    }

    #[test]
    fn what_peft_writes_of_plain_lora_is_read() {
        let want = LoraConfig {
            rank: 4,
            alpha: 8.0,
            targets: vec!["q_proj".to_owned()],
            dropout: 0.0,
            rank_stabilised: false,
        };
        assert_eq!(parse(&of_peft()), Ok(want.clone()));
        for (key, value) in [
            ("init_lora_weights", json!("gaussian")),
            ("init_lora_weights", json!("orthogonal")),
            ("init_lora_weights", json!("eva")),
            ("init_lora_weights", json!(true)),
            ("init_lora_weights", json!(null)),
            ("eva_config", json!({"rho": 2.0, "tau": 0.99, "whiten": false})),
            ("init_lora_weights", json!(false)),
            ("modules_to_save", json!([])),
            ("a_key_of_later_years", json!(null)),
            ("a_key_of_later_years", json!(false)),
            ("task_type", json!(null)),
            ("bias", json!(null)),
            ("auto_mapping", json!({"base_model_class": "LlamaForCausalLM", "parent_library": "transformers"})),
        ] {
            assert_eq!(parse(&with(key, value)), Ok(want.clone()), "{key}");
        }
        // PEFT's own, of the version that the golden adapters are made with.
        let golden = include_bytes!("../../../tests/fixtures/golden/llama/adapter_final/adapter_config.json");
        let golden = LoraConfig::parse("c", golden).expect("PEFT 0.21");
        assert_eq!((golden.rank, golden.alpha, golden.targets.len()), (4, 8.0, 7));
        // An early PEFT, which wrote little.
        let least = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]});
        assert_eq!(parse(&least), Ok(want));
        assert!(parse(&with("use_rslora", json!(true))).expect("read").rank_stabilised);
    }

    fn refused_by_name(cases: &[(&str, Value)]) {
        for (key, value) in cases {
            let want = format!("c: {key} is {value}; only plain LoRA is committed");
            assert_eq!(parse(&with(key, value.clone())), Err(want));
        }
    }

    #[test]
    fn every_key_that_changes_what_the_tensors_mean_is_refused_by_name() {
        for switch in ["use_dora", "use_qalora", "lora_bias", "fan_in_fan_out", "ensure_weight_tying"] {
            refused_by_name(&[(switch, json!(true))]);
        }
        for beginning in ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga"] {
            refused_by_name(&[("init_lora_weights", json!(beginning))]);
        }
        for value in [json!(true), json!(0), json!("x"), json!({"y": null}), json!([null])] {
            refused_by_name(&[("a_key_of_later_years", value)]);
        }
        refused_by_name(&[
            ("init_lora_weights", json!(7)),
            ("corda_config", json!({"corda_method": "kpm"})),
            ("loftq_config", json!({"loftq_bits": 4})),
            ("alora_invocation_tokens", json!([1, 2])),
            ("use_bdlora", json!({"nblocks": 2})),
            ("arrow_config", json!({"top_k": 3})),
            ("kasa_config", json!({"beta": 0.1})),
            ("monteclora_config", json!({"n": 4})),
            ("velora_config", json!({"rank": 4})),
            ("layers_pattern", json!("layers")),
            ("layers_to_transform", json!([0])),
            ("layers_to_transform", json!(0)),
            ("layer_replication", json!([[0, 4], [2, 5]])),
            ("rank_pattern", json!({"q_proj": 8})),
            ("alpha_pattern", json!({"q_proj": 8})),
            ("modules_to_save", json!(["lm_head"])),
            ("exclude_modules", json!("k_proj")),
            ("megatron_config", json!({"hidden": 1})),
            ("trainable_token_indices", json!([3])),
            ("target_parameters", json!(["feed_forward.experts"])),
        ]);
    }

    #[test]
    fn values_of_another_type_are_refused_in_words() {
        for (key, value, want) in [
            ("r", json!(4.0), "r is 4.0, want a whole number from 1 to 16384"),
            ("r", json!("4"), "r is \"4\", want a whole number from 1 to 16384"),
            ("r", json!(-4), "r is -4, want a whole number from 1 to 16384"),
            ("r", json!(null), "r is null, want a whole number from 1 to 16384"),
            ("lora_alpha", json!("16"), "lora_alpha is \"16\", want a positive number"),
            ("lora_dropout", json!("0"), "lora_dropout is \"0\", want 0 or more, below 1"),
            ("use_rslora", json!(1), "use_rslora is 1, want true or false"),
            ("task_type", json!(["x"]), "task_type is [\"x\"], want \"CAUSAL_LM\""),
            ("target_modules", json!(null), "target_modules is null, want a list of module names"),
            ("target_modules", json!(["q_proj", 1]), "target_modules is [\"q_proj\",1], want a list of module names"),
            ("peft_type", json!(7), "peft_type is 7, want \"LORA\""),
        ] {
            assert_eq!(parse(&with(key, value)), Err(format!("c: {want}")));
        }
        for key in ["r", "lora_alpha", "target_modules", "peft_type"] {
            let mut config = of_peft();
            config.as_object_mut().expect("object").remove(key);
            let said = parse(&config).expect_err(key);
            assert!(said.starts_with(&format!("c: {key} is missing, want ")), "{said}");
        }
        // Whole numbers are numbers, and what may be left out may be null.
        for (key, value) in [("lora_alpha", json!(8)), ("lora_alpha", json!(8.0)), ("lora_dropout", json!(0))] {
            parse(&with(key, value)).expect(key);
        }
        for key in ["lora_dropout", "use_rslora", "task_type"] {
            parse(&with(key, json!(null))).expect(key);
        }
    }

    #[test]
    fn values_out_of_range_and_strangers_words_are_refused() {
        for (key, value, want) in [
            ("peft_type", json!("IA3"), "c: peft_type is \"IA3\", want \"LORA\""),
            ("r", json!(0), "c: r is 0, want 1 to 16384"),
            ("lora_alpha", json!(-1), "c: lora_alpha is -1, want a positive number"),
            ("lora_dropout", json!(1.5), "c: lora_dropout is 1.5, want 0 or more, below 1"),
            ("bias", json!("all"), "c: bias is \"all\", want \"none\""),
            ("target_modules", json!(".*proj"), "c: target_modules is \".*proj\", want a list of module names"),
            ("task_type", json!("\u{1b}[2J"), "c: task_type is \"\\u{1b}[2J\", want \"CAUSAL_LM\""),
            ("\u{1b}[2J", json!(1), "c: \\u{1b}[2J is 1; only plain LoRA is committed"),
        ] {
            assert_eq!(parse(&with(key, value)), Err(want.to_owned()));
        }
        let long = parse(&with("x", json!("y".repeat(1 << 20)))).expect_err("refused");
        assert!(long.len() < 300, "{}", long.len());
        assert!(parse(&json!([])).is_err() && parse(&with("r", json!(null))).is_err());
        let mut none = of_peft();
        none.as_object_mut().expect("object").remove("peft_type");
        assert!(parse(&none).is_err());
    }
}
