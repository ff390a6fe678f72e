"""Compares pupil's word-level tokenizer with Keras' own: `cargo run -p pupil-tokenizer --example word_level` fits the texts on its
standard input and writes Keras' JSON, which Keras then reads.

Run: KERAS_BACKEND=torch python tools/check_word_level.py target/debug/examples/word_level
"""
import json
import subprocess
import sys

from keras.src.legacy.preprocessing.text import Tokenizer, tokenizer_from_json

TEXTS = ["The cat sat.", "the DOG, the cat! it's", "a bird\tand a  fish\n", "Ünïcödé STRASSE İstanbul ΣΑΣ", "你好 你好 world", "", "x-y_z a+b"]


def main(program):
    for settings in ({}, {"filters": ""}, {"oov_token": "<unk>"}, {"num_words": 5}, {"lower": False}):
        theirs = Tokenizer(**settings)
        theirs.fit_on_texts(TEXTS)
        made = subprocess.run([program], input=json.dumps({"settings": settings, "texts": TEXTS}), capture_output=True, text=True, check=True).stdout
        ours = tokenizer_from_json(made)
        assert ours.word_index == theirs.word_index, (settings, ours.word_index, theirs.word_index)
        assert dict(ours.word_counts) == dict(theirs.word_counts) and ours.word_docs == dict(theirs.word_docs), settings
        assert ours.texts_to_sequences(TEXTS) == theirs.texts_to_sequences(TEXTS), settings
        ids = json.loads(subprocess.run([program, "ids"], input=json.dumps({"settings": settings, "texts": TEXTS}), capture_output=True, text=True, check=True).stdout)
        assert ids == theirs.texts_to_sequences(TEXTS), (settings, ids, theirs.texts_to_sequences(TEXTS))
    print("five settings, the same words, counts and ids as Keras")


if __name__ == "__main__":
    main(sys.argv[1])
