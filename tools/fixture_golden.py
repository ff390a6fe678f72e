"""Makes fixtures/golden: a small model and texts that it must write again word for word.

usage: python tools/fixture_golden.py PUPIL FOLDER        (about two minutes on one core)

The model is trained by pupil itself (the command stands in its card). Of many prompts those are kept whose every next token leads by MARGIN
nats or more, so that the rounding of other vector instructions cannot change the text; no other program is needed.
"""

import json
import pathlib
import shutil
import subprocess
import sys

MARGIN = 0.3
NEW = 24
WANTED = 6
TRAIN = "--layers 2 --width 64 --heads 2 --context 64 --vocab 512 --batch-tokens 2048 --steps 1200 --lr 4e-3 --muon 8e-3 --dtype f32 --seed 1"
PROMPTS = [
    "Once upon a time", "One day", "The", "There was a", "She", "He", "It was", "hello", "The dog", "The cat", "In the morning",
    "At night", "The sun", "My name is", "I like", "What is", "They went", "A bird", "The little girl", "The old man", "Then",
    "After that", "In the end", "Mother", "The tree", "A boy named", "The friends", "Every day", "When it rained", "The river",
]


def run(*command):
    return subprocess.run(command, check=True, capture_output=True).stdout


def margins(pupil, model, ids, begin):
    flags = ["--dtype", "f32", "--ids", ",".join(map(str, ids))]
    scores = json.loads(run(pupil, "debug", "logits", "-m", model, *flags))
    for at in range(begin, len(ids)):
        row = scores[at - 1]
        own = row[ids[at]]
        yield own - max(s for i, s in enumerate(row) if i != ids[at])


def main(pupil, folder):
    folder = pathlib.Path(folder)
    out = pathlib.Path("golden")
    shutil.rmtree(out, ignore_errors=True)
    run(pupil, "pretrain", "--out", str(out), *TRAIN.split())
    model = folder / "model"
    shutil.rmtree(model, ignore_errors=True)
    shutil.copytree(out / "model", model)
    shutil.rmtree(out)
    found = []
    for prompt in PROMPTS:
        flags = ["--dtype", "f32", "--temp", "0", "--max-new", str(NEW)]
        text = run(pupil, "generate", "-m", str(model), *flags, prompt).decode().rstrip("\n")
        process = subprocess.run(
            [pupil, "debug", "ids", "-m", str(model)], input=json.dumps([prompt, prompt + text]).encode(), check=True, capture_output=True
        )
        begin, ids = json.loads(process.stdout)
        # The text must be cut into the tokens that were generated, prompt and all.
        if len(ids) <= len(begin) or ids[: len(begin)] != begin:
            continue
        found.append((min(margins(pupil, str(model), ids, len(begin))), prompt, text))
    found.sort(reverse=True)
    for margin, prompt, text in found:
        print(f"{margin:.3f} {prompt!r} {text!r}")
    best = [{"prompt": p, "text": t} for m, p, t in found[:WANTED] if m >= MARGIN]
    note = f"Made by tools/fixture_golden.py: greedy, f32, {NEW} tokens; every token leads by {MARGIN} nats or more."
    (folder / "texts.json").write_text(json.dumps({"about": note, "texts": best}, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(best)} texts kept")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
