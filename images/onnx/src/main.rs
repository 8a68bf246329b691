//! The reference trainer's program.

fn main() {}
