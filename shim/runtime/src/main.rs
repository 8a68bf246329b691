//! OCI runtime: bundle to container on libcontainer

fn main() {}
