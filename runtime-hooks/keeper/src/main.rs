//! Beside a running trainer: waits for its exit status, then seals and commits

fn main() {}
