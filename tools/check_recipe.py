"""Trains the article's chatbot in Keras, with its own cleaning, word ids and padding, and compares the loss curves with those of
`pupil recipe article` on the same pairs: training and validation loss of every epoch within 2 %.

Run: python tools/check_recipe.py PAIRS.jsonl PUPIL_BINARY [--pairs 40000] [--epochs 2]; PAIRS has lines {"question": …, "answer": …}
"""
import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data")
parser.add_argument("pupil")
parser.add_argument("--pairs", type=int, default=40_000)
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--dtype", default="f32")
parser.add_argument("--as-it-is", action="store_true", help="keep Keras 3's treatment of words that occur more than once")
a = parser.parse_args()
WORDS, LENGTH, WIDTH, BATCH = 10_000, 20, 256, 64

with tempfile.TemporaryDirectory() as folder:
    out = pathlib.Path(folder) / "run"
    command = [a.pupil, "recipe", "article", "--data", a.data, "--pairs", str(a.pairs), "--epochs", str(a.epochs), "--out", str(out), "--dtype", a.dtype]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").open()]
steps = [line["loss"] for line in lines if "loss" in line]
validation = [line["validation_loss"] for line in lines if "validation_loss" in line]
each = len(steps) // a.epochs
ours = [(sum(steps[i * each:(i + 1) * each]) / each, validation[i]) for i in range(a.epochs)]

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")
import keras
import numpy as np
from keras import layers


def clean(line):
    return re.sub(r"\s+", " ", re.sub(r"[^a-zA-Z0-9\s]", "", line))


pairs = []
for line in open(a.data, encoding="utf-8"):
    pair = json.loads(line)
    pair = clean(pair["question"]), clean(pair["answer"])
    if all(text.strip() for text in pair):
        pairs.append(pair)
pairs = pairs[:a.pairs]
counts = collections.Counter(word for pair in pairs for text in pair for word in text.lower().split())
index = {word: i for i, (word, _) in enumerate(sorted(counts.items(), key=lambda item: -item[1]), 1) if i < WORDS}


def padded(text):
    ids = [index[word] for word in text.lower().split() if word in index][:LENGTH]
    return ids + [0] * (LENGTH - len(ids))


class Embedding(layers.Embedding):
    """Keras 3 on TensorFlow squares the gradients of a word's occurrences one by one before it adds them up, so that Adam's steps for
    frequent words are up to √occurrences too large (--as-it-is keeps that). The article's Keras 2 adds them first, as Adam's paper has it; the
    product with one makes Keras 3 do so."""

    def call(self, ids):
        return super().call(ids) if a.as_it_is else keras.ops.take(self.embeddings * 1.0, ids, axis=0)


asked, said = (np.array([padded(pair[side]) for pair in pairs], dtype="int32") for side in (0, 1))
tail = int(len(pairs) * 0.8)
keras.utils.set_random_seed(1)
question, answer = keras.Input((LENGTH,), dtype="int32"), keras.Input((LENGTH - 1,), dtype="int32")
words = Embedding(WORDS, WIDTH)
_, h, c = layers.LSTM(WIDTH, return_state=True)(words(question))
hidden = layers.LSTM(WIDTH, return_sequences=True)(words(answer), initial_state=[h, c])
model = keras.Model([question, answer], layers.Dense(WORDS, activation="softmax")(hidden))
model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy", jit_compile=True)
held_out = ([asked[tail:], said[tail:, :-1]], said[tail:, 1:])
history = model.fit([asked[:tail], said[:tail, :-1]], said[:tail, 1:], batch_size=BATCH, epochs=a.epochs, validation_data=held_out, verbose=2).history
worst = 0
for epoch, (loss, val) in enumerate(zip(history["loss"], history["val_loss"], strict=True)):
    print(f"epoch {epoch + 1}: training loss {ours[epoch][0]:.4f} (Keras {loss:.4f}), validation loss {ours[epoch][1]:.4f} (Keras {val:.4f})")
    worst = max(worst, abs(ours[epoch][0] / loss - 1), abs(ours[epoch][1] / val - 1))
print(f"largest difference {100 * worst:.2f} %")
if worst > 0.02:
    sys.exit("the curves differ by more than 2 %")
