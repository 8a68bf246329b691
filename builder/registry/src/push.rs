//! Putting a blob into a repository: it is there, or is mounted from a neighbour, or is sent (`upload`).

use std::io::{self, Read};

use hone_image::hub::PATH;
use hone_image::oci::Descriptor;
use percent_encoding::utf8_percent_encode;
use ureq::http::{HeaderName, Method};

use crate::answer::Answer;
use crate::error::Error;
use crate::repository::Repository;
use crate::upload::{State, Upload};
use crate::wire::{Ask, Task};

/// The smallest chunk a registry takes (distribution-spec, "Pushing a blob in chunks").
const CHUNK_MIN: HeaderName = HeaderName::from_static("oci-chunk-min-length");
/// The largest chunk a registry may ask for (bytes).
const LARGEST_CHUNK: u64 = 1 << 30;
/// Where uploads begin.
const UPLOADS: &str = "blobs/uploads/";
/// Repositories that are tried as places to mount from.
const MAX_MOUNTS: usize = 4;

/// What it took for a blob to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// It was taken over from another repository of the registry.
    Mounted,
    /// It was sent.
    Sent {
        /// Bytes that went out, those that were sent twice included.
        bytes: u64,
    },
}

/// Opens the data to send at an offset.
pub type OpenAt<'a> = &'a dyn Fn(u64) -> io::Result<Box<dyn Read + Send>>;

impl Repository {
    /// Puts a blob into the repository.
    ///
    /// `mount_from`: repositories of the same registry that may have it. `open` gives the blob's bytes from an
    /// offset on; `seen` hears how many of them are over, which may go back when a transfer is taken up.
    ///
    /// # Errors
    /// When the registry refuses or is not reached in bounded time, or the data is not read.
    pub fn push_blob(
        &self,
        blob: &Descriptor,
        open: OpenAt<'_>,
        mount_from: &[&str],
        seen: &mut dyn FnMut(u64),
    ) -> Result<Pushed, Error> {
        let task = self.task(&format!("push blob {} to {}", blob.digest, self.name()));
        if self.holds_blob(&task, &self.push(), blob)? {
            return Ok(Pushed::Existed);
        }
        let mut start = None;
        for from in mount_from.iter().filter(|from| **from != self.path()).take(MAX_MOUNTS) {
            match self.mount(&task, blob, from)? {
                Mount::Done => return Ok(Pushed::Mounted),
                Mount::Upload(answer) => start = Some(answer),
                Mount::No => {}
            }
        }
        let start = match start {
            Some(answer) => self.begun(&task, answer)?,
            None => self.begin(&task)?,
        };
        let bytes = Upload::new(self, &task, blob, start).run(open, seen)?;
        Ok(Pushed::Sent { bytes })
    }

    /// Asks to take the blob over from another repository. A registry that cannot begins an upload instead.
    fn mount(&self, task: &Task, blob: &Descriptor, from: &str) -> Result<Mount, Error> {
        let query = format!("{UPLOADS}?mount={}&from={}", blob.digest, utf8_percent_encode(from, PATH));
        let scope = format!("{} repository:{from}:pull", self.push());
        let answer = match self.session.call(task, &scope, &Ask::new(Method::POST, self.url(&query))) {
            // A token service that does not know the other repository: then it is not ours to mount from.
            Err(Error::Answer { status: 400..=404, .. }) => return Ok(Mount::No),
            other => other?,
        };
        Ok(match answer.status() {
            201 => Mount::Done,
            202 => Mount::Upload(answer),
            _ => Mount::No,
        })
    }

    pub(crate) fn begin(&self, task: &Task) -> Result<State, Error> {
        let ask = Ask::new(Method::POST, self.url(UPLOADS));
        let answer = self.session.call(task, &self.push(), &ask)?;
        self.begun(task, answer)
    }

    fn begun(&self, task: &Task, answer: Answer) -> Result<State, Error> {
        if answer.status() != 202 {
            return Err(task.refused(answer));
        }
        let least = answer.text(&CHUNK_MIN).and_then(|t| t.parse().ok()).unwrap_or(0).min(LARGEST_CHUNK);
        let url = self.session.onward(task, &self.url(UPLOADS), &answer)?;
        let url = url.ok_or_else(|| task.protocol("begins an upload at no URL that may be followed"))?;
        Ok(State { url, at: 0, least })
    }
}

enum Mount {
    Done,
    Upload(Answer),
    No,
}
