//! Generation: greedy, with the keys and values of what was read kept.

use ort::value::DynValue;

use crate::adapter::Adapter;
use crate::engine::{Shapes, embed, layer_spec, weight_input};
use crate::error::{Result, TrainError};
use crate::graph::forward_cached;
use crate::head::Head;
use crate::layers::{Layers, Residence};
use crate::rope::Rope;
use crate::runtime::{self, Program, Runtime, floats, integers};
use crate::text::Text;
use crate::weights::Weights;

/// A model reading one text.
pub struct Reader<'w> {
    weights: &'w Weights,
    adapter: Option<&'w Adapter>,
    layers: Layers<'w>,
    program: Program,
    head: Head<'w>,
    rope: Rope,
    /// Keys and values of each layer.
    cache: Vec<(DynValue, DynValue)>,
    seen: usize,
}

impl<'w> Reader<'w> {
    /// Makes the sessions.
    ///
    /// # Errors
    /// The model's files or ONNX Runtime fail.
    pub fn new(
        runtime: &Runtime,
        weights: &'w Weights,
        adapter: Option<&'w Adapter>,
        residence: Residence,
    ) -> Result<Self> {
        let config = weights.config();
        let empty = [1, config.kv_heads as usize, 0, config.head_dim as usize];
        let pair = |_| Ok((runtime::tensor(&empty, Vec::new())?, runtime::tensor(&empty, Vec::new())?));
        Ok(Self {
            weights,
            adapter,
            layers: Layers::new(weights, residence)?,
            program: runtime.program("forward_cached", &forward_cached(&layer_spec(config, adapter)))?,
            head: Head::for_generation(runtime, weights)?,
            rope: Rope::new(config),
            cache: (0..config.layers).map(pair).collect::<Result<_>>()?,
            seen: 0,
        })
    }

    /// Reads more tokens; gives what the last layer makes of them.
    fn read(&mut self, ids: &[u32]) -> Result<DynValue> {
        let config = self.weights.config();
        let (n, all) = (ids.len(), self.seen + ids.len());
        let most = config.max_positions as usize;
        if all > most {
            return Err(TrainError::setting("text", format!("{all} tokens"), format!("at most the model's {most}")));
        }
        let shapes = Shapes::new(config, 1, n, all);
        let positions: Vec<i64> = (self.seen as i64..all as i64).collect();
        let mut mask = vec![0.0f32; n * all];
        for row in 0..n {
            mask[row * all + self.seen + row + 1..(row + 1) * all].fill(-1e30);
        }
        self.rope.reach(all);
        let mut x = runtime::tensor(&[n, config.hidden as usize], embed(self.weights, ids)?)?;
        for layer in 0..self.layers.len() {
            self.layers.load(layer)?;
            let (past_k, past_v) = &self.cache[layer];
            let results = self.program.run(|name| match name {
                "x" => Ok((&x).into()),
                "past.k" => Ok(past_k.into()),
                "past.v" => Ok(past_v.into()),
                "positions" => integers(&[1, n], &positions),
                "mask" => floats(&[n, all], &mask),
                _ => match shapes.get(name) {
                    Some(shape) => integers(&[4], shape),
                    None => weight_input(&self.layers, &self.rope, self.adapter, layer, name),
                },
            })?;
            let [y, k, v] = <[DynValue; 3]>::try_from(results)
                .map_err(|_| TrainError::setting("graph forward_cached", "other outputs", "y, k and v"))?;
            (x, self.cache[layer]) = (y, (k, v));
        }
        self.seen = all;
        Ok(x)
    }

    /// Reads more tokens; gives the logits of each.
    ///
    /// # Errors
    /// A token is outside the vocabulary, the text is too long, or ONNX Runtime fails.
    pub fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let x = self.read(ids)?;
        self.head.logits(runtime::read(&x)?)
    }

    /// Reads more tokens; gives the likeliest next one.
    ///
    /// # Errors
    /// As [`Self::logits`].
    pub fn next(&mut self, ids: &[u32]) -> Result<u32> {
        let x = self.read(ids)?;
        let x = runtime::read(&x)?;
        let last = x.len() - self.weights.config().hidden as usize;
        let logits = self.head.logits(&x[last..])?;
        // The first of equals, as other programs do.
        let mut best = 0;
        for (id, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = id;
            }
        }
        Ok(best as u32)
    }
}

/// Continues `prompt` by at most `most` tokens, giving each piece of text to `say` as soon as it is certain.
///
/// # Errors
/// As [`Reader::logits`], or what `say` returns.
pub fn generate(
    reader: &mut Reader<'_>,
    text: &Text,
    prompt: &[u32],
    most: usize,
    say: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut ids = Vec::new();
    let mut said = 0;
    let mut next = if most == 0 { return Ok(()) } else { reader.next(prompt)? };
    while !text.is_end(next) {
        ids.push(next);
        let words = text.decode(&ids)?;
        // A character can take several tokens; until the last of them it decodes to U+FFFD.
        let certain = words.trim_end_matches('\u{fffd}').len();
        if certain > said {
            say(&words[said..certain])?;
            said = certain;
        }
        if ids.len() >= most {
            break;
        }
        next = reader.next(&[next])?;
    }
    let words = text.decode(&ids)?;
    if words.len() > said { say(&words[said..]) } else { Ok(()) }
}
