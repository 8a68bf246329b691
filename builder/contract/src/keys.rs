//! The keys of a job, and which that are none cannot be passed over.
//!
//! Who does not know a key does without what it asks for. Of most of a job that is no harm; of a limit it is, and of a key
//! that was meant to be another.

use crate::quote::quoted;

/// What a run may do at most: a limit that is not known would not hold.
const LIMITS: [&str; 3] = ["trainer", "resources", "adapter"];

/// The keys of what stands at `above`, from the root on.
fn known(above: &[&str]) -> &'static [&'static str] {
    match above {
        [] => &["contract", "requires", "name", "base", "trainer", "finetune", "resources", "adapter"],
        ["base"] => &["identity", "path", "format", "family", "files", "tokenizer"],
        ["base", "files", _] => &["path", "size", "digest"],
        ["trainer"] => &["name", "digest", "command", "readonly_root"],
        ["finetune"] => &[
            "method",
            "rank",
            "alpha",
            "targets",
            "dataset",
            "steps",
            "epochs",
            "batch_size",
            "gradient_accumulation",
            "learning_rate",
            "schedule",
            "warmup",
            "max_length",
            "seed",
        ],
        ["finetune", "dataset"] => &["format", "system"],
        ["resources"] => &["cpu", "memory", "pids"],
        ["adapter"] => &["commit", "tag", "tensors", "max_bytes"],
        _ => &[],
    }
}

/// Why a key that nothing asked for cannot be passed over; `None` where it can.
pub(crate) fn refused(path: &[String]) -> Option<String> {
    let steps: Vec<&str> = path.iter().map(String::as_str).collect();
    let (key, above) = steps.split_last()?;
    let shown = path.join(".");
    let shown = quoted(&shown);
    let written = plain(key);
    // A list of what must be known is the last that may be overlooked.
    let nearly = |known: &str| plain(known) == written || (known == "requires" && written.starts_with("require"));
    if let Some(meant) = known(above).iter().find(|known| nearly(known)) {
        return Some(format!("\"{shown}\" is no key; \"{meant}\" is"));
    }
    let limits = above.first().is_some_and(|section| LIMITS.contains(section));
    limits.then(|| format!("\"{shown}\" is not known to this program, and a limit must be: update hone"))
}

/// A key without what is easily mistaken in it: case, and what joins its words.
fn plain(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Value, json};

    use super::*;

    /// Every object's keys, by where it stands.
    fn objects(value: &Value, at: &mut Vec<String>, all: &mut BTreeMap<Vec<String>, BTreeSet<String>>) {
        let below: Vec<(String, &Value)> = match value {
            Value::Object(object) => {
                all.insert(at.clone(), object.keys().cloned().collect());
                object.iter().map(|(key, value)| (key.clone(), value)).collect()
            }
            Value::Array(items) => items.iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect(),
            _ => Vec::new(),
        };
        for (step, value) in below {
            at.push(step);
            objects(value, at, all);
            at.pop();
        }
    }

    #[test]
    fn the_keys_are_those_of_a_job_that_has_them_all() {
        let text = include_bytes!("../../../tests/fixtures/contract/v1/job.json");
        let mut job: Value = serde_json::from_slice(text).expect("JSON");
        job["requires"] = json!([]);
        job["base"]["family"] = json!("llama");
        job["base"]["tokenizer"] = json!("/hone/tokenizer");
        job["finetune"]["epochs"] = json!(1.0);
        job["finetune"]["steps"] = json!(1);
        job["finetune"]["dataset"] = json!({"format": "chat", "system": "s"});
        job["resources"] = json!({"cpu": 1.0, "memory": 1 << 30, "pids": 64});
        let mut all = BTreeMap::new();
        objects(&job, &mut Vec::new(), &mut all);
        all.retain(|at, _| at != &["adapter", "tensors"]);
        assert!(all.len() > 7, "{all:?}");
        for (at, keys) in all {
            let at: Vec<&str> = at.iter().map(String::as_str).collect();
            assert_eq!(known(&at).iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>(), keys, "{at:?}");
        }
    }
}
