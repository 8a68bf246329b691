//! OCI runtime: bundle to container on libcontainer
