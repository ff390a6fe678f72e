"""Training steps of the article's chatbot (shared embedding, encoder and decoder LSTM, softmax over the words): pupil against PyTorch and
Keras in all their modes, turn by turn on the same machine; medians and ratios to the best mode of each.

Run on a quiet machine, after `cargo build --release`; Keras needs TensorFlow:
  python benches/compare/seq2seq.py --rounds 3 --seconds 10 --out benches/results/NAME.jsonl
"""
import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--seconds", type=float, default=10)
parser.add_argument("--pupil", default="target/release/pupil")
parser.add_argument("--out", help="file for the raw lines")
parser.add_argument("--only", choices=["torch-f32", "torch-bf16", "keras", "keras-jit"], help="time one mode and print it as JSON")
VOCAB, WIDTH, LENGTH, BATCH = 10_000, 256, 20, 64


def timed(step, seconds):
    for _ in range(5):
        step()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - begun))
    return dict(step_ms=statistics.median(times), steps=len(times), rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 10**6)


def torch_steps(bf16, seconds):
    import torch
    from torch import nn

    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(1)
    words, encoder = nn.Embedding(VOCAB, WIDTH), nn.LSTM(WIDTH, WIDTH, batch_first=True)
    decoder, output = nn.LSTM(WIDTH, WIDTH, batch_first=True), nn.Linear(WIDTH, VOCAB)
    parameters = [p for m in (words, encoder, decoder, output) for p in m.parameters()]
    adam = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    ids = torch.randint(VOCAB, (3, BATCH, LENGTH))

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            _, state = encoder(words(ids[0]))
            hidden, _ = decoder(words(ids[1]), state)
            logits = output(hidden).view(-1, VOCAB).float()
        loss = nn.functional.cross_entropy(logits, ids[2].reshape(-1))
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        loss.item()

    return timed(step, seconds)


def keras_steps(jit, seconds):
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")
    import keras
    import numpy
    import tensorflow
    from keras import layers

    tensorflow.config.threading.set_intra_op_parallelism_threads(os.cpu_count())
    keras.utils.set_random_seed(1)
    asked, said = keras.Input((LENGTH,), dtype="int32"), keras.Input((LENGTH,), dtype="int32")
    words = layers.Embedding(VOCAB, WIDTH)
    _, h, c = layers.LSTM(WIDTH, return_state=True)(words(asked))
    hidden = layers.LSTM(WIDTH, return_sequences=True)(words(said), initial_state=[h, c])
    model = keras.Model([asked, said], layers.Dense(VOCAB, activation="softmax")(hidden))
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy", jit_compile=jit)
    ids = [tensorflow.constant(x) for x in numpy.random.default_rng(1).integers(0, VOCAB, (3, BATCH, LENGTH)).astype("int32")]
    return timed(lambda: model.train_on_batch(ids[:2], ids[2]), seconds)


def main(a):
    if a.only:
        who, _, mode = a.only.partition("-")
        result = torch_steps(mode == "bf16", a.seconds) if who == "torch" else keras_steps(mode == "jit", a.seconds)
        print(json.dumps(dict(who=a.only, **result)))
        return
    me = [sys.executable, __file__, "--seconds", str(a.seconds), "--only"]
    commands = {f"pupil-{t}": [a.pupil, "bench", "seq2seq", "--seconds", str(a.seconds), "--dtype", t] for t in ("f32", "bf16")}
    commands |= {who: [*me, who] for who in ("torch-f32", "torch-bf16", "keras", "keras-jit")}
    about = dict(date=datetime.date.today().isoformat(), machine=platform.machine(), bench="seq2seq")
    runs, lines = {who: [] for who in commands}, []
    for turn in range(a.rounds):
        for who, command in commands.items():
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
            line = json.loads(done.stdout.strip().splitlines()[-1])
            runs[who].append(line)
            lines.append(dict(about, round=turn, **(line | {"who": who})))
    median = {who: statistics.median(r["step_ms"] for r in all_) for who, all_ in runs.items()}
    for who, all_ in runs.items():
        print(f"{who:11} {median[who]:7.1f} ms a step, {statistics.median(r['rss_mb'] for r in all_):.0f} MB")
    best = {who: min(m for w, m in median.items() if w.startswith(who)) for who in ("pupil", "torch", "keras")}
    print(f"pupil is {best['torch'] / best['pupil']:.2f} times as fast as PyTorch's best mode, {best['keras'] / best['pupil']:.2f} times as Keras' best")
    if a.out:
        with open(a.out, "a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main(parser.parse_args())
