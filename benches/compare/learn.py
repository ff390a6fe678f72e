"""A GPT raised in PyTorch in a given time, as nanoGPT and nanochat do it, from the text and the tokenizer that pupil used.

nanogpt   GPT-2's form without biases, AdamW at 1e-3 falling as a cosine to a tenth, windows at random places of one stream of documents.
nanochat  Llama's form, Muon for matrices and AdamW for the table, flat and then linearly down; then, with --finetune, conversations of which the
          assistant's tokens are learned.

Time is that of training; compiling and cutting text into tokens are not counted. What comes out is a directory in Hugging Face's layout, which
`pupil eval -m OUT` examines with the same questions and texts as pupil's own.

Run: python benches/compare/learn.py nanogpt --data prep/train.jsonl --tokenizer prep/tokenizer.json --minutes 20 --out torch20
     python benches/compare/learn.py nanochat --data data/stories.txt data/chats.jsonl --finetune data/chats.jsonl --tokenizer tokenizer.json \
         --layers 6 --width 128 --minutes 0.82 --finetune-minutes 4.6 --out torch5
"""
import argparse
import contextlib
import json
import math
import pathlib
import shutil
import time

import numpy as np
import tokenizers
import torch
from safetensors.torch import save_file

from gpt import PRESETS, Model

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("recipe", choices=["nanogpt", "nanochat"])
parser.add_argument("--data", nargs="+", required=True)
parser.add_argument("--finetune", nargs="+", default=[])
parser.add_argument("--tokenizer", required=True)
parser.add_argument("--layers", type=int, default=4)
parser.add_argument("--width", type=int, default=256)
parser.add_argument("--context", type=int, default=256)
parser.add_argument("--batch", type=int, default=16, help="sequences in a step")
parser.add_argument("--rate", type=float, help="AdamW's peak rate")
parser.add_argument("--muon", type=float, default=0.02)
parser.add_argument("--minutes", type=float, required=True)
parser.add_argument("--finetune-minutes", type=float, default=0)
parser.add_argument("--mode", choices=["eager-f32", "eager-bf16", "compile-f32", "compile-bf16"], default="compile-bf16")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--out", type=pathlib.Path, required=True)
a = parser.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(a.seed)
random = np.random.default_rng(a.seed)
tokenizer = tokenizers.Tokenizer.from_file(a.tokenizer)
END, TURN, OVER = (tokenizer.token_to_id(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
llama = a.recipe == "nanochat"
rate = a.rate or (0.01 if llama else 1e-3)


def encode(texts):
    return [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]


def documents(path):
    """Ids of each document, and for each id whether it is learned in fine-tuning."""
    if path.endswith(".txt"):
        for ids in encode(open(path, encoding="utf-8").read().split("\n<|endoftext|>\n")):
            yield ids + [END], [True] * (len(ids) + 1)
        return
    rows = [json.loads(line) for line in open(path, encoding="utf-8")]
    texts = [r["text"] for r in rows if "text" in r]
    for ids in encode(texts):
        yield ids + [END], [True] * (len(ids) + 1)
    turns = [[m for m in r["messages"]] for r in rows if "messages" in r]
    # In one call for all, since each has its price.
    heads = encode([m["role"] + "\n" for t in turns for m in t])
    bodies = encode([m["content"] for t in turns for m in t])
    new_line = encode(["\n"])[0]
    at = 0
    for chat in turns:
        ids, learned = [], []
        for message in chat:
            head, body = [TURN] + heads[at], bodies[at] + [OVER]
            at += 1
            ids += head + body + new_line
            said = message["role"] == "assistant"
            learned += [False] * len(head) + [said] * len(body) + [False] * len(new_line)
        yield ids, learned


def stream(paths):
    ids, learned = [], []
    parts = [d for p in paths for d in documents(p)]
    for i in random.permutation(len(parts)):
        ids += parts[i][0]
        learned += parts[i][1]
    return torch.tensor(np.array(ids, dtype=np.int64)), torch.tensor(np.array(learned))


heads = a.width // 64
PRESETS["here"] = (a.layers, heads, heads, a.width, a.context, a.batch, tokenizer.get_vocab_size(), (a.width * 8 // 3 + 31) // 32 * 32 if llama else 0)
model = Model("here")
run = torch.compile(model) if a.mode.startswith("compile") else model
half = (lambda: torch.autocast("cpu", torch.bfloat16)) if a.mode.endswith("bf16") else contextlib.nullcontext


def optimisers(scale):
    inner = [p for n, p in model.named_parameters() if n.startswith("blocks") and p.dim() == 2]
    table = [p for n, p in model.named_parameters() if not n.startswith("blocks") and p.dim() == 2]
    thin = [p for p in model.parameters() if p.dim() == 1]
    if llama:
        groups = [dict(params=table, weight_decay=0.0), dict(params=thin, weight_decay=0.0)]
        both = [torch.optim.AdamW(groups, lr=rate * scale, betas=(0.8, 0.95), fused=True),
                torch.optim.Muon(inner, lr=a.muon * scale, momentum=0.95, weight_decay=0.0)]
    else:
        groups = [dict(params=inner + table, weight_decay=0.1), dict(params=thin, weight_decay=0.0)]
        both = [torch.optim.AdamW(groups, lr=rate * scale, betas=(0.9, 0.99), fused=True)]
    for o in both:
        for g in o.param_groups:
            g["top"] = g["lr"]
    return both


def share(done, steps):
    """Of the peak rate, after a part `done` of the time: nanochat's trapezoid or nanoGPT's cosine, each with a warm-up."""
    warm = min(1.0, (steps + 1) / (40 if llama else 100))
    if llama:
        return warm * min(1.0, (1 - done) / 0.5)
    return warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))


def step(ids, learned, updates):
    at = torch.randint(len(ids) - a.context - 1, (a.batch,))
    x = torch.stack([ids[o:o + a.context] for o in at])
    y = torch.stack([ids[o + 1:o + 1 + a.context] for o in at])
    if learned is not None:
        y = torch.where(torch.stack([learned[o + 1:o + 1 + a.context] for o in at]), y, -100)
    with half():
        loss = run(x, y)
    for u in updates:
        u.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for u in updates:
        u.step()
    return loss.item()


def learn(name, ids, learned, minutes, scale):
    updates = optimisers(scale)
    keep = {k: v.clone() for k, v in model.state_dict().items()}
    for _ in range(3):
        step(ids, learned, updates)  # compiles
    model.load_state_dict(keep)
    updates = optimisers(scale)
    begun, steps, told = time.perf_counter(), 0, 0.0
    while (spent := time.perf_counter() - begun) < minutes * 60:
        for u in updates:
            for g in u.param_groups:
                g["lr"] = g["top"] * share(spent / (minutes * 60), steps)
        loss = step(ids, learned, updates)
        steps += 1
        if spent - told > 15:
            told = spent
            print(f"{name} {spent:.0f} s, step {steps}, loss {loss:.3f}, {steps * a.batch * a.context / spent:.0f} tokens/s", flush=True)
    tokens = steps * a.batch * a.context
    print(json.dumps(dict(stage=name, seconds=spent, steps=steps, tokens=tokens, epochs=tokens / len(ids), parameters=sum(p.numel() for p in model.parameters()))), flush=True)


ids, _ = stream(a.data)
learn("pretraining", ids, None, a.minutes, 1.0)
if a.finetune:
    learn("fine-tuning", *stream(a.finetune), a.finetune_minutes, 0.25)

config = dict(vocab_size=model.vocab, tie_word_embeddings=True, eos_token_id=[END, OVER], torch_dtype="float32")
weights = {}
if llama:
    config |= dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=a.width, num_hidden_layers=a.layers, num_attention_heads=heads,
                   num_key_value_heads=heads, head_dim=64, intermediate_size=PRESETS["here"][7], max_position_embeddings=a.context,
                   rms_norm_eps=1.1920929e-07, rope_theta=10000.0, hidden_act="silu", attention_bias=False, mlp_bias=False)
    weights["model.embed_tokens.weight"], weights["model.norm.weight"] = model.tok.weight, model.norm.weight
    for i, b in enumerate(model.blocks):
        at = f"model.layers.{i}."
        weights |= {at + f"self_attn.{n}_proj.weight": w for n, w in zip("qkv", b.qkv.weight.chunk(3))}
        weights |= {at + f"mlp.{n}_proj.weight": w for n, w in zip(("gate", "up"), b.up.weight.chunk(2))}
        weights |= {at + "self_attn.o_proj.weight": b.proj.weight, at + "mlp.down_proj.weight": b.down.weight,
                    at + "input_layernorm.weight": b.n1.weight, at + "post_attention_layernorm.weight": b.n2.weight}
else:
    config |= dict(architectures=["GPT2LMHeadModel"], model_type="gpt2", n_embd=a.width, n_layer=a.layers, n_head=heads, n_positions=a.context,
                   n_ctx=a.context, activation_function="gelu", layer_norm_epsilon=1e-5)
    weights |= {"wte.weight": model.tok.weight, "wpe.weight": model.pos.weight, "ln_f.weight": model.norm.weight, "ln_f.bias": torch.zeros(a.width)}
    for i, b in enumerate(model.blocks):
        for name, layer in (("attn.c_attn", b.qkv), ("attn.c_proj", b.proj), ("mlp.c_fc", b.up), ("mlp.c_proj", b.down)):
            # GPT-2 keeps its matrices transposed.
            weights |= {f"h.{i}.{name}.weight": layer.weight.T, f"h.{i}.{name}.bias": torch.zeros(layer.weight.shape[0])}
        for name, norm in (("ln_1", b.n1), ("ln_2", b.n2)):
            weights |= {f"h.{i}.{name}.weight": norm.weight, f"h.{i}.{name}.bias": torch.zeros(a.width)}
a.out.mkdir(parents=True, exist_ok=True)
(a.out / "config.json").write_text(json.dumps(config, indent=2))
save_file({k: v.detach().float().contiguous().clone() for k, v in weights.items()}, a.out / "model.safetensors", metadata={"format": "pt"})
shutil.copy(a.tokenizer, a.out / "tokenizer.json")
