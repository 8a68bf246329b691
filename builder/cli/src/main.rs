//! The front door of Hone: build, images, versions

fn main() {}
