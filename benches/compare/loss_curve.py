"""Two hundred steps of PyTorch f32 on real text, with everything that pupil needs to repeat them from the same weights.

Run: python benches/compare/loss_curve.py TEXT FOLDER [--preset char-tiny]; then: pupil bench curve --fixture FOLDER
"""
import argparse
import json
import pathlib

import torch
from safetensors.torch import save_file

from gpt import PRESETS, Model, optimiser

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("text")
parser.add_argument("folder")
parser.add_argument("--preset", choices=["char-tiny", "char-small"], default="char-tiny")
parser.add_argument("--steps", type=int, default=200)
a = parser.parse_args()
torch.manual_seed(1)
text = open(a.text, encoding="utf-8").read()
characters = sorted(set(text))
ids = torch.tensor([characters.index(c) for c in text])
model = Model(a.preset)
assert len(characters) == model.vocab, f"{len(characters)} characters, the preset has {model.vocab}"
folder = pathlib.Path(a.folder)
folder.mkdir(parents=True, exist_ok=True)
save_file({n: p.detach().clone() for n, p in model.named_parameters()}, folder / "weights.safetensors")
ids.to(torch.int16).numpy().astype("<u2").tofile(folder / "tokens.bin")
update = optimiser(model)
cut, n = len(ids) * 9 // 10, model.context
offsets, losses = [], []
for _ in range(a.steps):
    at = torch.randint(cut - n, (model.batch,)).tolist()
    loss = model(torch.stack([ids[o:o + n] for o in at]), torch.stack([ids[o + 1:o + 1 + n] for o in at]))
    update.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    update.step()
    offsets.append(at)
    losses.append(loss.item())
about = dict(preset=a.preset, vocab=model.vocab, context=n, learning_rate=1e-3, offsets=offsets, losses=losses, torch=torch.__version__)
(folder / "curve.json").write_text(json.dumps(about))
print(f"{a.steps} steps: {losses[0]:.4f} to {losses[-1]:.4f}")
