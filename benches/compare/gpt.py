"""The benchmark presets as a PyTorch model, shared by the scripts in this folder: the same arithmetic as pupil's presets."""
import math

import torch
from torch import nn
from torch.nn import functional as F

# layers, query heads, key-value heads, width, context, sequences in a step, vocabulary, hidden width of SwiGLU (0: GELU, 4 × width)
PRESETS = {
    "char-tiny": (4, 4, 4, 128, 64, 12, 65, 0),
    "char-small": (6, 6, 6, 384, 256, 16, 65, 0),
    "base-30m": (8, 8, 8, 512, 512, 4, 8192, 0),
    "llama-30m": (8, 8, 4, 512, 512, 4, 8192, 1376),
}


class Layer(nn.Module):
    def __init__(self, heads, kv, width, hidden):
        super().__init__()
        self.heads, self.kv, self.each, self.gated = heads, kv, width // heads, hidden > 0
        norm = nn.RMSNorm if self.gated else lambda w: nn.LayerNorm(w, bias=False)
        inner = hidden or 4 * width
        self.n1, self.n2 = norm(width), norm(width)
        self.qkv = nn.Linear(width, (heads + 2 * kv) * self.each, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, inner * (2 if self.gated else 1), bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x, angles):
        b, t, w = x.shape
        sizes = [n * self.each for n in (self.heads, self.kv, self.kv)]
        q, k, v = (part.view(b, t, -1, self.each).transpose(1, 2) for part in self.qkv(self.n1(x)).split(sizes, -1))
        if self.gated:
            q, k = turn(q, angles), turn(k, angles)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.kv < self.heads)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, w))
        u = self.up(self.n2(x))
        if self.gated:
            gate, u = u.chunk(2, -1)
            return x + self.down(F.silu(gate) * u)
        return x + self.down(F.gelu(u))


def turn(x, angles):
    cos, sin = angles
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).type_as(x)


class Model(nn.Module):
    def __init__(self, preset):
        super().__init__()
        layers, heads, kv, width, context, self.batch, self.vocab, hidden = PRESETS[preset]
        self.context, self.width, self.layers = context, width, layers
        self.tok = nn.Embedding(self.vocab, width)
        self.pos = None if hidden else nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Layer(heads, kv, width, hidden) for _ in range(layers))
        self.norm = nn.RMSNorm(width) if hidden else nn.LayerNorm(width, bias=False)
        each = width // heads
        angle = torch.outer(torch.arange(context).float(), 10_000.0 ** (-torch.arange(0, each, 2).float() / each))
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                ends = name.endswith(("proj.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if ends else 0.02)

    def forward(self, ids, targets):
        x = self.tok(ids)
        if self.pos is not None:
            x = x + self.pos.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, (self.cos, self.sin))
        logits = self.norm(x) @ self.tok.weight.T
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def optimiser(model, rate=1e-3):
    wide = [p for p in model.parameters() if p.dim() > 1]
    thin = [p for p in model.parameters() if p.dim() == 1]
    groups = [dict(params=wide, weight_decay=0.1), dict(params=thin, weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True)
