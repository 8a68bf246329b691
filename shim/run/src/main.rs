//! The embedded engine: image to snapshot to bundle to container, no daemon

fn main() {}
