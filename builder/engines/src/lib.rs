//! docker and podman as sources and sinks of images
