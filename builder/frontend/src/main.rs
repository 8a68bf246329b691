//! BuildKit gateway frontend.

fn main() {}
