//! A pack into a registry: layers, documents, the name last; then the model's own tag, and what is said about it.

use std::io::{self, Read, Seek, SeekFrom};

use hone_contract::progress::Progress;
use hone_contract::{Digest, Reference};
use hone_files::open_regular;
use hone_image::oci::Descriptor;
use hone_image::{Pack, media};
use hone_registry::{Client, Pushed, Repository};
use hone_store::Store;

use crate::RemoteError;

/// Why a model has no tag of its own. The image's name stands for it all the same, as it does for who reads indexes.
const NO_MODEL_TAG: &str =
    "no tag of the model's own: with `-modelpack` it has more than 128 characters; take a shorter tag to have one";

/// What a push came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Blobs that went over.
    pub blobs: usize,
    /// Their bytes, those sent twice included.
    pub bytes: u64,
    /// Blobs that were there, or were taken over from another repository.
    pub known: usize,
}

/// `NAME:TAG-modelpack` (docs/store.md); `None` when no registry takes a tag as long as that.
pub fn modelpack_tag(name: &Reference) -> Option<Reference> {
    name.with_tag(&format!("{}-modelpack", name.tag())).ok()
}

/// Sends the pack as `name`; the name stands for it when everything is there.
///
/// # Errors
/// When the registry refuses, or a blob cannot be read.
pub fn push(
    client: &Client,
    store: &Store,
    name: &Reference,
    pack: &Pack,
    progress: &dyn Progress,
) -> Result<Sent, RemoteError> {
    let failed = |source: RemoteError| RemoteError::Push { name: Box::new(name.clone()), source: Box::new(source) };
    send(client, store, name, pack, progress).map_err(failed)
}

fn send(
    client: &Client,
    store: &Store,
    name: &Reference,
    pack: &Pack,
    progress: &dyn Progress,
) -> Result<Sent, RemoteError> {
    if let Some(absent) = pack.missing().first() {
        let way = match &absent.platform {
            Some(platform) if !absent.is_for_linux_or_nobody() => {
                format!("it is for {platform}, which is never fetched; push the image for Linux by its digest")
            }
            _ => "`hone pull --all-platforms` fetches it".to_owned(),
        };
        return Err(RemoteError::Absent { digest: absent.digest, way });
    }
    let model_tag = modelpack_tag(name);
    if let (Some(_), None) = (pack.model(), &model_tag) {
        progress.step(&format!("tag {}", name.tag()), None).noted(0, None, NO_MODEL_TAG);
    }
    let repository = client.repository(name)?;
    let push = Push { repository: &repository, store, mounts: neighbours(store, name, pack)?, progress };
    let mut sent = Sent::default();
    for layer in pack.layers() {
        push.blob(layer, &mut sent)?;
    }
    push.documents(pack, name.tag(), &mut sent)?;
    if let Some((model, tag)) = pack.model().zip(model_tag) {
        repository.push_manifest(tag.tag(), media::MANIFEST, model.manifest.bytes())?;
    }
    for referrer in store.referrers(pack.digest())? {
        for layer in &referrer.manifest.value().layers {
            push.blob(layer, &mut sent)?;
        }
        push.bytes(&referrer.manifest.value().config, referrer.config.bytes(), &mut sent)?;
        let digest = referrer.manifest.digest().to_string();
        repository.push_manifest(&digest, media::MANIFEST, referrer.manifest.bytes())?;
    }
    Ok(sent)
}

struct Push<'a> {
    repository: &'a Repository,
    store: &'a Store,
    mounts: Vec<String>,
    progress: &'a dyn Progress,
}

impl Push<'_> {
    fn blob(&self, blob: &Descriptor, sent: &mut Sent) -> Result<(), RemoteError> {
        let kind = blob.annotations.get(media::LAYER_KIND).map_or("blob", |kind| kind);
        let step = self.progress.step(&format!("push {kind} {}", blob.digest.short()), Some(blob.size));
        let path = self.store.blob_path(blob.digest);
        let open = |at: u64| -> io::Result<Box<dyn Read + Send>> {
            let mut file = open_regular(&path)?;
            file.seek(SeekFrom::Start(at))?;
            Ok(Box::new(file))
        };
        let mounts: Vec<&str> = self.mounts.iter().map(String::as_str).collect();
        let pushed = self.repository.push_blob(blob, &open, &mounts, &mut |n| step.seen(n))?;
        step.noted(blob.size, Some(blob.digest), count(pushed, sent));
        Ok(())
    }

    fn bytes(&self, blob: &Descriptor, bytes: &[u8], sent: &mut Sent) -> Result<(), RemoteError> {
        let open = |at: u64| -> io::Result<Box<dyn Read + Send>> {
            let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            Ok(Box::new(io::Cursor::new(bytes[from..].to_vec())))
        };
        count(self.repository.push_blob(blob, &open, &[], &mut |_| {})?, sent);
        Ok(())
    }

    /// Configurations are blobs; manifests go by digest, and the last of them, the root, by the tag.
    fn documents(&self, pack: &Pack, tag: &str, sent: &mut Sent) -> Result<(), RemoteError> {
        let root = pack.digest();
        for (descriptor, bytes) in pack.documents() {
            if descriptor.is_manifest() || descriptor.is_index() {
                let digest = descriptor.digest.to_string();
                let target = if descriptor.digest == root { tag } else { &digest };
                self.repository.push_manifest(target, &descriptor.media_type, bytes)?;
            } else {
                self.bytes(&descriptor, bytes, sent)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn count(pushed: Pushed, sent: &mut Sent) -> &'static str {
    match pushed {
        Pushed::Existed => {
            sent.known += 1;
            "exists already"
        }
        Pushed::Mounted => {
            sent.known += 1;
            "mounted"
        }
        Pushed::Sent { bytes } => {
            sent.blobs += 1;
            sent.bytes += bytes;
            "pushed"
        }
    }
}

/// Repositories of the same registry that a layer of this pack may be in: those of images here that share one.
fn neighbours(store: &Store, name: &Reference, pack: &Pack) -> Result<Vec<String>, RemoteError> {
    let ours: Vec<Digest> = pack.layers().iter().map(|d| d.digest).collect();
    let mut found = Vec::new();
    for (other, _, pack) in store.packs()? {
        let same_host = other.domain() == name.domain() && other.path() != name.path();
        let shares = |pack: &Pack| pack.layers().iter().any(|d| ours.contains(&d.digest));
        if same_host && !found.contains(&other.path().to_owned()) && shares(&pack) {
            found.push(other.path().to_owned());
        }
    }
    Ok(found)
}
