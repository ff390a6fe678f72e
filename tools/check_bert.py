"""Random BERTs of every head, both ways: written by transformers and read by pupil, and written by pupil and read by transformers. States, pooled
vectors and scores are at most 1e-3 apart (f32).

Run: python tools/check_bert.py PUPIL_BINARY [BERT_DIRECTORY …]
Directories that pupil wrote are compared too, and what `pupil fill-mask` says with what transformers says by their own tokenizer.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification, BertForTokenClassification, BertModel

HEADS = [BertModel, BertForPreTraining, BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification]
BOUND = 1e-3


def ours(pupil, directory, ids, kinds):
    numbers = [",".join(map(str, x)) for x in (ids, kinds)]
    command = [pupil, "debug", "logits", "-m", str(directory), "--dtype", "f32", "--ids", numbers[0], "--kinds", numbers[1]]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def theirs(model, ids, kinds):
    ids, kinds = torch.tensor([ids]), torch.tensor([kinds])
    encoder = model if isinstance(model, BertModel) else model.bert
    with torch.no_grad():
        out = encoder(ids, token_type_ids=kinds)
        said = {"states": out.last_hidden_state[0], "pooled": out.pooler_output}
        if isinstance(model, BertForPreTraining):
            out = model(ids, token_type_ids=kinds)
            said |= {"words": out.prediction_logits[0], "next_sentence": out.seq_relationship_logits}
        elif isinstance(model, BertForMaskedLM):
            said["words"] = model(ids, token_type_ids=kinds).logits[0]
        elif isinstance(model, BertForTokenClassification):
            said["labels"] = model(ids, token_type_ids=kinds).logits[0]
        elif isinstance(model, BertForSequenceClassification):
            said["labels"] = model(ids, token_type_ids=kinds).logits
    return {k: v for k, v in said.items() if v is not None}


def compare(pupil, directory, model, what):
    generator = torch.Generator().manual_seed(7)
    worst = 0.0
    for length in (1, 2, 17, model.config.max_position_embeddings):
        ids = torch.randint(model.config.vocab_size, (length,), generator=generator).tolist()
        kinds = [int(i >= length // 2) for i in range(length)]
        got, wanted = ours(pupil, directory, ids, kinds), theirs(model, ids, kinds)
        said = {k for k, v in got.items() if v is not None}
        if said != set(wanted):
            sys.exit(f"{what}: pupil says {sorted(said)}, transformers {sorted(wanted)}")
        for name, tensor in wanted.items():
            mine = torch.tensor(got[name])
            if mine.shape != tensor.shape:
                sys.exit(f"{what}: {name} has shape {tuple(mine.shape)} in pupil, {tuple(tensor.shape)} in transformers")
            worst = max(worst, (mine - tensor).abs().max().item())
    print(f"{what}: largest difference {worst:.2e}")
    if not worst <= BOUND:
        sys.exit(f"{what}: {worst:.2e} is more than {BOUND}")
    return worst


def read_by_transformers(kind, directory):
    model, report = kind.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    odd = {k: v for k, v in report.items() if v and k in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if odd:
        sys.exit(f"{kind.__name__}: transformers does not read what pupil wrote: {odd}")
    return model.eval()


def same_words(pupil, directory, model):
    """The five likeliest words for each hidden one, with their probabilities."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    for text in ("the [MASK] was good .", "Is it [MASK], or a [MASK]? Ça va!", "[MASK]"):
        command = [pupil, "fill-mask", "-m", str(directory), "--dtype", "f32", "--json", text]
        masks = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["masks"]
        encoded = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            out = model(**encoded)
        logits = out.prediction_logits if isinstance(model, BertForPreTraining) else out.logits
        places = (encoded["input_ids"][0] == tokenizer.mask_token_id).nonzero()[:, 0]
        wanted = logits[0, places].softmax(-1).topk(5)
        got = [[[g[k] for g in guesses] for k in ("id", "probability")] for guesses in masks]
        if [g[0] for g in got] != wanted.indices.tolist():
            sys.exit(f"{text!r}: pupil says {masks}, transformers {tokenizer.batch_decode(wanted.indices)}")
        worst = (torch.tensor([g[1] for g in got]) - wanted.values).abs().max().item()
        print(f"{text!r}: the same five words, probabilities at most {worst:.1e} apart")
        if not worst <= BOUND:
            sys.exit(f"{worst:.2e} is more than {BOUND}")


def main(pupil, *directories):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(1)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for kind in HEADS:
            config = BertConfig(vocab_size=97, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=112,
                                max_position_embeddings=40, num_labels=5)
            model = kind(config).eval()
            # Larger numbers than fresh models have, biases and gains too, so that every one matters.
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(torch.randn_like(p) * 0.15)
            there, back = Path(folder, "there"), Path(folder, "back")
            model.save_pretrained(there)
            worst = max(worst, compare(pupil, there, model, f"{kind.__name__}, written by transformers"))
            subprocess.run([pupil, "debug", "rewrite", "-m", str(there), "--out", str(back)], check=True)
            again = read_by_transformers(kind, back)
            for (name, a), (_, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
                if not torch.equal(a, b):
                    sys.exit(f"{kind.__name__}: {name} did not come back bit for bit")
            worst = max(worst, compare(pupil, back, again, f"{kind.__name__}, written by pupil"))
            for d in (there, back):
                for f in d.iterdir():
                    f.unlink()
                d.rmdir()
    for directory in directories:
        kind = getattr(transformers, json.loads(Path(directory, "config.json").read_text())["architectures"][0])
        model = read_by_transformers(kind, directory)
        worst = max(worst, compare(pupil, directory, model, f"{kind.__name__} in {directory}"))
        if kind in (BertForPreTraining, BertForMaskedLM):
            same_words(pupil, directory, model)
    print(f"largest difference of all {worst:.2e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
