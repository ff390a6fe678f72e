"""pupil against PyTorch's best mode, turn by turn on the same machine: medians, ratios, peak memory.

Run on a quiet machine, after `cargo build --release`:
  python benches/compare/compare.py --rounds 3 --seconds 8 --out benches/results/NAME.jsonl
"""
import argparse
import datetime
import json
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
# PyTorch's fastest mode of each preset on two cores with bf16 products, found by trying all four.
BEST = {"char-tiny": "compile-bf16", "char-small": "eager-bf16", "base-30m": "compile-bf16", "llama-30m": "compile-bf16"}

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--presets", nargs="+", default=list(BEST))
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--seconds", type=float, default=8)
parser.add_argument("--modes", nargs="+", help="PyTorch modes to try instead of the best known one")
parser.add_argument("--pupil", default="target/release/pupil")
parser.add_argument("--out", help="file for the raw lines")
a = parser.parse_args()


def last_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout.strip()
about = dict(date=datetime.date.today().isoformat(), machine=f"{cpu()}, {platform.machine()}", commit=commit)
lines = []
for preset in a.presets:
    ours, theirs = [], {}
    for r in range(a.rounds):
        mine = last_json([a.pupil, "bench", "train", "--preset", preset, "--seconds", str(a.seconds), "--json"])
        lines.append(dict(about, who="pupil", round=r, **mine))
        ours.append(mine)
        for mode in a.modes or [BEST[preset]]:
            other = last_json([sys.executable, str(HERE / "train.py"), "--preset", preset, "--mode", mode, "--seconds", str(a.seconds)])
            lines.append(dict(about, round=r, **other))
            theirs.setdefault(mode, []).append(other)
    median = lambda runs, key: statistics.median(run[key] for run in runs)
    mode = max(theirs, key=lambda m: median(theirs[m], "tokens_per_s"))
    mine, other = median(ours, "tokens_per_s"), median(theirs[mode], "tokens_per_s")
    memory = median(ours, "peak_rss_mb"), median(theirs[mode], "peak_rss_mb")
    print(f"{preset:11} pupil {mine:8.0f} tokens/s, PyTorch {mode} {other:8.0f}: {mine / other:.2f} times; "
          f"memory {memory[0]:.0f} MB, {memory[1]:.0f} MB: {100 * memory[0] / memory[1]:.0f} %", flush=True)
if a.out:
    with open(a.out, "a") as f:
        f.writelines(json.dumps(line) + "\n" for line in lines)
