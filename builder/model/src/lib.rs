//! Headers of weight files (GGUF, safetensors) and model configurations, as values
