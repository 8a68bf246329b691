//! Where the base model is -> its files, on this disk.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use hone_base::{Links, Provenance, SourceFile, Sources, refuse_pickled};
use hone_contract::progress::Progress;
use hone_contract::{Digest, Pinned, quoted};
use hone_image::transport::Place;
use hone_plan::{BasePlan, BuildPlan, ModelSource};
use hone_registry::hub::{self, GitVerified, Identity};
use hone_registry::{Client, Error as RegistryError, Source};
use hone_remote::{RemoteError, Wanted, download};
use hone_store::{Ingest, Store};
use tempfile::TempDir;

use crate::artifact::{Local, Remote, model};
use crate::error::{BuildError, at, io_at};

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

/// A hub of models, and who we are there.
#[derive(Debug, Clone)]
pub struct HubAccess {
    /// Its address, e.g. `https://huggingface.co`.
    pub endpoint: String,
    /// A token of ours.
    pub token: Option<String>,
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
    /// What `hf://` means.
    pub hub: &'a HubAccess,
    /// Where trainers that come with Hone are looked for, the first place first.
    pub trainers: &'a [PathBuf],
    /// Is told of downloads.
    pub progress: &'a dyn Progress,
}

impl Fetch<'_> {
    /// The files of the plan's base, and of its tokenizer when that is named.
    pub fn base(&self, base: &BasePlan) -> Result<Model, BuildError> {
        let links = Links::followed(base.follow_links);
        let mut found = match &base.model {
            ModelSource::Path(path) => {
                let sources = Sources::at(&self.dir.join(path), links)?;
                Model { sources, ..Model::new(path) }
            }
            ModelSource::Url { url, name, sha256 } => self.url(url, name, *sha256)?,
            ModelSource::Hub { repository, revision } => self.hub(repository, revision.as_deref())?,
            ModelSource::Registry { name, written } => self.registry(name, written)?,
            ModelSource::Layout(place) => self.layout(place)?,
        };
        found.provenance = Provenance::planned(base).or(found.provenance);
        if let Some(path) = &base.tokenizer {
            found.tokenizer = Some(Sources::at(&self.dir.join(path), links).map_err(at("base.tokenizer"))?);
        }
        Ok(found)
    }

    /// A file with a known sha256: not fetched when it was packed before.
    fn url(&self, url: &str, name: &str, sha256: Digest) -> Result<Model, BuildError> {
        let mut found = Model::new(url);
        let file = match self.packed_before(name, sha256) {
            Some(file) => file,
            None => {
                let fetching = at(format!("base.model {}", quoted(url)));
                let path = self.download(name, sha256, None, |from| self.client.download(url)?.open(from));
                let path = path.map_err(meant).map_err(fetching)?;
                let size = std::fs::metadata(&path).map_err(io_at(format!("read {}", path.display())))?.len();
                SourceFile::whole(name, path, size)
            }
        };
        found.digests.insert(name.to_owned(), sha256);
        found.sources.files.push(file);
        found.sources.lone = true;
        Ok(found)
    }

    fn registry(&self, name: &Pinned, written: &str) -> Result<Model, BuildError> {
        let repository = self.client.repository(&name.reference)?;
        let remote = Remote { repository, target: name.target(), ingest: self.ingest, progress: self.progress };
        let known = |name: &str, digest| self.packed_before(name, digest);
        model(&remote, &format!("oci://{written}"), self.ingest, &known)
    }

    fn layout(&self, place: &Place) -> Result<Model, BuildError> {
        let path = self.dir.join(&place.dir);
        let dir = place.dir.display().to_string();
        let layout = Store::at(&path);
        self.ingest.hold(&layout)?;
        let root = layout.only(place.tag.as_deref()).map_err(at(format!("base.model oci:{}", quoted(&dir))))?;
        let known = |name: &str, digest| self.packed_before(name, digest);
        model(&Local { layout, root }, &format!("oci:{dir}"), self.ingest, &known)
    }

    fn hub(&self, repository: &str, revision: Option<&str>) -> Result<Model, BuildError> {
        let shown = format!("hf://{repository}");
        let fetching = |error: BuildError| at(format!("base.model {shown}"))(error);
        let hub = self.client.hub(&self.hub.endpoint, self.hub.token.clone()).map_err(|e| fetching(e.into()))?;
        let name = hub::Name { id: repository.to_owned(), revision: revision.map(str::to_owned) };
        let model = hub.model(&name).map_err(|e| fetching(e.into()))?;
        refuse_pickled(&model).map_err(|e| fetching(e.into()))?;
        let scratch = self.ingest.scratch_dir()?;
        let mut found = Model::new(&shown);
        for file in model.wanted() {
            let place = self.hub_file(&hub, &model, file, scratch.path());
            found.sources.files.push(place.map_err(|e| fetching(at(format!("fetch {}", quoted(&file.path)))(e)))?);
            if let Identity::Sha256(digest) = file.identity {
                found.digests.insert(file.path.clone(), digest);
            }
        }
        found.sources.files.sort_by(|a, b| a.name.cmp(&b.name));
        found.scratch = Some(scratch);
        found.provenance = Provenance::of_hub(&self.hub.endpoint, &model);
        Ok(found)
    }

    /// A large file into the store, a small one into `scratch`; each verified.
    fn hub_file(
        &self,
        hub: &hub::Hub,
        model: &hub::Model,
        file: &hub::File,
        scratch: &Path,
    ) -> Result<SourceFile, BuildError> {
        let name = &file.path;
        let path = match &file.identity {
            Identity::Sha256(digest) => match self.packed_before(name, *digest) {
                Some(known) => return Ok(known),
                None => self.download(name, *digest, Some(file.size), |from| hub.file(model, file)?.open(from))?,
            },
            Identity::GitBlob(want) => {
                let path = scratch.join(name);
                let content = GitVerified::new(hub.file(model, file)?.open(0)?, file.size, *want);
                small(&path, content)?;
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
        open: impl Fn(u64) -> Result<Source, RegistryError>,
    ) -> Result<PathBuf, RemoteError> {
        let label = format!("fetch {}", quoted(name));
        download(self.ingest, &Wanted { label: &label, digest, size }, self.progress, open)
    }
}

/// Adds the way out to a file with another sha256 than the Honefile says.
fn meant(error: RemoteError) -> BuildError {
    match error {
        other @ RemoteError::Other { .. } => BuildError::Sha256(other),
        error => error.into(),
    }
}

fn small(path: &Path, mut source: impl Read) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::io::copy(&mut source, &mut std::fs::File::create(path)?)?;
    Ok(())
}
