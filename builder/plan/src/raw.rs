//! The Honefile as written: every key optional, every scalar still text with its place, unknown keys refused.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde_saphyr::Spanned;

/// A scalar with its place. Numbers are parsed by the check, which knows what is wanted.
pub(crate) type Text = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    #[serde(rename = "apiVersion")]
    pub api_version: Option<Text>,
    pub name: Option<Text>,
    pub base: Option<Base>,
    pub trainer: Option<Spanned<Trainer>>,
    pub platforms: Option<Spanned<Vec<Text>>>,
    pub finetune: Option<Spanned<Finetune>>,
    pub resources: Option<Resources>,
    pub adapter: Option<Adapter>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Base {
    pub model: Option<Text>,
    pub sha256: Option<Text>,
    pub tokenizer: Option<Text>,
    pub follow_links: Option<Text>,
    pub source: Option<Text>,
    pub revision: Option<Text>,
    pub license: Option<Text>,
}

#[derive(Debug)]
pub(crate) enum Trainer {
    Named(String),
    Own(Box<Own>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Own {
    pub rootfs: Option<Text>,
    pub image: Option<Text>,
    pub layout: Option<Text>,
    pub command: Option<Spanned<Vec<Text>>>,
    pub workdir: Option<Text>,
    pub env: Option<Env>,
    pub user: Option<Text>,
}

/// Pairs in the order written, so that a duplicate or a bad name keeps its place.
#[derive(Debug)]
pub(crate) struct Env(pub Vec<(Text, Text)>);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Finetune {
    pub method: Option<Text>,
    pub rank: Option<Text>,
    pub alpha: Option<Text>,
    pub targets: Option<Spanned<Vec<Text>>>,
    pub dataset: Option<Dataset>,
    pub epochs: Option<Text>,
    pub steps: Option<Text>,
    pub batch_size: Option<Text>,
    pub gradient_accumulation: Option<Text>,
    pub learning_rate: Option<Text>,
    pub schedule: Option<Text>,
    pub warmup: Option<Text>,
    pub max_length: Option<Text>,
    pub seed: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dataset {
    pub format: Option<Text>,
    pub system: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resources {
    pub cpu: Option<Text>,
    pub memory: Option<Text>,
    pub pids: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adapter {
    pub commit: Option<Text>,
    pub tag: Option<Text>,
}

impl<'de> Deserialize<'de> for Trainer {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrMap;
        impl<'de> Visitor<'de> for NameOrMap {
            type Value = Trainer;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("onnx, none, or a mapping with rootfs, image or layout")
            }
            fn visit_str<E>(self, name: &str) -> Result<Trainer, E> {
                Ok(Trainer::Named(name.to_owned()))
            }
            fn visit_unit<E>(self) -> Result<Trainer, E> {
                Ok(Trainer::Named("none".to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Trainer, A::Error> {
                Own::deserialize(MapAccessDeserializer::new(map)).map(|own| Trainer::Own(Box::new(own)))
            }
        }
        deserializer.deserialize_any(NameOrMap)
    }
}

impl<'de> Deserialize<'de> for Env {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Env;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names to values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Env, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Env(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}
