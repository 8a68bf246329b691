//! A LoRA adapter: its parameters, their gradients, and PEFT's files for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hone_model::{LoraConfig, ModelConfig, TARGETS, adapter as layout, adapter_tensors};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::dequant::dequantize;
use crate::error::{Result, TrainError};
use crate::map::Map;
use crate::rng::Rng;
use crate::tensors::{self, TensorFile};
use crate::weights::{read_file, safetensors_header};

/// PEFT's file names.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// PEFT's file names.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// What kind of adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterSpec {
    /// LoRA rank.
    pub rank: u64,
    /// LoRA alpha.
    pub alpha: f64,
    /// Projections, in the order of [`TARGETS`].
    pub targets: Vec<String>,
}

impl AdapterSpec {
    /// alpha / rank.
    pub fn scale(&self) -> f32 {
        (self.alpha / self.rank as f64) as f32
    }
}

/// One matrix of the adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// PEFT's name.
    pub name: String,
    /// Rows, columns.
    pub shape: [usize; 2],
    /// Values.
    pub value: Vec<f32>,
    /// Gradient of the optimizer step under way.
    pub grad: Vec<f32>,
}

/// The trainable part of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// What kind.
    pub spec: AdapterSpec,
    /// The matrices, sorted by name.
    pub params: Vec<Param>,
    /// For each layer, the graph's input name (`q_proj.A`) -> index into `params`.
    index: Vec<BTreeMap<String, usize>>,
}

impl Adapter {
    /// All zeros, of the right shapes.
    ///
    /// # Errors
    /// Unknown targets, or an impossible rank.
    pub fn zeros(config: &ModelConfig, spec: &AdapterSpec) -> Result<Self> {
        let shapes = adapter_tensors(config, &spec.targets, spec.rank)?;
        let mut spec = spec.clone();
        spec.targets = TARGETS.iter().map(|t| (*t).to_owned()).filter(|t| spec.targets.contains(t)).collect();
        let mut params = Vec::new();
        let mut places = BTreeMap::new();
        for (name, shape) in shapes {
            let shape = [shape[0] as usize, shape[1] as usize];
            places.insert(name.clone(), params.len());
            params.push(Param { name, shape, value: vec![0.0; shape[0] * shape[1]], grad: Vec::new() });
        }
        let mut index = Vec::new();
        for layer in 0..config.layers {
            let halves = spec.targets.iter().flat_map(|target| [(target, 'A'), (target, 'B')]);
            let layer = halves.map(|(target, half)| {
                (format!("{target}.{half}"), places[&layout::tensor_name(layer, target, half)])
            });
            index.push(layer.collect());
        }
        Ok(Self { spec, params, index })
    }

    /// As PEFT begins: A uniform in plus or minus 1 / sqrt(columns) (Kaiming with a = sqrt 5), B zero.
    ///
    /// # Errors
    /// Unknown targets, or an impossible rank.
    pub fn fresh(config: &ModelConfig, spec: &AdapterSpec, seed: u64) -> Result<Self> {
        let mut adapter = Self::zeros(config, spec)?;
        for (i, param) in adapter.params.iter_mut().enumerate() {
            if param.name.ends_with("lora_A.weight") {
                let mut rng = Rng::new(seed, 0x4C6F_5241 + i as u64);
                let bound = 1.0 / (param.shape[1] as f32).sqrt();
                param.value.iter_mut().for_each(|v| *v = rng.uniform(bound));
            }
        }
        Ok(adapter)
    }

    /// Reads a PEFT directory.
    ///
    /// # Errors
    /// It is not a plain LoRA adapter for this model.
    pub fn load(config: &ModelConfig, dir: &Path) -> Result<Self> {
        let spec = read_config(&dir.join(CONFIG_FILE))?;
        let mut adapter = Self::zeros(config, &spec)?;
        let values = read_tensors(&adapter, &dir.join(WEIGHTS_FILE))?;
        adapter.params.iter_mut().zip(values).for_each(|(param, values)| param.value = values);
        Ok(adapter)
    }

    /// The matrix behind the graph input `name` of `layer`, if it is one.
    pub fn get(&self, layer: usize, name: &str) -> Option<&Param> {
        self.index[layer].get(name).map(|&i| &self.params[i])
    }

    /// Adds to the gradient of the graph output `name` of `layer`.
    pub fn accumulate(&mut self, layer: usize, name: &str, grad: &[f32]) {
        let Some(&i) = self.index[layer].get(name) else { return };
        let sum = &mut self.params[i].grad;
        sum.resize(grad.len(), 0.0);
        sum.iter_mut().zip(grad).for_each(|(sum, g)| *sum += g);
    }

    /// Forgets the gradients.
    pub fn clear_gradients(&mut self) {
        self.params.iter_mut().for_each(|param| param.grad.fill(0.0));
    }

    /// sha256 of the values.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for param in &self.params {
            param.value.iter().for_each(|value| hash.update(value.to_le_bytes()));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Number of trainable values.
    pub fn size(&self) -> usize {
        self.params.iter().map(|p| p.value.len()).sum()
    }

    /// Writes PEFT's two files into `dir`, which must exist, and makes them durable.
    ///
    /// # Errors
    /// The disk is full, or another failure of the files.
    pub fn save(&self, dir: &Path, base: &str) -> Result<()> {
        let rows = self.params.iter().map(|p| TensorFile { name: &p.name, shape: &p.shape, values: &p.value });
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        tensors::write(&dir.join(WEIGHTS_FILE), &metadata, &rows.collect::<Vec<_>>())?;
        let mut text = serde_json::to_vec_pretty(&self.peft_config(base)).unwrap_or_default();
        text.push(b'\n');
        tensors::write_bytes(&dir.join(CONFIG_FILE), &text)
    }

    fn peft_config(&self, base: &str) -> serde_json::Value {
        json!({
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": self.spec.alpha,
            "lora_dropout": 0.0,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.spec.rank,
            "target_modules": self.spec.targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": false,
        })
    }
}

/// Reads a safetensors file that has exactly the adapter's names and shapes, in the adapter's order.
///
/// # Errors
/// It has others, or a value that is not finite.
pub fn read_tensors(adapter: &Adapter, path: &Path) -> Result<Vec<Vec<f32>>> {
    let map = Map::open(path)?;
    let name = path.display().to_string();
    let header = safetensors_header(&name, &map)?;
    let want = adapter.params.iter().map(|p| (p.name.clone(), p.shape.map(|d| d as u64).to_vec())).collect();
    layout::check_names(&name, &header, &want)?;
    layout::check_finite(&name, &header, map.bytes())?;
    let mut out = Vec::new();
    for param in &adapter.params {
        let tensor = &header.tensors[&param.name];
        let mut values = vec![0.0; param.value.len()];
        let bytes = &map.bytes()[tensor.offset as usize..(tensor.offset + tensor.len) as usize];
        dequantize(tensor.dtype, bytes, &mut values);
        out.push(values);
    }
    Ok(out)
}

fn read_config(path: &Path) -> Result<AdapterSpec> {
    let file = path.display().to_string();
    let config = LoraConfig::parse(&file, &read_file(path)?)?;
    if config.rank_stabilised {
        return Err(TrainError::setting(
            format!("{file}: use_rslora"),
            true,
            "false: alpha is scaled by alpha / r here",
        ));
    }
    Ok(AdapterSpec { rank: config.rank, alpha: config.alpha, targets: config.targets })
}

/// The adapter to start from: the one in `dir` if it is there, else none.
///
/// # Errors
/// It is there but does not fit the job's rank, alpha or targets.
pub fn continued(config: &ModelConfig, spec: &AdapterSpec, dir: &Path) -> Result<Option<Adapter>> {
    if !fs::exists(dir.join(CONFIG_FILE)).unwrap_or(false) {
        return Ok(None);
    }
    let adapter = Adapter::load(config, dir)?;
    let wanted = Adapter::zeros(config, spec)?.spec;
    if adapter.spec == wanted {
        return Ok(Some(adapter));
    }
    let say = |s: &AdapterSpec| format!("rank {}, alpha {}, targets {}", s.rank, s.alpha, s.targets.join(" "));
    Err(TrainError::setting(
        format!("adapter {} to continue", dir.display()),
        say(&adapter.spec),
        format!("the job's {}; train from the base image, or change finetune", say(&wanted)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden/llama").join(name)
    }

    /// Loads the golden adapter with one more key in its configuration.
    fn load(key: &str, value: serde_json::Value) -> Result<Adapter> {
        let dir = tempfile::tempdir().expect("directory");
        fs::copy(golden("adapter_final/adapter_model.safetensors"), dir.path().join(WEIGHTS_FILE)).expect("tensors");
        let text = fs::read(golden("adapter_final/adapter_config.json")).expect("configuration");
        let mut config: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        config[key] = value;
        fs::write(dir.path().join(CONFIG_FILE), config.to_string()).expect("configuration");
        let model = fs::read(golden("config.json")).expect("model");
        Adapter::load(&ModelConfig::from_json("config.json", &model).expect("model"), dir.path())
    }

    #[test]
    fn what_the_tensors_of_another_method_mean_is_not_guessed() {
        for (key, value) in [
            ("init_lora_weights", json!("pissa")),
            ("alora_invocation_tokens", json!([7])),
            ("layers_to_transform", json!([0])),
            ("use_dora", json!(true)),
            ("lora_bias", json!(true)),
            ("a_key_of_later_years", json!("x")),
        ] {
            let error = load(key, value).expect_err(key).to_string();
            assert!(error.contains(&format!("adapter_config.json: {key} is ")), "{error}");
        }
        let error = load("use_rslora", json!(true)).expect_err("another scale").to_string();
        assert!(error.contains("use_rslora: got true, want false"), "{error}");
        for (key, value) in
            [("revision", json!("main")), ("use_dora", json!(false)), ("init_lora_weights", json!("gaussian"))]
        {
            assert!(load(key, value).is_ok(), "{key}");
        }
    }
}
