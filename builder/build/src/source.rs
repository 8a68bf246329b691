//! Where the base model is -> its files, on this disk.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use hone_base::{Links, Provenance, SourceFile, Sources, refuse_pickled};
use hone_contract::quoted;
use hone_image::Digest;
use hone_image::hub::MAIN;
use hone_plan::{BasePlan, BuildPlan, ModelSource};
use hone_registry::hub::{self, GitVerified, Identity};
use hone_registry::{Client, Pinned};
use hone_store::{Ingest, Store};
use tempfile::TempDir;

use super::artifact::{Local, Remote, model};
use crate::download::{Other, Wanted, download};
use crate::failure::{Failure, because};
use crate::net;
use crate::progress::Progress;

/// A model's files, wherever they came from.
#[derive(Debug)]
pub struct Model {
    /// The files.
    pub sources: Sources,
    /// Files of a tokenizer that came apart.
    pub tokenizer: Option<Sources>,
    /// sha256 of files that must be this.
    pub digests: BTreeMap<String, Digest>,
    /// Where they come from.
    pub provenance: Provenance,
    /// Files that go when the build is done.
    pub scratch: Option<TempDir>,
}

impl Model {
    /// A model without files yet.
    pub fn new(shown: &str) -> Self {
        let sources = Sources { shown: PathBuf::from(shown), files: Vec::new(), lone: false };
        let provenance = Provenance::default();
        Self { sources, tokenizer: None, digests: BTreeMap::new(), provenance, scratch: None }
    }
}

/// What fetching needs.
pub struct Fetch<'a> {
    /// The Honefile's directory.
    pub dir: &'a Path,
    /// What is built.
    pub plan: &'a BuildPlan,
    /// The store that is downloaded into.
    pub ingest: &'a Ingest<'a>,
    /// Reaches servers.
    pub client: &'a Client,
    /// Shows downloads.
    pub progress: Progress,
}

impl Fetch<'_> {
    /// The files of the plan's base, and of its tokenizer when that is named.
    pub fn base(&self, base: &BasePlan) -> Result<Model, Failure> {
        let links = Links::followed(base.follow_links);
        let mut found = match &base.model {
            ModelSource::Path(path) => {
                let sources = Sources::at(&self.dir.join(path), links)?;
                Model { sources, ..Model::new(path) }
            }
            ModelSource::Url { url, name, sha256 } => self.url(url, name, *sha256)?,
            ModelSource::Hub { repository, revision } => self.hub(repository, revision.as_deref())?,
            ModelSource::Registry(name) => self.registry(name)?,
            ModelSource::Layout { dir, tag } => self.layout(dir, tag.as_deref())?,
        };
        found.provenance = Provenance::planned(base).or(found.provenance);
        if let Some(path) = &base.tokenizer {
            found.tokenizer = Some(Sources::at(&self.dir.join(path), links).map_err(because("base.tokenizer"))?);
        }
        Ok(found)
    }

    /// A file with a known sha256: not fetched when it was packed before.
    fn url(&self, url: &str, name: &str, sha256: Digest) -> Result<Model, Failure> {
        let mut found = Model::new(url);
        let file = match self.packed_before(name, sha256) {
            Some(file) => file,
            None => {
                let fetching = because(format!("base.model {}", quoted(url)));
                let path = self.download(name, sha256, None, |at| Ok(self.client.download(url)?.open(at)?));
                let path = path.map_err(meant).map_err(fetching)?;
                let size = std::fs::metadata(&path)?.len();
                SourceFile::whole(name, path, size)
            }
        };
        found.digests.insert(name.to_owned(), sha256);
        found.sources.files.push(file);
        found.sources.lone = true;
        Ok(found)
    }

    fn registry(&self, name: &str) -> Result<Model, Failure> {
        let pinned: Pinned = name.parse().map_err(because(format!("base.model oci://{}", quoted(name))))?;
        let repository = self.client.repository(&pinned.reference)?;
        let remote = Remote { repository, target: pinned.target(), ingest: self.ingest, progress: self.progress };
        let known = |name: &str, digest| self.packed_before(name, digest);
        model(&remote, &format!("oci://{name}"), self.ingest, &known)
    }

    fn layout(&self, dir: &str, tag: Option<&str>) -> Result<Model, Failure> {
        let path = self.dir.join(dir);
        let layout = Store::at(&path);
        self.ingest.hold(&layout)?;
        let root = layout.only(tag).map_err(because(format!("base.model oci:{}", quoted(dir))))?;
        let known = |name: &str, digest| self.packed_before(name, digest);
        model(&Local { layout, root }, &format!("oci:{dir}"), self.ingest, &known)
    }

    fn hub(&self, repository: &str, revision: Option<&str>) -> Result<Model, Failure> {
        let shown = format!("hf://{repository}");
        let fetching = |error: Failure| because(format!("base.model {shown}"))(error);
        let (endpoint, token) = net::hub();
        let hub = self.client.hub(&endpoint, token).map_err(|e| fetching(e.into()))?;
        let name = hub::Name { id: repository.to_owned(), revision: revision.unwrap_or(MAIN).to_owned() };
        let model = hub.model(&name).map_err(|e| fetching(e.into()))?;
        refuse_pickled(&model).map_err(|e| fetching(e.into()))?;
        let scratch = self.ingest.scratch_dir()?;
        let mut found = Model::new(&shown);
        for file in model.wanted() {
            let place = self.hub_file(&hub, &model, file, scratch.path());
            found
                .sources
                .files
                .push(place.map_err(|e| fetching(because(format!("fetch {}", quoted(&file.path)))(e)))?);
            if let Identity::Sha256(digest) = file.identity {
                found.digests.insert(file.path.clone(), digest);
            }
        }
        found.sources.files.sort_by(|a, b| a.name.cmp(&b.name));
        found.scratch = Some(scratch);
        found.provenance = Provenance::of_hub(&endpoint, &model);
        Ok(found)
    }

    /// A large file into the store, a small one into `scratch`; each verified.
    fn hub_file(
        &self,
        hub: &hub::Hub,
        model: &hub::Model,
        file: &hub::File,
        scratch: &Path,
    ) -> Result<SourceFile, Failure> {
        let name = &file.path;
        let path = match &file.identity {
            Identity::Sha256(digest) => match self.packed_before(name, *digest) {
                Some(known) => return Ok(known),
                None => self.download(name, *digest, Some(file.size), |at| Ok(hub.file(model, file)?.open(at)?))?,
            },
            Identity::GitBlob(want) => {
                let path = scratch.join(name);
                small(&path, GitVerified::new(hub.file(model, file)?.open(0)?, file.size, *want))?;
                path
            }
        };
        Ok(SourceFile::whole(name.clone(), path, file.size))
    }

    /// Where the content is, when it is in the store already.
    fn packed_before(&self, name: &str, digest: Digest) -> Option<SourceFile> {
        let path = format!("models/{}/{name}", self.plan.name);
        let (source, offset, size) = self.ingest.store().packed_before(&path, digest)?;
        Some(SourceFile::part(name, source, offset, size))
    }

    fn download(
        &self,
        name: &str,
        digest: Digest,
        size: Option<u64>,
        open: impl Fn(u64) -> Result<hone_registry::Source, Failure>,
    ) -> Result<PathBuf, Failure> {
        let label = format!("fetch {}", quoted(name));
        download(self.ingest, &Wanted { label: &label, digest, size }, self.progress, open)
    }
}

/// Adds the way out to a file with another sha256 than the Honefile says.
fn meant(error: Failure) -> Failure {
    match error.is::<Other>() {
        true => format!("{error}; if it is the one that you mean, correct base.sha256").into(),
        false => error,
    }
}

fn small(path: &Path, mut source: impl Read) -> Result<(), Failure> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::io::copy(&mut source, &mut std::fs::File::create(path)?)?;
    Ok(())
}
