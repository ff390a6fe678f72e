"""Teaches adapters with pupil and has PEFT load them: the base's files stay byte for byte, logits with adapters are PEFT's, and those of the merged
model are the same within 1e-4.

Run: python tools/check_lora.py BASE_DIRECTORY CHATS_FILE PUPIL_BINARY   (needs torch, transformers, peft)
"""
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ["Once upon a time there was a fox", "Hello! How are you?", "你好，你是谁？", "The capital of France is"]


def hashes(directory):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in pathlib.Path(directory).iterdir() if p.is_file()}


def ours(pupil, directory, ids):
    said = subprocess.run([pupil, "debug", "logits", "-m", str(directory), "--dtype", "f32", "--ids", ",".join(map(str, ids))],
                          capture_output=True, text=True, check=True).stdout
    return torch.tensor(json.loads(said))


def main(base, chats, pupil):
    before = hashes(base)
    with tempfile.TemporaryDirectory() as place:
        run, merged = pathlib.Path(place) / "run", pathlib.Path(place) / "merged"
        subprocess.run([pupil, "finetune", "-m", base, "--data", chats, "--out", str(run), "--steps", "20", "--lora", "--rank", "8"], check=True)
        subprocess.run([pupil, "merge", str(run), "--out", str(merged)], check=True)
        if hashes(base) != before:
            sys.exit("the base's files changed")
        tokenizer = AutoTokenizer.from_pretrained(base)
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
        logits = lambda model: [model(torch.tensor([i])).logits[0] for i in ids]
        far = lambda a, b: max((x - y).abs().max().item() for x, y in zip(a, b))
        with torch.no_grad():
            unadapted = logits(plain)
            adapted = logits(PeftModel.from_pretrained(plain, str(run / "model")).eval())
            whole = logits(AutoModelForCausalLM.from_pretrained(str(merged), dtype=torch.float32).eval())
        mine = [ours(pupil, run, i) for i in ids]
        mine_merged = [ours(pupil, merged, i) for i in ids]
    moved = far(unadapted, adapted)
    found = {"pupil with adapters and PEFT": far(mine, adapted), "pupil merged and transformers": far(mine_merged, whole),
             "pupil with adapters and merged": far(mine, mine_merged)}
    print(f"the base's {len(before)} files are byte for byte what they were; the adapters move logits by up to {moved:.2f}")
    for name, distance in found.items():
        print(f"{name}: largest logit difference {distance:.2e}")
    if moved < 0.1:
        sys.exit("the adapters learned next to nothing: this shows nothing")
    if max(found.values()) > 1e-4:
        sys.exit("more than 1e-4 apart")


if __name__ == "__main__":
    main(*sys.argv[1:4])
