"""Compares ids, segments, places and decoded texts of pupil's WordPiece with those of Hugging Face's tokenizers: on every character of
Unicode, on random texts, and on the lines of text or JSON that are given, alone and in pairs.

Run: python tools/check_wordpiece.py PROGRAM TOKENIZER.JSON [TEXTS…], PROGRAM being target/debug/examples/encode, TEXTS files of UTF-8
text, or of JSON lines with a "text"
"""
import json
import random
import subprocess
import sys

from tokenizers import AddedToken, Tokenizer, normalizers

# Characters that came into Unicode after the tables of Hugging Face's tokenizers were made: marks are no marks to it, and so on.
YOUNGER = 693


def texts(path):
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            line = line.rstrip("\n")
            if path.endswith(".jsonl"):
                yield json.loads(line)["text"]
            elif line:
                yield line


def bytes_before(text):
    places = [0]
    for c in text:
        places.append(places[-1] + len(c.encode("utf-8")))
    return places


def expected(theirs, first, second):
    e = theirs.encode(first, second)
    before = [bytes_before(first), bytes_before(second or "")]
    places = [[0, 0] if q is None else [before[q][b], before[q][f]] for (b, f), q in zip(e.offsets, e.sequence_ids, strict=True)]
    return [e.ids, e.type_ids, places, theirs.decode(e.ids)]


def differing(theirs, command, pairs):
    """The pairs that are not encoded alike."""
    found = []
    for start in range(0, len(pairs), 5000):
        part = pairs[start:start + 5000]
        said = subprocess.run(command, input=json.dumps(part), capture_output=True, text=True, check=True).stdout
        for pair, ours in zip(part, json.loads(said), strict=True):
            other = expected(theirs, *pair)
            if ours != other:
                found.append((pair, ours, other))
    return found


def main(program, path, *files):
    random.seed(1)
    theirs = Tokenizer.from_file(path)
    theirs.no_padding()
    theirs.no_truncation()
    # What a text says is text, also where it looks like a special token.
    theirs.encode_special_tokens = True
    command = [program, path]
    every = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    found = differing(theirs, command, [("a" + c + "b" + c, None) for c in every])
    young = {pair[0][1] for pair, _, _ in found}
    print(f"{len(every)} characters, {len(found)} encoded differently ({YOUNGER} are known to be too young for the other side's tables)")
    sample = "aA éÉe\u0301\u0323 你好 \t\n\u00a0\u3000\u200b\ufffd\0 don't [MASK] ##s 123 .!?, ﬁ İ ß Ω ガ 한 \U0001f468\u200d\U0001f469"
    lines = ["".join(random.choice(sample) for _ in range(random.randrange(40))) for _ in range(2000)]
    lines += [line for file in files for line in texts(file)]
    # Texts with the characters that are known to differ tell nothing more.
    lines = [line for line in lines if not young & set(line)]
    pairs = [(line, None) for line in lines] + [tuple(random.sample(lines, 2)) for _ in range(2000)]
    wrong = differing(theirs, command, pairs)
    print(f"{len(lines)} texts and 2000 pairs, {len(wrong)} encoded differently")
    for pair, ours, other in wrong[:5]:
        print(f"{pair!r}\n  pupil      {ours}\n  tokenizers {other}")
    # The same with accents and case kept, and with nothing done at all.
    for settings in ({"lowercase": False}, {"strip_accents": False}, {"clean_text": False, "handle_chinese_chars": False}):
        with open(path, encoding="utf-8") as file:
            whole = json.load(file)
        whole["normalizer"].update(settings)
        theirs.normalizer = normalizers.BertNormalizer(**{k: v for k, v in whole["normalizer"].items() if k != "type"})
        other_path = f"{program}.json"
        with open(other_path, "w", encoding="utf-8") as file:
            json.dump(whole, file)
        wrong += differing(theirs, [program, other_path], pairs[:20000])
        print(f"{settings}: {len(wrong)} encoded differently")
    # Added words, looked for in normalised text.
    theirs = Tokenizer.from_file(path)
    theirs.no_padding()
    theirs.no_truncation()
    theirs.encode_special_tokens = True
    theirs.add_tokens(["Émile", "don't", AddedToken("AA", normalized=False), AddedToken("##s", single_word=True), AddedToken("é", rstrip=True, lstrip=True)])
    theirs.save(other_path)
    wrong += differing(theirs, [program, other_path], pairs + [("the Emile's ÉMILE  é AA aa", None)])
    print(f"with added words: {len(wrong)} encoded differently")
    for pair, ours, other in wrong[:2]:
        print(f"{pair!r}\n  pupil      {ours}\n  tokenizers {other}")
    if wrong or len(found) > YOUNGER:
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
