//! A blob of the content store, read as it comes.

use std::io::{self, Read};
use std::rc::Rc;

use containerd_client::services::v1::{ReadContentRequest, ReadContentResponse};
use containerd_client::tonic::{Code, Streaming};
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

    /// Reads a document whole, of whatever digest it is; `None` when it is not there.
    pub(in super::super) fn document(client: &Rc<Client>, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        let Some(size) = client.size(digest)? else { return Ok(None) };
        if size > MAX_DOCUMENT_BYTES {
            return Err(too_large(digest, size));
        }
        let Some(mut blob) = Self::open(client, digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        while let Some(part) = blob.next()? {
            bytes.extend(part);
            if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
                return Err(too_large(digest, bytes.len() as u64));
            }
        }
        Ok(Some(bytes))
    }

    /// What comes next; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let operation = format!("read {}", self.digest);
        match self.client.wait(&operation, self.client.within, self.stream.message())? {
            Ok(part) => Ok(part.map(|part| part.data)),
            // That is not this blob's: nothing else could be read either.
            Err(status) if status.code() == Code::Unavailable => {
                Err(self.client.refused(&operation, status.message()))
            }
            Err(status) => Err(Error::unread(self.digest, status.message())),
        }
    }
}

fn too_large(digest: Digest, got: u64) -> Error {
    Error::Document { digest, source: Box::new(DocumentError::TooLarge { what: "document", got }) }
}

impl Read for Blob {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self.part.read(to)?;
            if got > 0 || to.is_empty() {
                return Ok(got);
            }
            match self.next().map_err(Error::into_io)? {
                Some(part) => self.part = io::Cursor::new(part),
                None => return Ok(0),
            }
        }
    }
}
