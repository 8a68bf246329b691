//! The base model into layers: one a weight file, one for its small files, one for a tokenizer that came apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use hone_base::{BaseModel, SourceFile, parents};
use hone_contract::job::{Base, BaseFile};
use hone_contract::progress::Progress;
use hone_contract::{Digest, quoted, quoted_path};
use hone_image::tar::Entry;
use hone_image::{Layer, LayerKind, media};
use hone_store::{Ingest, PackedWeight, WeightFile};

use crate::error::{BuildError, io_at};

/// Weight files under way at the same time. The store reads fewer at once; one more waits to be read when another
/// is still being hashed.
const MOST_WORKERS: usize = 5;

/// What packing needs.
pub struct Packer<'a> {
    /// The store that is written to.
    pub ingest: &'a Ingest<'a>,
    /// Shows steps.
    pub progress: &'a dyn Progress,
    /// sha256 of files that must be this, by name.
    pub digests: &'a BTreeMap<String, Digest>,
}

/// A model whose layers are in the store.
pub struct PackedBase {
    /// Weights, small files, tokenizer.
    pub layers: Vec<Layer>,
    /// What the job says of it.
    pub base: Base,
}

impl Packer<'_> {
    /// Packs it.
    pub fn pack(&self, model: &BaseModel) -> Result<PackedBase, BuildError> {
        let packed = self.weights(model)?;
        let file = |(path, size, digest)| BaseFile { path, size, digest };
        let names = model.weights.iter().map(|f| f.name.clone());
        let mut files: Vec<BaseFile> = names.zip(&packed).map(|(n, p)| file((n, p.size, p.file))).collect();
        let mut layers: Vec<Layer> = packed.into_iter().map(|p| p.layer).collect();
        if !model.texts.is_empty() {
            let (layer, texts) = self.texts(LayerKind::Model, "model files", &model.dir, &model.texts)?;
            layers.push(layer);
            files.extend(texts.into_iter().map(file));
        }
        if !model.tokenizer_files.is_empty() {
            let files = &model.tokenizer_files;
            layers.push(self.texts(LayerKind::Tokenizer, "tokenizer", "hone/tokenizer", files)?.0);
        }
        Ok(PackedBase { layers, base: model.job(files) })
    }

    /// Packs the weights, several at a time; the largest first, so that none is left alone at the end.
    fn weights(&self, model: &BaseModel) -> Result<Vec<PackedWeight>, BuildError> {
        let files = &model.weights;
        let mut order: Vec<usize> = (0..files.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(files[*i].size));
        let workers = MOST_WORKERS.min(files.len());
        let next = AtomicUsize::new(0);
        let results: Mutex<BTreeMap<usize, Result<PackedWeight, BuildError>>> = Mutex::default();
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(&i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let packed = self.weight(&model.dir, &files[i]);
                        let failed = packed.is_err();
                        if let Ok(mut results) = results.lock() {
                            results.insert(i, packed);
                        }
                        if failed {
                            next.store(files.len(), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let packed = results.into_values().collect::<Result<Vec<_>, _>>()?;
        if packed.len() == files.len() { Ok(packed) } else { Err(BuildError::Thread) }
    }

    fn weight(&self, dir: &str, file: &SourceFile) -> Result<PackedWeight, BuildError> {
        let step = self.progress.step(&quoted(&file.name).to_string(), Some(file.size));
        let path = format!("{dir}/{}", file.name);
        let weight = WeightFile {
            path: &path,
            source: &file.source,
            offset: file.offset,
            size: file.size,
            digest: self.digests.get(&file.name).copied(),
        };
        let opened = file.holder().map_err(io_at(format!("open {}", quoted_path(&file.source))))?;
        let packed = self.ingest.weight_of(opened, &weight, &|n| step.seen(n))?;
        let digest = packed.layer.descriptor.digest;
        match packed.known {
            true => step.noted(file.size, Some(digest), "known"),
            false => step.done(file.size, digest),
        }
        Ok(packed)
    }

    /// Packs small files, each read once, as one bare tar with the directories above them.
    #[allow(clippy::type_complexity, reason = "one row a file: name, size, digest")]
    fn texts(
        &self,
        kind: LayerKind,
        label: &str,
        dir: &str,
        files: &[SourceFile],
    ) -> Result<(Layer, Vec<(String, u64, Digest)>), BuildError> {
        let step = self.progress.step(label, None);
        let by_path: BTreeMap<String, &SourceFile> = files.iter().map(|f| (format!("{dir}/{}", f.name), f)).collect();
        let dirs: BTreeSet<String> = by_path.keys().flat_map(|path| parents(path)).collect();
        let mut packed = Vec::new();
        let mut writer = self.ingest.tar_layer(kind)?;
        for path in dirs.iter().chain(by_path.keys()).collect::<BTreeSet<_>>() {
            let Some(file) = by_path.get(path) else {
                writer.tar().add(path, Entry::Dir)?;
                continue;
            };
            let mut bytes = Vec::new();
            let reading = || io_at(format!("read {}", quoted_path(&file.source)));
            let mut source = file.open().map_err(reading())?;
            std::io::Read::read_to_end(&mut source, &mut bytes).map_err(reading())?;
            let digest = Digest::of(&bytes);
            if let Some(want) = self.digests.get(&file.name).filter(|want| **want != digest) {
                return Err(BuildError::File { name: file.name.clone(), got: digest, want: *want });
            }
            writer.tar().file(path, false, bytes.len() as u64, &mut &bytes[..])?;
            packed.push((file.name.clone(), bytes.len() as u64, digest));
        }
        let layer = writer.finish()?.annotated(media::WEIGHT_PATH, &format!("/{dir}"));
        step.done(layer.descriptor.size, layer.descriptor.digest);
        Ok((layer, packed))
    }
}
