"""Training and encoding of byte-level BPE, pupil beside Hugging Face tokenizers and tiktoken, turn by turn on the same text.

    python benches/compare/tokenizer.py TEXT --pupil target/release/pupil [--vocab 8192] [--rounds 3] [--out FILE.jsonl]

Documents are separated by blank lines. All encode with the tokenizer that pupil trained, and must give the same ids.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("text")
parser.add_argument("--pupil", default="target/release/pupil")
parser.add_argument("--vocab", type=int, default=8192)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--out")
arguments = parser.parse_args()
os.environ.setdefault("RAYON_NUM_THREADS", str(os.cpu_count()))
os.environ["TOKENIZERS_PARALLELISM"] = "true"

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

try:
    import tiktoken
except ImportError:
    tiktoken = None

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
with open(arguments.text, encoding="utf-8", newline="") as file:
    text = file.read()
documents = [d for d in text.split("\n\n") if d]
megabytes = len(text.encode()) / 1e6


def timed(f):
    begun = time.perf_counter()
    result = f()
    return time.perf_counter() - begun, result


def hf_train():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        documents, trainers.BpeTrainer(vocab_size=arguments.vocab, initial_alphabet=alphabet, show_progress=False)
    )


with tempfile.TemporaryDirectory() as folder:
    mine, raw = os.path.join(folder, "tokenizer.json"), os.path.join(folder, "ids")

    def pupil_train():
        command = [arguments.pupil, "tokenizer", "train", arguments.text, "--split", "gpt2", "--vocab", str(arguments.vocab), "--out", mine]
        subprocess.run(command, check=True, capture_output=True)

    train = {"pupil": [], "tokenizers": []}
    for _ in range(arguments.rounds):
        train["pupil"].append(timed(pupil_train)[0])
        train["tokenizers"].append(timed(hf_train)[0])

    # Theirs looks for the names of special tokens in text, ours never does: the comparison is of text.
    with open(mine) as file:
        plain = json.load(file)
    specials = {t["content"] for t in plain["added_tokens"]}
    plain["added_tokens"] = []
    hf = Tokenizer.from_str(json.dumps(plain))
    peer = None
    if tiktoken:
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        table = {chr(b): b for b in printable}
        table |= {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in printable)}
        ranks = {bytes(table[c] for c in s): i for s, i in hf.get_vocab().items() if s not in specials}
        peer = tiktoken.Encoding("peer", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})

    encode = {"pupil, all threads": [], "pupil, one thread": [], "tokenizers, all threads": [], "tiktoken, one thread": []}
    for _ in range(arguments.rounds):
        command = [arguments.pupil, "bench", "encode", arguments.text, "--tokenizer", mine, "--rounds", "1", "--ids", raw]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        encode["pupil, all threads"].append(result["all_threads_mb_s"])
        encode["pupil, one thread"].append(result["one_thread_mb_s"])
        seconds, theirs = timed(lambda: hf.encode_batch_fast(documents, add_special_tokens=False))
        encode["tokenizers, all threads"].append(megabytes / seconds)
        if peer:
            seconds, others = timed(lambda: [peer.encode_ordinary(d) for d in documents])
            encode["tiktoken, one thread"].append(megabytes / seconds)
    ids = np.fromfile(raw, dtype=np.uint32)
    same = {"tokenizers": bool(np.array_equal(ids, np.concatenate([np.asarray(e.ids, dtype=np.uint32) for e in theirs])))}
    if peer:
        same["tiktoken"] = bool(np.array_equal(ids, np.concatenate([np.asarray(e, dtype=np.uint32) for e in others])))

median = lambda d: {k: round(statistics.median(v), 3) for k, v in d.items() if v}
line = {"mb": round(megabytes, 1), "vocab": arguments.vocab, "train_s": median(train), "encode_mb_s": median(encode), "same_ids": same}
line["train_ratio"] = round(line["train_s"]["tokenizers"] / line["train_s"]["pupil"], 2)
line["encode_ratio_tokenizers"] = round(line["encode_mb_s"]["pupil, all threads"] / line["encode_mb_s"]["tokenizers, all threads"], 2)
if tiktoken:
    line["encode_ratio_tiktoken"] = round(line["encode_mb_s"]["pupil, one thread"] / line["encode_mb_s"]["tiktoken, one thread"], 2)
print(json.dumps(line))
if arguments.out:
    with open(arguments.out, "a") as file:
        file.write(json.dumps(line) + "\n")
