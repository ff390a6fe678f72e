"""nanoGPT's CPU setting in PyTorch: char-tiny for 2,000 steps on Tiny Shakespeare, f32; prints seconds and validation loss.

Run: python benches/compare/shakespeare.py TEXT; against: pupil bench shakespeare --text TEXT
"""
import argparse
import json
import math
import time

import torch

from gpt import Model, optimiser

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("text")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--steps", type=int, default=2000)
parser.add_argument("--threads", type=int, default=2)
a = parser.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(a.seed)
text = open(a.text, encoding="utf-8").read()
characters = sorted(set(text))
table = {c: i for i, c in enumerate(characters)}
ids = torch.tensor([table[c] for c in text])
parts = ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10:]
model = Model("char-tiny")
update = optimiser(model)


def draw(part):
    n = model.context
    at = torch.randint(len(part) - n, (model.batch,))
    return torch.stack([part[o:o + n] for o in at]), torch.stack([part[o + 1:o + 1 + n] for o in at])


def rate(step, warm=100, top=1e-3, low=1e-4):
    if step < warm:
        return top * (step + 1) / (warm + 1)
    return low + (top - low) * 0.5 * (1 + math.cos(math.pi * (step - warm) / (a.steps - warm)))


begun = time.perf_counter()
for step in range(1, a.steps + 1):
    for group in update.param_groups:
        group["lr"] = rate(step - 1)
    loss = model(*draw(parts[0]))
    update.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    update.step()
    if step % 500 == 0 or step == a.steps:
        with torch.no_grad():
            train, validation = (sum(model(*draw(p)).item() for _ in range(200)) / 200 for p in parts)
        print(json.dumps(dict(step=step, train=train, validation=validation, seconds=time.perf_counter() - begun)), flush=True)
