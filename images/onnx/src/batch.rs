//! Sequences of tokens laid out for one pass.
//!
//! Two layouts, whichever computes less: *padded*, every sequence a row of the length of the longest; or *packed*, all
//! in one row behind each other, with a mask that keeps them apart. Packing wastes no row on padding, and what all
//! sequences begin with (the system message and the template's opening) is computed once: every sequence looks at the
//! same rows, and their gradient is the sum. But it scores every position against every other. Sessions take any
//! shape, so the choice costs nothing; both give the same loss and gradients.

use hone_model::ModelConfig;

/// One tokenized example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Tokens.
    pub ids: Vec<u32>,
    /// Whether the model is asked to predict this token.
    pub scored: Vec<bool>,
}

impl Sequence {
    /// Tokens whose prediction is scored. The first of a sequence is predicted by nothing.
    pub fn targets(&self) -> usize {
        self.scored.iter().skip(1).filter(|s| **s).count()
    }
}

/// A batch ready for the graphs. A *row* is a position of a sequence, or padding.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Sequences side by side.
    pub count: usize,
    /// Rows of each.
    pub length: usize,
    /// Token of each row.
    pub ids: Vec<u32>,
    /// Position of each row in its sequence.
    pub positions: Vec<i64>,
    /// Token that each row is asked to predict, if any.
    pub targets: Vec<Option<u32>>,
    /// `[length, length]`: 0 where the row may look, a large negative number where not.
    pub mask: Vec<f32>,
    /// Tokens of the sequences, those computed once for several counted for each.
    pub tokens: usize,
}

/// What rows and pairs of positions cost, in any one unit: decides between the layouts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// A row.
    pub row: f64,
    /// A pair of positions that attention scores.
    pub pair: f64,
}

impl Costs {
    /// Multiplications of one row in a layer's projections, and of one pair in its attention.
    pub fn of(c: &ModelConfig) -> Self {
        let row = 2 * c.q_rows() * c.hidden + 2 * c.kv_rows() * c.hidden + 3 * c.inter * c.hidden;
        // Softmax and its kin are bound by memory: for each head they weigh as much as 64 products (measured).
        Self { row: row as f64, pair: (2 * c.q_rows() + 64 * c.heads) as f64 }
    }
}

/// Hidden from attention: its exponential is zero, and no sum with a score overflows.
const HIDDEN: f32 = -1e30;
/// Lengths are rounded up to this, so that buffers of a few sizes are used again.
const STEP: usize = 16;

impl Batch {
    /// Lays out sequences in the cheaper way.
    pub fn new(sequences: &[&Sequence], costs: Costs) -> Self {
        let longest = sequences.iter().map(|s| s.ids.len()).max().unwrap_or(0).next_multiple_of(STEP);
        let shared = shared(sequences);
        let sum = shared + sequences.iter().map(|s| s.ids.len() - shared).sum::<usize>();
        let sum = sum.next_multiple_of(STEP);
        let cost = |count: usize, length: usize| (count * length) as f64 * (costs.row + costs.pair * length as f64);
        if sequences.len() > 1 && cost(1, sum) < cost(sequences.len(), longest) {
            Self::packed(sequences, shared, sum)
        } else {
            Self::padded(sequences, longest)
        }
    }

    fn empty(count: usize, length: usize) -> Self {
        let rows = count * length;
        Self {
            count,
            length,
            ids: vec![0; rows],
            positions: vec![0; rows],
            targets: vec![None; rows],
            mask: vec![HIDDEN; length * length],
            tokens: 0,
        }
    }

    /// Puts a sequence's tokens from `skip` on at the rows from `first` on.
    fn place(&mut self, sequence: &Sequence, skip: usize, first: usize) {
        for (i, &id) in sequence.ids.iter().enumerate().skip(skip) {
            let row = first + i - skip;
            self.ids[row] = id;
            self.positions[row] = i as i64;
            if i > skip && sequence.scored[i] {
                self.targets[row - 1] = Some(id);
            }
        }
        self.tokens += sequence.ids.len();
    }

    fn padded(sequences: &[&Sequence], length: usize) -> Self {
        let mut batch = Self::empty(sequences.len(), length);
        for (i, sequence) in sequences.iter().enumerate() {
            batch.place(sequence, 0, i * length);
        }
        // Padding lies behind every token, where no token looks.
        for row in 0..length {
            batch.mask[row * length..=row * length + row].fill(0.0);
        }
        batch
    }

    fn packed(sequences: &[&Sequence], shared: usize, length: usize) -> Self {
        let mut batch = Self::empty(1, length);
        if let Some(sequence) = sequences.first() {
            for row in 0..shared {
                (batch.ids[row], batch.positions[row]) = (sequence.ids[row], row as i64);
                batch.mask[row * length..=row * length + row].fill(0.0);
            }
        }
        let mut first = shared;
        for sequence in sequences {
            batch.place(sequence, shared, first);
            let own = sequence.ids.len() - shared;
            for row in first..first + own {
                batch.mask[row * length..row * length + shared].fill(0.0);
                batch.mask[row * length + first..=row * length + row].fill(0.0);
            }
            first += own;
        }
        // A padding row sees itself: a softmax over nothing is not a number.
        for row in first..length {
            batch.mask[row * length + row] = 0.0;
        }
        batch
    }

    /// All rows, padding included.
    pub fn rows(&self) -> usize {
        self.count * self.length
    }

    /// Rows whose prediction is scored.
    pub fn scored(&self) -> usize {
        self.targets.iter().flatten().count()
    }
}

/// Tokens that all sequences begin with and whose rows have no scored target in any.
fn shared(sequences: &[&Sequence]) -> usize {
    let Some((head, rest)) = sequences.split_first() else { return 0 };
    // The row before the first scored token predicts it, so that row is each sequence's own.
    let unscored = |s: &Sequence| s.scored.iter().skip(1).take_while(|scored| !**scored).count();
    let common = |s: &Sequence| head.ids.iter().zip(&s.ids).take_while(|(a, b)| a == b).count();
    let most = rest.iter().map(|s| common(s).min(unscored(s))).min();
    most.map_or(0, |most| most.min(unscored(head)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(ids: &[u32], unscored: usize) -> Sequence {
        Sequence { ids: ids.to_vec(), scored: (0..ids.len()).map(|i| i >= unscored).collect() }
    }

    #[test]
    fn targets_are_the_next_tokens_where_scored() {
        let a = sequence(&[5, 6, 7], 2);
        let batch = Batch::padded(&[&a], 16);
        assert_eq!((batch.targets[0], batch.targets[1], batch.targets[2]), (None, Some(7), None));
        assert_eq!((batch.scored(), batch.tokens, a.targets()), (1, 3, 1));
        assert_eq!(sequence(&[5, 6], 0).targets(), 1);
    }

    #[test]
    fn packing_keeps_sequences_apart() {
        let (a, b) = (sequence(&[1, 2], 0), sequence(&[3, 4, 5], 0));
        let batch = Batch::packed(&[&a, &b], 0, 16);
        let sees = |row: usize| (0..16).filter(|&c| batch.mask[row * 16 + c] == 0.0).collect::<Vec<_>>();
        assert_eq!((sees(1), sees(2), sees(4), sees(9)), (vec![0, 1], vec![2], vec![2, 3, 4], vec![9]));
        assert_eq!(batch.positions[..5], [0, 1, 0, 1, 2]);
        assert_eq!(batch.targets[..5], [Some(2), None, Some(4), Some(5), None]);
    }

    #[test]
    fn a_common_beginning_is_computed_once() {
        let (a, b) = (sequence(&[9, 8, 7, 1, 2], 4), sequence(&[9, 8, 7, 3], 3));
        // Row 2 predicts b's first scored token, so only two rows are shared.
        assert_eq!(shared(&[&a, &b]), 2);
        let batch = Batch::packed(&[&a, &b], 2, 16);
        let sees = |row: usize| (0..16).filter(|&c| batch.mask[row * 16 + c] == 0.0).collect::<Vec<_>>();
        assert_eq!(batch.ids[..7], [9, 8, 7, 1, 2, 7, 3]);
        assert_eq!(batch.positions[..7], [0, 1, 2, 3, 4, 2, 3]);
        assert_eq!((sees(1), sees(4), sees(6)), (vec![0, 1], vec![0, 1, 2, 3, 4], vec![0, 1, 5, 6]));
        assert_eq!(batch.targets[..7], [None, None, None, Some(2), None, Some(3), None]);
        assert_eq!((batch.tokens, batch.scored()), (9, 2));
        assert_eq!(shared(&[&sequence(&[1, 2], 0), &sequence(&[1, 2], 0)]), 0);
        assert_eq!(shared(&[&a]), 0);
    }

    #[test]
    fn the_cheaper_layout_is_taken() {
        let costs = |pair| Costs { row: 1.0, pair };
        let (short, long) = (sequence(&[1; 20], 0), sequence(&[1; 90], 0));
        assert_eq!(Batch::new(&[&short, &long], costs(0.0)).count, 1);
        assert_eq!(Batch::new(&[&long, &long], costs(1.0)).count, 2);
        assert_eq!(Batch::new(&[&long], costs(1.0)).length, 96);
    }
}
