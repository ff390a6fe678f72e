"""Compares the ids that Hugging Face's tokenizers gives for hard texts with pupil's own.

Run: python tools/check_tokenizer.py MODEL_DIRECTORY PUPIL_BINARY
"""
import json
import random
import subprocess
import sys

from tokenizers import Tokenizer

TEXTS = [
    "Hello, world! It's 2026; we'll see.", "  two  blanks   three\n\n\nlines \t\ttabs ", "你好，世界！今天 123 天气 好",
    "don't DON'T 'tis ''s x's", "a\u0301e\u0301 ½ Ⅷ ²３ — „quoted“ \u00a0\u3000x \u200by", "def f(x):\n    return x+1  # 1.5e-3\r\n",
    "👩‍👩‍👧‍👦 family 🏳️‍🌈", "Ünïcödé Straße Ελλάδα Россия עברית हिन्दी ไทย 한국어", "\u0000\u0001\ufffd", "a" * 300,
]


def main(directory, pupil):
    theirs = Tokenizer.from_file(f"{directory}/tokenizer.json")
    random.seed(1)
    alphabet = " \n\tab'sdlv10,.-你é\u0301½\u00a0🙂R"
    texts = TEXTS + ["".join(random.choice(alphabet) for _ in range(40)) for _ in range(200)]
    for start in range(0, len(texts), 70):
        part = texts[start:start + 70]
        said = subprocess.run([pupil, "debug", "ids", "-m", directory], input=json.dumps(part), capture_output=True, text=True, check=True).stdout
        for text, ours in zip(part, json.loads(said), strict=True):
            expected = theirs.encode(text, add_special_tokens=False).ids
            if ours != expected:
                sys.exit(f"{text!r}:\n  pupil      {ours}\n  tokenizers {expected}")
    print(f"{len(texts)} texts, the same ids")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
