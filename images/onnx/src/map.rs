//! Weight files as memory maps: the one place of this crate with `unsafe`.
//!
//! Base weights are read from the mapped file, so that they cost page cache, which the kernel may drop and read
//! again, and not memory of the process.
#![allow(unsafe_code)]

use std::path::Path;

use memmap2::Mmap;

use crate::error::TrainError;

/// A whole file, mapped read-only.
#[derive(Debug)]
pub struct Map {
    map: Mmap,
}

impl Map {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// It cannot be opened or mapped, or it is not a regular file.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let file = hone_files::open_regular(path).map_err(|source| TrainError::io("open", path, source))?;
        // SAFETY: the mapping is read-only and private to this value, which owns it until it is dropped, and every
        // slice of it borrows from this value. That nobody changes or cuts the file meanwhile is kept by its place:
        // an image's root filesystem, read-only while a trainer runs. If someone does it all the same, the reads
        // are of plain numbers, whose every bit pattern is valid, or the process ends with SIGBUS and leaves no
        // adapter.
        let map = unsafe { Mmap::map(&file) }.map_err(|source| TrainError::io("map", path, source))?;
        Ok(Self { map })
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}
