//! A connection to containerd: its own client, on a runtime of one thread, behind calls that block.
//!
//! Nothing else in `hone` enters an async runtime (`tests/tests/house.rs`). A runtime lives as long as its connection, and
//! nothing runs on it but the call that waits for it. Each call has a bound; an answer's size has one, too.

mod blob;
mod content;
#[cfg(test)]
pub(super) mod fake;
mod lease;

use std::cell::Cell;
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
use hone_contract::{chain, quoted};
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
/// How long it may take to take back what ends by itself.
const PARTING: Duration = Duration::from_secs(10);
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
    /// Whether an answer was waited for in vain.
    silent: Cell<bool>,
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
        Ok(Self {
            runtime,
            channel,
            address: path.to_owned(),
            namespace: header,
            lease: None,
            within,
            silent: Cell::new(false),
        })
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
        let described = |Image { name, target, .. }: Image| match self.described(target?) {
            Ok(target) => Some(target),
            // Such as one of another algorithm: it is in the way of no other.
            Err(error) => {
                log::warn!("image {} is passed over: {}", quoted(&name), chain(&error));
                None
            }
        };
        Ok(listed.images.into_iter().filter_map(described).collect())
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
        let mut updated = || self.found(&operation, service.update(self.request(update.clone())));
        if updated()?.is_some() {
            return Ok(());
        }
        let create = CreateImageRequest { image, source_date_epoch: None };
        let mut service = self.images_service();
        match self.wait(&operation, self.within, service.create(self.request(create)))? {
            Ok(_) => Ok(()),
            // Somebody else has named one so between the two.
            Err(status) if status.code() == Code::AlreadyExists && updated()?.is_some() => Ok(()),
            Err(status) => Err(self.refused(&operation, status.message())),
        }
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

    /// Takes something back that ends by itself, too: of a containerd that fell silent it is not asked.
    fn take_back<T>(&self, operation: &str, call: impl Future<Output = Result<Response<T>, Status>>) {
        if !self.silent.get() {
            let _ = self.wait(operation, PARTING.min(self.within), call);
        }
    }

    fn wait<T>(&self, operation: &str, within: Duration, call: impl Future<Output = T>) -> Result<T, Error> {
        // The timer needs the runtime when it is made, too.
        self.runtime.block_on(async { timeout(within, call).await }).map_err(|_| {
            self.silent.set(true);
            Error::Quiet { address: self.address.clone(), operation: operation.to_owned(), quiet: within }
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
    use std::rc::Rc;
    use std::sync::Mutex;
    use std::time::Instant;

    use containerd_client::services::v1::{
        CreateResponse, Info, InfoResponse, Lease, ListImagesResponse, UpdateImageResponse,
    };
    use hone_contract::Digest;

    use super::fake::{Answer, Fake};
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

    /// An image called so.
    fn listed(name: &str, digest: &str) -> Image {
        let target = types::Descriptor { digest: digest.to_owned(), ..types::Descriptor::default() };
        Image { name: name.to_owned(), target: Some(target), ..Image::default() }
    }

    #[test]
    fn an_image_of_another_algorithm_hides_no_other() {
        let digest = Digest::of(b"x");
        let images = vec![listed("odd", &format!("sha512:{}", "0".repeat(128))), listed("a", &digest.to_string())];
        let listed = ListImagesResponse { images };
        let fake = Fake::new(move |_, _| Answer::of(&listed));
        let found: Vec<Digest> = fake.client().images().expect("a list").iter().map(|image| image.digest).collect();
        assert_eq!(found, [digest]);
    }

    #[test]
    fn a_name_that_somebody_else_gives_meanwhile_is_set_all_the_same() {
        // Not there at first, then made by another, who may take it away again.
        for (again, fits) in [(Code::Ok, true), (Code::NotFound, false)] {
            let asked = Mutex::new(Vec::new());
            let fake = Fake::new(move |method, _| {
                let mut asked = asked.lock().expect("lock");
                asked.push(method.to_owned());
                let code = match asked.len() {
                    1 => Code::NotFound,
                    2 => Code::AlreadyExists,
                    _ => again,
                };
                let wanted = ["Update", "Create", "Update"];
                assert_eq!(asked.as_slice(), &wanted[..asked.len()]);
                if code == Code::Ok { Answer::of(&UpdateImageResponse::default()) } else { Answer::Refused(code) }
            });
            let target = Descriptor::of("application/x", Digest::of(b"x"), 1);
            assert_eq!(fake.client().set_image("a", &target).is_ok(), fits);
        }
    }

    #[test]
    fn a_containerd_that_fell_silent_is_asked_for_nothing_more() {
        let fake = Fake::new(|method, _| match method {
            "Create" => Answer::of(&CreateResponse { lease: Some(Lease { id: "l".to_owned(), ..Lease::default() }) }),
            _ => Answer::Silence,
        });
        let client = fake.client().leased().expect("a lease");
        let open = || -> io::Result<Box<dyn io::Read>> { Ok(Box::new(io::empty())) };
        let begun = Instant::now();
        let blob = Descriptor::of("application/x", Digest::of(b""), 0);
        let silent = client.write(&blob, &open, &|source| Error::unreached("", source)).expect_err("no answer");
        assert!(silent.is_silence(), "{silent}");
        client.release();
        assert!(begun.elapsed() < Duration::from_millis(1900), "{:?}", begun.elapsed());
        // One that answers until then is not waited for without end either.
        let begun = Instant::now();
        fake.client().leased().expect("a lease").release();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[test]
    fn silence_in_the_middle_of_a_blob_stays_silence() {
        let digest = Digest::of(b"x");
        let fake = Fake::new(|method, _| match method {
            "Info" => Answer::of(&InfoResponse { info: Some(Info { size: 1, ..Info::default() }) }),
            _ => Answer::Silence,
        });
        let client = Rc::new(fake.client());
        assert!(Blob::document(&client, digest).expect_err("no answer").is_silence());
        let Err(error) = Blob::open(&client, digest) else { panic!("no answer") };
        assert_eq!(error.into_io().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_namespace_that_is_none_is_refused() {
        let refused = Client::connect("/nowhere", "a\nb").err().expect("refused").to_string();
        assert_eq!(refused, r"containerd at /nowhere: use namespace a\nb: not a namespace");
    }
}
