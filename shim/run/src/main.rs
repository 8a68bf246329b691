//! The embedded engine: image to snapshot to bundle to container, no daemon.

mod snapshot;
mod unpack;

fn main() {}
