"""PyTorch's training steps of one preset in one mode on random ids, as one JSON line."""
import argparse
import contextlib
import json
import resource
import statistics
import time

import torch

from gpt import PRESETS, Model, optimiser

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--preset", choices=PRESETS, required=True)
parser.add_argument("--mode", choices=["eager-f32", "eager-bf16", "compile-f32", "compile-bf16"], required=True)
parser.add_argument("--seconds", type=float, default=8)
parser.add_argument("--threads", type=int, default=2)
a = parser.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(1)
model = Model(a.preset)
update = optimiser(model)
run = torch.compile(model) if a.mode.startswith("compile") else model
half = a.mode.endswith("bf16")
rows = torch.randint(model.vocab, (32, model.batch, model.context + 1))
times, i, end = [], 0, None
while end is None or time.perf_counter() < end or len(times) < 3:
    row = rows[i % 32]
    begun = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
        loss = run(row[:, :-1].contiguous(), row[:, 1:].contiguous())
    update.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    update.step()
    last = loss.item()
    i += 1
    if i == 4:
        end = time.perf_counter() + a.seconds
    elif i > 4:
        times.append(time.perf_counter() - begun)
step = statistics.median(times)
print(json.dumps(dict(who="pytorch", torch=torch.__version__, preset=a.preset, mode=a.mode, steps=len(times), step_ms=1e3 * step,
                      tokens_per_s=model.batch * model.context / step, loss=last,
                      peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000)))
