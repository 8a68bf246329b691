//! The reference trainer: LoRA on stock ONNX Runtime

fn main() {}
