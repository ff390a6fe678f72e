"""Makes fixtures/gpt: two tiny GPTs with their loss, gradients and ten AdamW steps, computed by PyTorch in double precision.

Run: python tools/fixture_gpt.py fixtures/gpt   (needs torch, safetensors, numpy). The Rust test reads what this wrote and needs no Python.
"""
import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

SPANS = [16, 9, 1]  # lengths of the sequences in the row

CONFIGS = {
    "nano": dict(vocab=37, context=16, layers=2, width=24, heads=3, kv_heads=3, hidden=96, llama=False, tied=True),
    "llama": dict(vocab=41, context=16, layers=2, width=32, heads=4, kv_heads=2, hidden=40, llama=True, tied=False),
}


def initial(c, generator):
    """Named weights; matrices are large enough for every path to matter, gains differ from one."""
    e, d = c["width"] // c["heads"], c["width"]
    shapes = {"tok.weight": (c["vocab"], d)}
    if not c["llama"]:
        shapes["pos.weight"] = (c["context"], d)
    for i in range(c["layers"]):
        b = f"blocks.{i}."
        shapes[b + "n1.weight"] = (d,)
        shapes[b + "qkv.weight"] = ((c["heads"] + 2 * c["kv_heads"]) * e, d)
        shapes[b + "proj.weight"] = (d, d)
        shapes[b + "n2.weight"] = (d,)
        shapes[b + "up.weight"] = (c["hidden"] * (2 if c["llama"] else 1), d)
        shapes[b + "down.weight"] = (d, c["hidden"])
    shapes["norm.weight"] = (d,)
    if not c["tied"]:
        shapes["head.weight"] = (c["vocab"], d)
    made = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        made[name] = (1 + 0.2 * noise if len(shape) == 1 else 0.15 * noise).float().double().requires_grad_()
    return made


def rotate(x, theta=10_000.0):
    """Rotary positions by halves; x is heads × tokens × width."""
    n, e = x.shape[1], x.shape[2]
    angle = torch.outer(torch.arange(n, dtype=x.dtype), theta ** (-torch.arange(0, e, 2, dtype=x.dtype) / e))
    a, b = x[..., : e // 2], x[..., e // 2 :]
    return torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()), -1)


def logits_of(c, w, ids):
    """One sequence through the model."""
    d, e = c["width"], c["width"] // c["heads"]
    norm = (lambda x, g: F.rms_norm(x, (d,), g, 1e-5)) if c["llama"] else (lambda x, g: F.layer_norm(x, (d,), g, None, 1e-5))
    x = w["tok.weight"][ids]
    if not c["llama"]:
        x = x + w["pos.weight"][: len(ids)]
    for i in range(c["layers"]):
        b = f"blocks.{i}."
        qkv = norm(x, w[b + "n1.weight"]) @ w[b + "qkv.weight"].T
        sizes = [c["heads"] * e, c["kv_heads"] * e, c["kv_heads"] * e]
        q, k, v = (part.view(len(ids), -1, e).transpose(0, 1) for part in qkv.split(sizes, 1))
        if c["llama"]:
            q, k = rotate(q), rotate(k)
        group = c["heads"] // c["kv_heads"]
        y = F.scaled_dot_product_attention(q, k.repeat_interleave(group, 0), v.repeat_interleave(group, 0), is_causal=True)
        x = x + y.transpose(0, 1).reshape(len(ids), d) @ w[b + "proj.weight"].T
        u = norm(x, w[b + "n2.weight"]) @ w[b + "up.weight"].T
        if c["llama"]:
            gate, u = u.chunk(2, 1)
            u = F.silu(gate) * u
        else:
            u = F.gelu(u)
        x = x + u @ w[b + "down.weight"].T
    return norm(x, w["norm.weight"]) @ w["tok.weight" if c["tied"] else "head.weight"].T


def loss_of(c, w, ids, targets):
    """The mean over all targets of all sequences."""
    parts = [logits_of(c, w, i) for i in torch.split(ids, SPANS)]
    return F.cross_entropy(torch.cat(parts), targets), torch.cat(parts)


def main(out):
    for seed, (name, c) in enumerate(CONFIGS.items()):
        g = torch.Generator().manual_seed(seed)
        w = initial(c, g)
        ids = torch.randint(c["vocab"], (sum(SPANS),), generator=g)
        targets = torch.randint(c["vocab"], (sum(SPANS),), generator=g)
        folder = pathlib.Path(out) / name
        folder.mkdir(parents=True, exist_ok=True)
        single = lambda tensors: {n: t.detach().float().contiguous() for n, t in tensors.items()}
        save_file(single(w), folder / "weights.safetensors")
        matrices = [p for p in w.values() if p.dim() > 1]
        vectors = [p for p in w.values() if p.dim() == 1]
        groups = [dict(params=matrices, weight_decay=0.1), dict(params=vectors, weight_decay=0.0)]
        optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), eps=1e-8)
        losses, norms = [], []
        for step in range(10):
            loss, logits = loss_of(c, w, ids, targets)
            optimiser.zero_grad()
            loss.backward()
            if step == 0:
                save_file(single({n: p.grad for n, p in w.items()}), folder / "gradients.safetensors")
                save_file({"logits": logits.detach().float()}, folder / "logits.safetensors")
            norms.append(float(torch.nn.utils.clip_grad_norm_(w.values(), 1.0)))
            losses.append(float(loss))
            optimiser.step()
        save_file(single(w), folder / "after.safetensors")
        about = dict(config=c, spans=SPANS, ids=ids.tolist(), targets=targets.tolist(), losses=losses, norms=norms)
        about["made_by"] = f"tools/fixture_gpt.py, torch {torch.__version__}, double precision"
        assert math.isfinite(sum(losses))
        (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")
        print(name, "losses", [round(x, 4) for x in losses])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "fixtures/gpt")
