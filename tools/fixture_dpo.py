"""Makes fixtures/align: the losses of DPO and GRPO and their gradients for the tiny Llama of fixtures/gpt, computed by PyTorch in double precision as the
papers have them (Rafailov et al. 2023, Shao et al. 2024), without looking at pupil.

Run: python tools/fixture_dpo.py fixtures/gpt fixtures/align   (needs torch, safetensors). The Rust test reads what this wrote and needs no Python.
"""
import json
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from fixture_gpt import CONFIGS, logits_of

SPANS = [9, 7, 8, 6]  # two pairs, or two groups of two replies
PROMPTS = [3, 3, 4, 4]  # tokens of each that were given, not said


def said(c, w, ids):
    """The log-probabilities of each reply's tokens: a sequence predicts the id after each of its own."""
    found = []
    for sequence, prompt in zip(ids, PROMPTS):
        logs = logits_of(c, w, sequence[:-1]).log_softmax(-1).gather(1, sequence[1:, None])[:, 0]
        found.append(logs[prompt - 1:])
    return found


def dpo(logs, reference, beta, smoothing, normalised):
    size = (lambda x: x.mean()) if normalised else (lambda x: x.sum())
    losses = []
    for k in range(0, len(logs), 2):
        margin = beta * ((size(logs[k]) - size(reference[k])) - (size(logs[k + 1]) - size(reference[k + 1])))
        losses.append(-(1 - smoothing) * F.logsigmoid(margin) - smoothing * F.logsigmoid(-margin))
    return torch.stack(losses).mean()


def grpo(logs, sampled, reference, rewards, clip, beta):
    losses = []
    for k in range(0, len(logs), 2):
        group = torch.tensor(rewards[k:k + 2], dtype=torch.float64)
        advantages = (group - group.mean()) / (group.std() + 1e-4)
        for i, advantage in zip((k, k + 1), advantages):
            ratio = (logs[i] - sampled[i]).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
            away = reference[i] - logs[i]
            losses.append((-gain + beta * (away.exp() - away - 1)).mean())
    return torch.stack(losses).mean()


def main(models, out):
    c = CONFIGS["llama"]
    generator = torch.Generator().manual_seed(7)
    w = {n: t.double().requires_grad_() for n, t in load_file(pathlib.Path(models) / "llama/weights.safetensors").items()}
    ids = [torch.randint(c["vocab"], (n + 1,), generator=generator) for n in SPANS]
    with torch.no_grad():
        now = said(c, w, ids)
    # The reference and the model that sampled said something else: further off than the clip for some tokens.
    near = lambda by: [(x + by * torch.randn(x.shape, generator=generator, dtype=torch.float64)).float().double() for x in now]
    reference, sampled, rewards = near(0.3), near(0.3), [1.0, 0.0, 0.25, 1.0]
    cases = {
        "dpo": (lambda logs: dpo(logs, reference, 0.5, 0.0, False), dict(beta=0.5, smoothing=0.0, normalised=False)),
        "dpo-smooth": (lambda logs: dpo(logs, reference, 2.0, 0.1, True), dict(beta=2.0, smoothing=0.1, normalised=True)),
        "grpo": (lambda logs: grpo(logs, sampled, reference, rewards, 0.2, 0.1), dict(beta=0.1, clip=0.2)),
    }
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    about = dict(ids=[i.tolist() for i in ids], prompts=PROMPTS, rewards=rewards, cases={},
                 reference=[x.tolist() for x in reference], sampled=[x.tolist() for x in sampled])
    for name, (loss_of, settings) in cases.items():
        for p in w.values():
            p.grad = None
        loss = loss_of(said(c, w, ids))
        loss.backward()
        save_file({n: p.grad.float().contiguous() for n, p in w.items()}, folder / f"{name}.safetensors")
        about["cases"][name] = dict(settings, loss=loss.item())
        print(name, loss.item())
    about["made_by"] = f"tools/fixture_dpo.py, torch {torch.__version__}, double precision"
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
