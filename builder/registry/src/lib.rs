//! Distribution: registries and other HTTP sources of models.
//!
//! Three things over one blocking HTTP client: repositories of the OCI distribution-spec ([`Repository`]),
//! files behind URLs ([`Download`]), models of a hub ([`hub`]). Memory does not grow with what is moved; every
//! wait and every answer is bounded; lost connections are taken up where they broke.
//!
//! What comes is verified by whom it concerns: manifests here, against their digest; blobs and files by the
//! caller, who writes them (the store's verifying writer). Nothing here touches the disk but credentials and certificates.

mod answer;
mod auth;
mod client;
mod credentials;
mod documents;
pub mod download;
mod error;
pub mod hub;
pub mod login;
mod ordered;
mod pace;
pub mod parse;
mod proxy;
mod push;
mod reach;
mod referrers;
mod repository;
mod retry;
mod session;
mod source;
mod tls;
mod trust;
mod upload;
mod wire;

pub use client::{Client, Options};
pub use credentials::{auth_files, stores_credential};
pub use download::Download;
pub use error::{Cause, Error};
pub use pace::Pace;
pub use push::{OpenAt, Pushed};
pub use reach::{Notice, Unverified};
pub use repository::{Fetched, Repository};
pub use retry::Retry;
pub use source::Source;
pub use trust::cert_dirs;
