//! The image as a graph: the trainer's layers, one a weight file, one of the model's small files, one of a tokenizer
//! that came apart, one of the job; and its configuration.

use std::collections::BTreeMap;

use hone_base::parents;
use hone_contract::job::{JOB_PATH, Job, OUT_DIR, TOKENIZER_DIR};
use hone_image::image::BaseImage;
use hone_image::oci::{History, Sealed};
use hone_image::{Image, LayerKind};

use crate::build::{Build, Model, only, request, whole};
use crate::context::Fetched;
use crate::error::FrontendError;
use crate::exchange::{IMAGE, JOB, LAID, Laid, Placed, REQUEST};
use crate::llb::{Output, Read};
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
        if let Some(Model { found, files: from, tokenizer }) = self.model {
            for weight in &found.weights {
                let name = format!("weight {}", weight.path);
                // Of its directory this one file: another one that changes does not change this layer.
                let read = from.file(&weight.from).into_iter().collect();
                files = Some(self.copies(files.as_ref(), (from, read), std::slice::from_ref(weight), &name)?);
            }
            if !found.texts.is_empty() {
                let name = "the model's small files";
                files = Some(self.copies(files.as_ref(), (from, from.whole()), &found.texts, name)?);
            }
            if let Some(from) = tokenizer {
                let name = "the tokenizer";
                files = Some(self.copies(files.as_ref(), (from, from.whole()), &found.tokenizer, name)?);
            }
        }
        self.job(files.as_ref())
    }

    /// A layer of copies, with the directories above them.
    fn copies(
        &self,
        onto: Option<&Output>,
        (from, reads): (&Fetched, Vec<Read<'_>>),
        list: &[Placed],
        name: &str,
    ) -> Result<Output, FrontendError> {
        let dirs = list.iter().flat_map(|file| parents(&file.path)).collect();
        let placed = |file: &Placed| Placed { path: file.path.clone(), from: from.place(&file.from) };
        let laid = Laid { dirs, files: list.iter().map(placed).collect() };
        self.lay(onto, reads, &laid, vec![], name)
    }

    /// The job, and as in an image of `hone build` every directory that is not the trainer's.
    fn job(&self, onto: Option<&Output>) -> Result<Output, FrontendError> {
        let mut dirs = self.model.map(|model| model.found.dirs.clone()).unwrap_or_default();
        let out = OUT_DIR.trim_start_matches('/');
        dirs.extend(parents(out).into_iter().chain([out.to_owned()]));
        let path = JOB_PATH.trim_start_matches('/').to_owned();
        let laid = Laid { dirs, files: vec![Placed { path, from: format!("{REQUEST}/{JOB}") }] };
        self.lay(onto, vec![], &laid, vec![(JOB, self.job.to_bytes())], "the job")
    }

    fn lay(
        &self,
        onto: Option<&Output>,
        reads: Vec<Read<'_>>,
        laid: &Laid,
        mut files: Vec<(&str, Vec<u8>)>,
        name: &str,
    ) -> Result<Output, FrontendError> {
        files.push((LAID, serde_json::json!(laid).to_string().into_bytes()));
        let asked = request(files, &format!("list of {name}"));
        let mut run = self.build.step(vec!["lay".to_owned()], "/");
        run.reads = vec![whole(&asked, REQUEST)];
        run.reads.extend(reads);
        run.writes = vec![(onto, IMAGE)];
        only(Output::run(run, &self.build.shown(name)))
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
            let of_texts = |kind: LayerKind, dir: &str, list: &[Placed]| {
                (!list.is_empty()).then(|| line(format!("{kind} {dir}")))
            };
            lines.extend(of_texts(LayerKind::Model, &found.base.path, &found.texts));
            lines.extend(of_texts(LayerKind::Tokenizer, TOKENIZER_DIR, &found.tokenizer));
        }
        lines.push(line(LayerKind::Job.to_string()));
        lines
    }
}
