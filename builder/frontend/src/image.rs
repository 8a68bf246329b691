//! The image as a graph: the trainer's layers, one a weight file, one of the model's small files, one of a tokenizer
//! that came apart, one of the job; and its configuration.

use std::collections::{BTreeMap, BTreeSet};

use hone_base::parents;
use hone_image::image::BaseImage;
use hone_image::job::{Job, OUT_DIR, TOKENIZER_DIR};
use hone_image::oci::{History, Sealed};
use hone_image::{Image, LayerKind};

use crate::build::{Build, Model, only};
use crate::error::FrontendError;
use crate::exchange::{DIRS, IMAGE, JOB, Placed, REQUEST};
use crate::llb::{Output, Put, Shown};
use crate::trainer::FoundTrainer;

/// Everything that an image is made of.
#[derive(Debug)]
pub struct Assembly<'a, 'b> {
    /// The build.
    pub build: &'a Build<'b>,
    /// The trainer.
    pub trainer: &'a FoundTrainer,
    /// The model.
    pub model: Option<&'a Model>,
    /// The job.
    pub job: &'a Job,
}

impl Assembly<'_, '_> {
    /// The files.
    ///
    /// # Errors
    /// Never, as long as each step has an output.
    pub fn output(&self) -> Result<Output, FrontendError> {
        let mut files = self.trainer.files.clone();
        if let Some(model) = self.model {
            for weight in &model.found.weights {
                let shown = self.build.shown(&format!("weight {}", weight.path));
                files = Some(copies(files.as_ref(), &model.files, std::slice::from_ref(weight), &shown));
            }
            let found = &model.found;
            let apart = model.tokenizer.as_ref().unwrap_or(&model.files);
            for (from, list, name) in
                [(&model.files, &found.texts, "the model's small files"), (apart, &found.tokenizer, "the tokenizer")]
            {
                if !list.is_empty() {
                    files = Some(copies(files.as_ref(), from, list, &self.build.shown(name)));
                }
            }
        }
        self.finish(files.as_ref())
    }

    /// The job's layer has every directory that is not the trainer's, with its own times: making a file in a directory
    /// changed them.
    fn finish(&self, files: Option<&Output>) -> Result<Output, FrontendError> {
        let dirs = serde_json::json!(self.dirs()).to_string();
        let puts =
            vec![Put::File(DIRS.to_owned(), dirs.into_bytes()), Put::File(JOB.to_owned(), self.job.to_bytes())];
        let request = Output::files(None, puts, &Shown::new("[hone] the job", false));
        let mut run = self.build.step(vec!["finish".to_owned()], "/");
        run.reads = vec![(&request, REQUEST)];
        run.writes = vec![(files, IMAGE)];
        only(Output::run(run, &self.build.shown("write the job")))
    }

    fn dirs(&self) -> BTreeSet<String> {
        let mut dirs = self.model.map(|model| model.found.dirs.clone()).unwrap_or_default();
        let out = OUT_DIR.trim_start_matches('/');
        dirs.extend(parents(out).into_iter().chain([out.to_owned()]));
        if self.model.is_some_and(|model| !model.found.tokenizer.is_empty()) {
            dirs.insert(TOKENIZER_DIR.trim_start_matches('/').to_owned());
        }
        dirs
    }

    /// The configuration; BuildKit adds the layers' digests.
    pub fn config(&self) -> Vec<u8> {
        let image = Image::base(BaseImage {
            name: self.build.plan.name.clone(),
            architecture: self.trainer.architecture.clone(),
            variant: self.trainer.variant.clone(),
            config: self.trainer.config.clone(),
            layers: vec![],
            annotations: BTreeMap::new(),
        });
        let mut config = image.config().value().clone();
        config.history = self.history(config.created.as_deref());
        config.config.labels.get_or_insert_default().extend(self.build.options.labels.clone());
        Sealed::new(config).bytes().to_vec()
    }

    fn history(&self, created: Option<&str>) -> Vec<History> {
        let line = |what: String| History {
            created: created.map(str::to_owned),
            created_by: Some(format!("hone: {what}")),
            ..History::default()
        };
        let mut lines = vec![line(LayerKind::Trainer.to_string()); self.trainer.layers];
        if let Some(found) = self.model.map(|model| &model.found) {
            lines.extend(found.weights.iter().map(|weight| line(format!("{} /{}", LayerKind::Weight, weight.path))));
            lines.extend((!found.texts.is_empty()).then(|| line(LayerKind::Model.to_string())));
            lines.extend((!found.tokenizer.is_empty()).then(|| line(LayerKind::Tokenizer.to_string())));
        }
        lines.push(line(LayerKind::Job.to_string()));
        lines
    }
}

/// A layer of copies, and the directories above them.
fn copies(base: Option<&Output>, from: &Output, list: &[Placed], shown: &Shown) -> Output {
    let dirs: BTreeSet<String> = list.iter().filter_map(|file| parents(&file.path).pop()).collect();
    let mut puts: Vec<Put<'_>> = dirs.into_iter().map(Put::Dir).collect();
    puts.extend(list.iter().map(|file| Put::Copy { from, source: file.from.clone(), path: file.path.clone() }));
    Output::files(base, puts, shown)
}
