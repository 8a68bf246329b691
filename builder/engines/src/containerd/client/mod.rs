//! A connection to containerd: its own client, on a runtime of one thread, behind calls that block.
//!
//! Nothing else in `hone` enters an async runtime (`tests/tests/house.rs`). A runtime lives as long as its connection, and
//! nothing runs on it but the call that waits for it. Each call has a bound; an answer's size has one, too.

mod blob;
mod content;
mod lease;

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::time::Duration;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::services::v1::{
    CreateImageRequest, GetContainerRequest, GetImageRequest, Image, ListImagesRequest, UpdateImageRequest,
};
use containerd_client::tonic::metadata::{Ascii, MetadataValue};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, Request, Response, Status};
use containerd_client::types;
use hone_image::oci::Descriptor;
use prost_types::FieldMask;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

pub(super) use blob::Blob;

use crate::error::Error;

/// How long containerd may take to let somebody in.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a question may take: between two others containerd may collect what nobody refers to, and then answers nobody.
const ANSWER: Duration = Duration::from_secs(600);
/// Longest message (bytes): containerd's own bound.
const MAX_MESSAGE: usize = 16 << 20;

/// A connection, in one namespace.
pub(super) struct Client {
    runtime: Runtime,
    channel: Channel,
    address: String,
    namespace: MetadataValue<Ascii>,
    lease: Option<(String, MetadataValue<Ascii>)>,
    within: Duration,
}

impl Client {
    /// Connects to the containerd at `address`.
    pub(super) fn connect(address: &str, namespace: &str) -> Result<Self, Error> {
        Self::connect_within(address, namespace, CONNECT, ANSWER)
    }

    /// The same with bounds of its own: for the connection, and for each answer.
    pub(super) fn connect_within(
        address: &str,
        namespace: &str,
        connect: Duration,
        within: Duration,
    ) -> Result<Self, Error> {
        // As ctr takes it.
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let failed = |source| Error::unreached(path, source);
        let Ok(header) = namespace.parse() else {
            let operation = format!("use namespace {namespace}");
            return Err(Error::Containerd {
                address: path.to_owned(),
                operation,
                said: "not a namespace".to_owned(),
            });
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let reached = runtime.block_on(async { timeout(connect, containerd_client::connect(path)).await });
        let channel = match reached {
            Err(_) => return Err(failed(io::ErrorKind::TimedOut.into())),
            Ok(reached) => reached.map_err(|error| failed(io_cause(&error)))?,
        };
        Ok(Self { runtime, channel, address: path.to_owned(), namespace: header, lease: None, within })
    }

    /// Whether it answers at all.
    pub(super) fn version(&self) -> Result<(), Error> {
        let mut service = VersionClient::new(self.channel.clone());
        self.ask("ask for its version", service.version(self.request(()))).map(drop)
    }

    /// What an image's name stands for; `None` when there is no image of that name.
    pub(super) fn image(&self, name: &str) -> Result<Option<Descriptor>, Error> {
        let mut service = self.images_service();
        let request = self.request(GetImageRequest { name: name.to_owned() });
        let operation = format!("get image {name}");
        let got = self.found(&operation, service.get(request))?;
        got.and_then(|got| got.image?.target).map(|target| self.described(target)).transpose()
    }

    /// What all names stand for.
    pub(super) fn images(&self) -> Result<Vec<Descriptor>, Error> {
        let mut service = self.images_service();
        let request = self.request(ListImagesRequest { filters: Vec::new() });
        let listed = self.ask("list images", service.list(request))?;
        listed.images.into_iter().filter_map(|image| image.target).map(|target| self.described(target)).collect()
    }

    /// Makes a name stand for this document, whatever it stood for before.
    pub(super) fn set_image(&self, name: &str, target: &Descriptor) -> Result<(), Error> {
        let mut service = self.images_service();
        let target = types::Descriptor {
            media_type: target.media_type.clone(),
            digest: target.digest.to_string(),
            size: target.size.cast_signed(),
            annotations: target.annotations.clone().into_iter().collect(),
        };
        let image = Some(Image { name: name.to_owned(), target: Some(target), ..Image::default() });
        let operation = format!("name image {name}");
        let update_mask = Some(FieldMask { paths: vec!["target".to_owned()] });
        let update = UpdateImageRequest { image: image.clone(), update_mask, source_date_epoch: None };
        if self.found(&operation, service.update(self.request(update)))?.is_some() {
            return Ok(());
        }
        let create = CreateImageRequest { image, source_date_epoch: None };
        self.ask(&operation, service.create(self.request(create))).map(drop)
    }

    /// The name of the image that a container was made from.
    pub(super) fn image_of(&self, container: &str) -> Result<String, Error> {
        let mut service = ContainersClient::new(self.channel.clone());
        let request = self.request(GetContainerRequest { id: container.to_owned() });
        let got = self.ask(&format!("get container {container}"), service.get(request))?;
        Ok(got.container.unwrap_or_default().image)
    }

    /// What it does not have or do, in our words.
    pub(super) fn refused(&self, operation: &str, said: &str) -> Error {
        Error::Containerd { address: self.address.clone(), operation: operation.to_owned(), said: said.to_owned() }
    }

    fn images_service(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    fn described(&self, target: types::Descriptor) -> Result<Descriptor, Error> {
        let types::Descriptor { media_type, digest, size, annotations } = target;
        let digest = digest.parse().map_err(|_| self.refused("read an image's digest", &digest))?;
        let descriptor = Descriptor::of(&media_type, digest, size.try_into().unwrap_or(0));
        Ok(Descriptor { annotations: annotations.into_iter().collect(), ..descriptor })
    }

    /// A message with the headers that say where, and under which lease (containerd, pkg/namespaces and leases).
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.namespace.clone());
        if let Some((_, lease)) = &self.lease {
            request.metadata_mut().insert("containerd-lease", lease.clone());
        }
        request
    }

    /// Waits for an answer.
    fn ask<T>(&self, operation: &str, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
        let answer = self.wait(operation, self.within, call)?;
        answer.map(Response::into_inner).map_err(|status| self.refused(operation, status.message()))
    }

    /// Waits for an answer about something that may not be there.
    fn found<T>(
        &self,
        operation: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Option<T>, Error> {
        match self.wait(operation, self.within, call)? {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.refused(operation, status.message())),
        }
    }

    fn wait<T>(&self, operation: &str, within: Duration, call: impl Future<Output = T>) -> Result<T, Error> {
        // The timer needs the runtime when it is made, too.
        self.runtime.block_on(async { timeout(within, call).await }).map_err(|_| Error::Quiet {
            address: self.address.clone(),
            operation: operation.to_owned(),
            quiet: within,
        })
    }
}

/// Why a connection failed, as the system says it, which is wrapped several times.
fn io_cause(error: &containerd_client::tonic::transport::Error) -> io::Error {
    let mut cause = error.source();
    while let Some(next) = cause {
        if let Some(io) = next.downcast_ref::<io::Error>() {
            return io.raw_os_error().map_or_else(|| io.kind().into(), io::Error::from_raw_os_error);
        }
        cause = next.source();
    }
    io::Error::other(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn said(address: &str) -> String {
        let within = Duration::from_secs(1);
        let asked = Client::connect_within(address, "default", within, within).and_then(|client| client.version());
        let error = asked.expect_err("nobody answers");
        error.to_string()
    }

    #[test]
    fn a_containerd_that_is_not_there_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().expect("directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let absent = at("absent.sock");
        let want = format!("reach containerd at {absent}: is it running? CONTAINERD_ADDRESS names another socket");
        assert_eq!(said(&absent), want);
        assert_eq!(said(&format!("unix://{absent}")), want);
        // A socket whose listener is gone.
        drop(UnixListener::bind(dir.path().join("gone.sock")).expect("listen"));
        assert!(said(&at("gone.sock")).contains("is it running?"));
        let listener = UnixListener::bind(dir.path().join("mute.sock")).expect("listen");
        let mute = said(&at("mute.sock"));
        assert!(mute.ends_with("ask for its version: no answer for 1 seconds; does it hang?"), "{mute}");
        drop(listener);
        let forbidden = Error::unreached("/a", io::ErrorKind::PermissionDenied.into());
        assert!(forbidden.to_string().ends_with("only root may ask it, as a rule: use sudo"), "{forbidden}");
    }

    #[test]
    fn a_namespace_that_is_none_is_refused() {
        let refused = Client::connect("/nowhere", "a\nb").err().expect("refused").to_string();
        assert_eq!(refused, r"containerd at /nowhere: use namespace a\nb: not a namespace");
    }
}
