//! What containerd's collector must leave alone for a while: everything that is written, or found to be there, under a lease.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{CreateRequest, DeleteRequest};
use prost_types::Timestamp;

use super::Client;
use crate::error::Error;

/// When a lease ends that nobody gave back: what containerd's own client takes.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);
/// The label that says when (containerd, core/leases).
const EXPIRES: &str = "containerd.io/gc.expire";

impl Client {
    /// The same connection, under a lease.
    pub(in super::super) fn leased(mut self) -> Result<Self, Error> {
        let mut service = LeasesClient::new(self.channel.clone());
        let end = Timestamp::from(SystemTime::now() + LEASE).to_string();
        let labels = HashMap::from([(EXPIRES.to_owned(), end)]);
        let operation = "take a lease";
        let made = self.ask(operation, service.create(self.request(CreateRequest { id: String::new(), labels })))?;
        let id = made.lease.unwrap_or_default().id;
        let header = id.parse().map_err(|_| self.refused(operation, &id))?;
        self.lease = Some((id, header));
        Ok(self)
    }

    /// Gives the lease back. Where that fails it ends by itself.
    pub(in super::super) fn release(mut self) {
        let Some((id, _)) = self.lease.take() else { return };
        let mut service = LeasesClient::new(self.channel.clone());
        self.take_back("give a lease back", service.delete(self.request(DeleteRequest { id, sync: false })));
    }
}
