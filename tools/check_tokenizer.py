"""Compares the ids that Hugging Face's tokenizers gives for hard texts with pupil's own: for a model's tokenizer, and for tokenizers of
the forms of Llama 3, Qwen 2, GPT-4, GPT-4o and pupil itself that Hugging Face's own trainer makes.

Run: python tools/check_tokenizer.py MODEL_DIRECTORY PUPIL_BINARY
"""
import json
import random
import subprocess
import sys
import tempfile

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TEXTS = [
    "Hello, world! It's 2026; we'll see.", "  two  blanks   three\n\n\nlines \t\ttabs ", "你好，世界！今天 123 天气 好，六十四 两个",
    "don't DON'T 'tis ''s x's", "a\u0301e\u0301 ½ Ⅷ ²３ — „quoted“ \u00a0\u3000x \u200by", "def f(x):\n    return x+1  # 1.5e-3\r\n",
    "👩‍👩‍👧‍👦 family 🏳️‍🌈", "Ünïcödé Straße Ελλάδα Россия עברית हिन्दी ไทย 한국어", "\u0000\u0001\ufffd", "a" * 300,
]


CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
NUMERALS = "零一二两三四五六七八九十百千万亿"
FORMS = {
    "llama3": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL,
    "qwen2": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL,
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\z|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?|"
    + r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + TAIL,
    "digits": rf"'(?:s|t|re|ve|m|ll|d)|\p{{N}}|[{NUMERALS}]| ?[^\P{{L}}{NUMERALS}]+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+",
}


def made(name, texts):
    """A tokenizer of a family's form, trained by Hugging Face."""
    t = Tokenizer(models.BPE(ignore_merges=name == "llama3"))
    if name == "qwen2":
        t.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(FORMS[name]), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    t.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    t.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>"]
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, special_tokens=special, show_progress=False))
    return t


def compare(theirs, texts, command):
    for start in range(0, len(texts), 70):
        part = texts[start:start + 70]
        said = subprocess.run(command, input=json.dumps(part), capture_output=True, text=True, check=True).stdout
        for text, ours in zip(part, json.loads(said), strict=True):
            expected = theirs.encode(text, add_special_tokens=False).ids
            if ours != expected:
                sys.exit(f"{command}: {text!r}:\n  pupil      {ours}\n  tokenizers {expected}")


def main(directory, pupil):
    random.seed(1)
    alphabet = " \n\tab'sdlv10,.-你三十é\u0301½\u00a0🙂R"
    texts = TEXTS + ["".join(random.choice(alphabet) for _ in range(40)) for _ in range(200)]
    compare(Tokenizer.from_file(f"{directory}/tokenizer.json"), texts, [pupil, "debug", "ids", "-m", directory])
    for name in FORMS:
        theirs = made(name, TEXTS * 4)
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            theirs.save(file.name)
            compare(theirs, texts, [pupil, "debug", "ids", "--tokenizer", file.name])
    print(f"{len(texts)} texts, the same ids, by the model's tokenizer and by those of {', '.join(FORMS)}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
