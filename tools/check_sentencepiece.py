"""Compares ids, places and decoded texts of pupil with those of Hugging Face's tokenizers: for tokenizers of the forms of Llama 2, Mistral
and Gemma, and byte-level ones, that Hugging Face's own trainer makes of the texts; with and without added tokens of every sort; or for the
tokenizer.json files that are named.

Run: python tools/check_sentencepiece.py PROGRAM TEXTS… [TOKENIZER.JSON…], PROGRAM being target/debug/examples/encode, TEXTS files of UTF-8
text, or of JSON lines with a "text"
"""
import random
import re
import sys
import tempfile

from check_tokenizer import FORMS
from check_wordpiece import differing, texts
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def sentencepiece(form, lines, byte_fallback=True):
    """A tokenizer of a family's form, trained by Hugging Face, with byte tokens."""
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback, fuse_unk=form != "unfused", ignore_merges=form == "whole"))
    blank = normalizers.Replace(" ", "▁")
    if form in ("llama", "unfused", "whole"):
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), blank])
    elif form == "gemma":
        t.normalizer = blank
        t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        scheme, split = form.split("-")
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split == "split")
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    strip = [] if form in ("gemma", "never-whole") else [decoders.Strip(" ", 1, 0)]
    t.decoder = decoders.Sequence(back + strip) if byte_fallback else decoders.Metaspace(prepend_scheme="never" if form.startswith(("gemma", "never")) else "always")
    # The trainer sees at most these letters, so that others need their bytes.
    trainer = trainers.BpeTrainer(vocab_size=2000, limit_alphabet=150, special_tokens=SPECIAL + BYTES, show_progress=False, max_token_length=16)
    t.train_from_iterator(lines, trainer)
    t.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B:1", [("<s>", t.token_to_id("<s>"))])
    return plain_bytes(t)


def plain_bytes(t):
    """Byte tokens are tokens of the vocabulary and no special ones."""
    import json
    whole = json.loads(t.to_str())
    whole["added_tokens"] = [a for a in whole["added_tokens"] if a["content"] not in BYTES]
    return Tokenizer.from_str(json.dumps(whole))


def bytelevel(form, lines):
    t = Tokenizer(models.BPE(ignore_merges=form == "llama3"))
    if form == "qwen2":
        t.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(FORMS[form]), "isolated")
    t.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=3000, initial_alphabet=alphabet, special_tokens=["<s>"], show_progress=False))
    return t


def with_added(name, t):
    """The same with added tokens of every sort."""
    t = Tokenizer.from_str(t.to_str())
    # No token of blanks beside one that takes the blanks after it: Hugging Face's encodes them twice then.
    # Hugging Face's byte-level decoder takes an accented letter for the byte that it stands for elsewhere.
    letter = "e" if name in FORMS else "é"
    t.add_special_tokens(["<|a|>", "<|a|><|b|>", AddedToken("<mask>", lstrip=True, special=True)])
    t.add_tokens([
        AddedToken("the", single_word=True, normalized=False), AddedToken("__", normalized=False), AddedToken("ing", normalized=True),
        AddedToken(letter + "x", normalized=True), AddedToken("<tool>", rstrip=True, lstrip=True, normalized=False), AddedToken("a b", normalized=False),
        AddedToken("你好", normalized=True),
    ])
    return t


def main(program, *files):
    random.seed(2)
    lines = [line for file in files if not file.endswith("tokenizer.json") for line in texts(file)]
    sample = "aA theing éÉe\u0301\u0323 你好世 \t\n\u00a0\u3000\u200b\ufffd\0▁▁ don't <0x41> <s> <|a|><|b|> <mask> <tool>  123 ﬁ İ \U0001f468\u200d\U0001f469"
    lines += ["".join(random.choice(sample) for _ in range(random.randrange(60))) for _ in range(2000)]
    words = ["the", " ", "  ", "ing", "éx", "ex", "é", "e\u0301", "<tool>", "<mask>", "<|a|>", "<|b|>", "<s>", "a b", "a", "你好", "\n", "them", "_", "."]
    lines += ["".join(random.choice(words) for _ in range(random.randrange(20))) for _ in range(3000)]
    pairs = [(line, None) for line in lines] + [tuple(random.sample(lines, 2)) for _ in range(500)]
    forms = ["llama", "gemma", "first-whole", "always-split", "always-whole", "never-whole", "first-split", "whole"]
    # Where a trainer saw the name of a special token, Hugging Face's merges make that token of text; pupil's never do.
    training = [re.sub(r"<s>|</s>|<unk>|<mask>|<\|[ab]\|>", "", line) for line in lines]
    made = {name: sentencepiece(name, training) for name in forms}
    made |= {f"{name} without bytes": sentencepiece(name, training, byte_fallback=False) for name in ("llama", "gemma", "unfused", "first-split", "never-whole")}
    made |= {name: bytelevel(name, training) for name in FORMS}
    made |= {f"{name} with added tokens": with_added(name, t) for name, t in made.items()}
    made |= {file: Tokenizer.from_file(file) for file in files if file.endswith("tokenizer.json")}
    failed = False
    for name, theirs in made.items():
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            theirs.save(file.name)
            theirs.no_padding()
            theirs.no_truncation()
            theirs.encode_special_tokens = True
            wrong = differing(theirs, [program, file.name], pairs)
            theirs.encode_special_tokens = False
            theirs.post_processor = processors.TemplateProcessing("$A", "$A $B", [])
            marked = differing(theirs, [program, file.name, "marked"], pairs[:len(lines)])
        print(f"{name}: {len(pairs)} texts and pairs, {len(wrong)} encoded differently; with special tokens {len(marked)}", flush=True)
        for pair, ours, other in wrong[:1] + marked[:1]:
            print("".join(f"  {pair!r}\n    pupil      {a}\n    tokenizers {b}\n" for a, b in zip(ours, other, strict=True) if a != b)[:1500])
        failed = failed or bool(wrong or marked)
    sys.exit(failed)


if __name__ == "__main__":
    main(*sys.argv[1:])
