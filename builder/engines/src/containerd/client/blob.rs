//! A blob of the content store, read as it comes.

use std::io::{self, Read};
use std::rc::Rc;

use containerd_client::services::v1::{ReadContentRequest, ReadContentResponse};
use containerd_client::tonic::Streaming;
use hone_contract::Digest;
use hone_image::oci::{DocumentError, MAX_DOCUMENT_BYTES};

use super::Client;
use crate::error::Error;

/// A blob on its way from containerd.
pub(in super::super) struct Blob {
    client: Rc<Client>,
    digest: Digest,
    stream: Streaming<ReadContentResponse>,
    part: io::Cursor<Vec<u8>>,
}

impl Blob {
    /// Opens a blob; `None` when the namespace does not have it.
    pub(in super::super) fn open(client: &Rc<Client>, digest: Digest) -> Result<Option<Self>, Error> {
        let mut service = client.content_service();
        let request = client.request(ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 });
        let stream = client.found(&format!("read {digest}"), service.read(request))?;
        let part = io::Cursor::default();
        Ok(stream.map(|stream| Self { client: Rc::clone(client), digest, stream, part }))
    }

    /// Reads a document whole; `None` when it is not there.
    pub(in super::super) fn document(client: &Rc<Client>, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        let Some(size) = client.size(digest)? else { return Ok(None) };
        if size > MAX_DOCUMENT_BYTES {
            let source = DocumentError::TooLarge { what: "document", got: size };
            return Err(Error::Document { digest, source: Box::new(source.into()) });
        }
        let Some(blob) = Self::open(client, digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let operation = format!("read {digest}");
        let read = blob.take(MAX_DOCUMENT_BYTES).read_to_end(&mut bytes);
        read.map_err(|error| client.refused(&operation, &error.to_string()))?;
        match Digest::of(&bytes) == digest {
            true => Ok(Some(bytes)),
            false => Err(client.refused(&operation, "its bytes have another digest; pull or load the image again")),
        }
    }
}

impl Read for Blob {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let operation = format!("read {}", self.digest);
        loop {
            let got = self.part.read(to)?;
            if got > 0 || to.is_empty() {
                return Ok(got);
            }
            let next = self.client.wait(&operation, self.client.within, self.stream.message());
            match next.map_err(io::Error::other)? {
                Ok(Some(part)) => self.part = io::Cursor::new(part.data),
                Ok(None) => return Ok(0),
                Err(status) => return Err(io::Error::other(self.client.refused(&operation, status.message()))),
            }
        }
    }
}
