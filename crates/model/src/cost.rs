//! What a GPT costs: parameters, arithmetic, memory. Derived from the settings alone, checked against a real pass in tests.

use crate::gpt::{Config, NormKind, NormPlace, Positions};

impl Config {
    /// Numbers in all parameters, a shared table counted once.
    pub fn parameter_count(&self) -> u64 {
        let positions = if self.positions == Positions::Learned { self.context * self.width } else { 0 };
        let heads = if self.tied { 1 } else { 2 };
        let vectors = self.width * if self.norm == NormKind::LayerBias { 2 } else { 1 };
        let norms = match self.norm_place {
            NormPlace::Pre => 2 * self.layers + 1,
            NormPlace::Post => 2 * self.layers,
            NormPlace::Sandwich => 4 * self.layers + 1,
        };
        let (qkv, up) = (self.qkv_columns(), self.up_columns());
        let mut block = self.block_matrices();
        block += if self.qkv_bias { qkv } else { 0 };
        block += if self.bias { self.width + up + self.width } else { 0 };
        block += if self.qk_norm { 2 * self.head_width } else { 0 };
        (heads * self.vocab * self.width + positions + norms * vectors) as u64
            + self.layers as u64 * block as u64
    }

    /// Columns of the fused projection, (H + 2K)·E.
    pub fn qkv_columns(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_width
    }

    /// Columns of the first projection of the position-wise network, F or 2F.
    pub fn up_columns(&self) -> usize {
        self.hidden * if self.mlp.is_gated() { 2 } else { 1 }
    }

    /// Numbers in the matrices of one block.
    fn block_matrices(&self) -> usize {
        self.width * (self.qkv_columns() + self.heads * self.head_width + self.up_columns() + self.hidden)
    }

    /// Floating-point operations of one training step for each token: 6 for each number of a matrix that it is multiplied by
    /// (2 forward, 4 backward; the output layer once), and 12·H·E·T a layer for scores and their use, over the full square although
    /// half of it is masked, as is usual when utilisation is quoted.
    pub fn training_flops_per_token(&self, context: usize) -> f64 {
        let matrices = (self.layers * self.block_matrices() + self.vocab * self.width) as f64;
        6.0 * matrices + 12.0 * (self.layers * self.heads * self.head_width * context) as f64
    }

    /// Bytes of activations that a training step of `tokens` tokens holds at its peak, `operand` being the bytes of an element of the
    /// matrix operands (2 in bf16, 4 in f32).
    ///
    /// Saved by each block: its two inputs to norms (f32), both norms' results, the projection, attention's result, the
    /// network's first projection and its activation (operands), and the norms' and softmax's numbers for each row (f32).
    /// On top of that come the output layer's chunk of logits and its gradient, or the gradients within a block, whichever is more.
    pub fn activation_bytes(&self, tokens: usize, operand: usize) -> usize {
        let d = self.width;
        let saved_operands =
            2 * d + self.qkv_columns() + self.heads * self.head_width + self.up_columns() + self.hidden;
        let row_numbers = match self.norm {
            NormKind::Layer | NormKind::LayerBias => 4,
            NormKind::Rms | NormKind::RmsPlusOne => 2,
        };
        let block = saved_operands * operand + (2 * d + row_numbers + self.heads) * 4;
        let rows = ((4 << 20) / self.vocab).clamp(64, tokens.max(64)).min(tokens);
        let head = rows * self.vocab * (4 + if operand == 2 { 2 } else { 0 }) + tokens * d * operand;
        let within = tokens * (4 * d + operand * (self.up_columns() + self.hidden.max(self.qkv_columns())));
        tokens * (self.layers * block + d * (4 + operand)) + head.max(within)
    }
}
