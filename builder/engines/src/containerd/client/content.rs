//! The content store: what is there, and how a blob gets there.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::{
    AbortRequest, Info, InfoRequest, StatusRequest, UpdateRequest, WriteAction, WriteContentRequest,
    WriteContentResponse,
};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Code, Status, Streaming};
use hone_contract::Digest;
use hone_image::oci::Descriptor;
use prost_types::FieldMask;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Client, MAX_MESSAGE};
use crate::error::Error;
use crate::watch::Patience;

/// Bytes sent at once, as containerd's own client does.
const PIECE: u64 = 1 << 20;
/// How often it is looked whether somebody else has written a blob.
const TICK: Duration = Duration::from_millis(200);

/// A write that has begun.
struct Writer {
    to: mpsc::Sender<WriteContentRequest>,
    from: Streaming<WriteContentResponse>,
    /// What is there already: of a write that was interrupted, or of a blob that another namespace has.
    offset: u64,
}

impl Writer {
    async fn pass(&mut self, request: WriteContentRequest) -> Result<WriteContentResponse, Status> {
        // When nobody takes it the answers end, too, and say why.
        let _ = self.to.send(request).await;
        self.from.message().await?.ok_or_else(|| Status::unknown("it ended without an answer"))
    }
}

impl Client {
    /// The size of a blob; `None` when the namespace does not have it.
    pub(in super::super) fn size(&self, digest: Digest) -> Result<Option<u64>, Error> {
        let mut service = self.content_service();
        let request = self.request(InfoRequest { digest: digest.to_string() });
        let info = self.found(&format!("look for {digest}"), service.info(request))?;
        Ok(info.and_then(|got| got.info).map(|info| info.size.try_into().unwrap_or(0)))
    }

    /// Sends a blob that the namespace lacks: how many bytes went over. One that is there is under the lease from then on,
    /// and one that only another namespace has is taken from there.
    ///
    /// `failed` says what it is that cannot be read.
    pub(in super::super) fn write(
        &self,
        blob: &Descriptor,
        open: &dyn Fn() -> io::Result<Box<dyn Read>>,
        failed: &dyn Fn(io::Error) -> Error,
    ) -> Result<u64, Error> {
        let Some(writer) = self.begin(blob)? else { return Ok(0) };
        let there = writer.offset;
        let sent = self.send(writer, blob, open, failed);
        if sent.is_err() {
            // Else who tries again goes on with bytes that are perhaps the wrong ones; what is left of it expires.
            let mut service = self.content_service();
            self.take_back("give a write up", service.abort(self.request(AbortRequest { r#ref: ingest(blob) })));
        }
        sent.map(|()| blob.size.saturating_sub(there))
    }

    /// Begins to write; `None` when the blob is there. While somebody else writes it, that is waited for.
    fn begin(&self, blob: &Descriptor) -> Result<Option<Writer>, Error> {
        let operation = format!("write {}", blob.digest);
        let (mut seen, mut since) = (None, Instant::now());
        loop {
            let status = match self.wait(&operation, self.within, self.open_writer(blob))? {
                Ok(writer) => return Ok(Some(writer)),
                Err(status) => status,
            };
            match status.code() {
                Code::AlreadyExists => return Ok(None),
                Code::Unavailable if status.message().contains("locked") => {}
                _ => return Err(self.refused(&operation, status.message())),
            }
            let written = self.written(blob)?;
            if written != seen {
                (seen, since) = (written, Instant::now());
            }
            if since.elapsed() > self.within {
                return Err(self.refused(&operation, status.message()));
            }
            thread::sleep(TICK);
        }
    }

    /// How far somebody else has come.
    fn written(&self, blob: &Descriptor) -> Result<Option<i64>, Error> {
        let mut service = self.content_service();
        let request = self.request(StatusRequest { r#ref: ingest(blob) });
        let got = self.found(&format!("ask how far {} is written", blob.digest), service.status(request))?;
        Ok(got.and_then(|got| got.status).map(|status| status.offset))
    }

    async fn open_writer(&self, blob: &Descriptor) -> Result<Writer, Status> {
        let (to, requests) = mpsc::channel(1);
        // The channel is empty, and has its end.
        let _ = to.try_send(message(blob, WriteAction::Stat, 0, Vec::new()));
        let call = self.content_service().write(self.request(ReceiverStream::new(requests))).await;
        let mut from = call?.into_inner();
        let first = from.message().await?.ok_or_else(|| Status::unknown("it ended without an answer"))?;
        Ok(Writer { to, from, offset: first.offset.try_into().unwrap_or(0) })
    }

    fn send(
        &self,
        mut writer: Writer,
        blob: &Descriptor,
        open: &dyn Fn() -> io::Result<Box<dyn Read>>,
        failed: &dyn Fn(io::Error) -> Error,
    ) -> Result<(), Error> {
        let operation = format!("write {}", blob.digest);
        let pass = |writer: &mut Writer, request, within| match self.wait(&operation, within, writer.pass(request))? {
            Ok(_) => Ok(true),
            // Another namespace, or somebody under another name, was faster.
            Err(status) if status.code() == Code::AlreadyExists => Ok(false),
            Err(status) => Err(self.refused(&operation, status.message())),
        };
        if writer.offset != blob.size {
            let mut from = open().map_err(failed)?;
            let there = io::copy(&mut from.by_ref().take(writer.offset), &mut io::sink()).map_err(failed)?;
            let mut offset = there;
            loop {
                let mut piece = Vec::new();
                from.by_ref().take(PIECE).read_to_end(&mut piece).map_err(failed)?;
                let got = piece.len() as u64;
                if got == 0 || offset + got > blob.size {
                    offset += got;
                    break;
                }
                if !pass(&mut writer, message(blob, WriteAction::Write, offset, piece), self.within)? {
                    return Ok(());
                }
                offset += got;
            }
            if offset != blob.size {
                let more = if offset > blob.size { "or more " } else { "" };
                let why = format!("got {offset} {more}bytes, want {}", blob.size);
                return Err(failed(io::Error::new(io::ErrorKind::InvalidData, why)));
            }
        }
        let stored = Patience::of(self.within).storing(blob.size).quiet();
        pass(&mut writer, message(blob, WriteAction::Commit, blob.size, Vec::new()), stored).map(drop)
    }

    /// Labels a document with what it leads to, so that the collector spares that as long as the document itself.
    pub(in super::super) fn label(&self, digest: Digest, labels: &BTreeMap<String, String>) -> Result<(), Error> {
        let mut service = self.content_service();
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let labels: HashMap<_, _> = labels.clone().into_iter().collect();
        let info = Some(Info { digest: digest.to_string(), labels, ..Info::default() });
        let update = UpdateRequest { info, update_mask: Some(FieldMask { paths }) };
        self.ask(&format!("label {digest}"), service.update(self.request(update))).map(drop)
    }

    pub(super) fn content_service(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }
}

/// The name of a write: who is interrupted goes on with it.
fn ingest(blob: &Descriptor) -> String {
    format!("hone-{}", blob.digest)
}

fn message(blob: &Descriptor, action: WriteAction, offset: u64, data: Vec<u8>) -> WriteContentRequest {
    WriteContentRequest {
        action: action.into(),
        r#ref: ingest(blob),
        total: blob.size.cast_signed(),
        // At a write it asks for nothing but another look for the blob.
        expected: if action == WriteAction::Write { String::new() } else { blob.digest.to_string() },
        offset: offset.cast_signed(),
        data,
        ..WriteContentRequest::default()
    }
}
