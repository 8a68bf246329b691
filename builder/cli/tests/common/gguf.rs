//! A GGUF writer that believes whatever it is told, and a tiny llama written with it.

/// A file to be.
#[derive(Clone)]
pub struct Gguf {
    values: Vec<(String, Vec<u8>)>,
    pub tensors: Vec<(String, Vec<u64>, u32)>,
}

fn text(s: &str) -> Vec<u8> {
    [(s.len() as u64).to_le_bytes().as_slice(), s.as_bytes()].concat()
}

impl Gguf {
    /// A llama of one layer, width 32, with `tokens` tokens and `rows` rows in its embedding.
    pub fn llama(tokens: usize, rows: u64) -> Self {
        let mut file = Self { values: Vec::new(), tensors: Vec::new() };
        file.text("general.architecture", "llama");
        for (key, n) in [
            ("embedding_length", 32u32),
            ("feed_forward_length", 64),
            ("block_count", 1),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
        ] {
            file.raw(&format!("llama.{key}"), 4, &n.to_le_bytes());
        }
        if tokens > 0 {
            file.text("tokenizer.ggml.model", "gpt2");
            file.text("tokenizer.ggml.pre", "smollm");
            let names: Vec<String> = (0..tokens).map(|i| format!("t{i}")).collect();
            file.texts("tokenizer.ggml.tokens", &names);
        }
        file.tensors = [
            ("token_embd.weight", vec![rows, 32]),
            ("output_norm.weight", vec![32]),
            ("blk.0.attn_norm.weight", vec![32]),
            ("blk.0.attn_q.weight", vec![32, 32]),
            ("blk.0.attn_k.weight", vec![16, 32]),
            ("blk.0.attn_v.weight", vec![16, 32]),
            ("blk.0.attn_output.weight", vec![32, 32]),
            ("blk.0.ffn_norm.weight", vec![32]),
            ("blk.0.ffn_gate.weight", vec![64, 32]),
            ("blk.0.ffn_up.weight", vec![64, 32]),
            ("blk.0.ffn_down.weight", vec![32, 64]),
        ]
        .into_iter()
        .map(|(name, shape)| (name.to_owned(), shape, 0))
        .collect();
        file
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.values.retain(|(known, _)| known != key);
        self.raw(key, 8, &text(value));
    }

    fn raw(&mut self, key: &str, kind: u32, bytes: &[u8]) {
        self.values.push((key.to_owned(), [kind.to_le_bytes().as_slice(), bytes].concat()));
    }

    fn texts(&mut self, key: &str, items: &[String]) {
        let mut bytes = 8u32.to_le_bytes().to_vec();
        bytes.extend((items.len() as u64).to_le_bytes());
        items.iter().for_each(|s| bytes.extend(text(s)));
        self.raw(key, 9, &bytes);
    }

    /// The file; its numbers come from a linear congruential generator and are finite.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.values.len() as u64).to_le_bytes());
        for (key, value) in &self.values {
            out.extend(text(key));
            out.extend(value);
        }
        let mut offset = 0u64;
        let mut elements = 0u64;
        for (name, shape, kind) in &self.tensors {
            out.extend(text(name));
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            let count: u64 = shape.iter().product();
            elements += count;
            offset += (count * 4).next_multiple_of(32);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        let mut state = 1u32;
        for _ in 0..elements.next_multiple_of(8) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            out.extend(((state >> 8) as f32 / (1 << 24) as f32 - 0.5).to_le_bytes());
        }
        out
    }
}
