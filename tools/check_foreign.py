"""Models that transformers made, of random weights, read by pupil: logits (f32, at most 1e-3 apart), greedy text and a chat by the model's own template.

Each family is written as transformers writes it, without settings of pupil's: in one file or several, of f32 or bf16, with the output layer tied or not.

Run: python tools/check_foreign.py PUPIL_BINARY
"""
import json
import os
import subprocess
import sys
import tempfile

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

TEXTS = ["Once upon a time there was a fox", "Hello! How are you?", "你好，你是谁？"]
CHAT = [{"role": "user", "content": "Hi <|end|> there"}]
TEMPLATE = ("{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>{% endif %}")
SPECIALS = ["<|bos|>", "<|eos|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
WIDE = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=96, head_dim=16)
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
# Name, model_type, settings, how it is saved.
CASES = [
    ("gpt2", "gpt2", dict(n_embd=64, n_layer=3, n_head=4, n_positions=96), {}),
    ("gpt2 in bf16", "gpt2", dict(n_embd=64, n_layer=2, n_head=4, n_positions=96), dict(dtype=torch.bfloat16)),
    ("llama", "llama", WIDE, {}),
    ("llama, tied, in several files", "llama", {**WIDE, "tie_word_embeddings": True}, dict(max_shard_size="40KB")),
    ("llama 3's long context", "llama", {**WIDE, "rope_theta": 5e5, "rope_scaling": LLAMA3}, {}),
    ("llama, linear scaling, bf16", "llama", {**WIDE, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}, dict(dtype=torch.bfloat16)),
    ("mistral", "mistral", {**WIDE, "sliding_window": 12}, {}),
    ("mistral without a window", "mistral", {**WIDE, "sliding_window": None}, {}),
    ("qwen2", "qwen2", {**WIDE, "rope_theta": 1e6}, dict(max_shard_size="60KB")),
    ("qwen3", "qwen3", {**WIDE, "tie_word_embeddings": True}, {}),
    ("gemma", "gemma", WIDE, {}),
    ("gemma2", "gemma2", {**WIDE, "sliding_window": 12, "query_pre_attn_scalar": 24}, {}),
    ("gemma3", "gemma3_text", {**WIDE, "num_hidden_layers": 7, "sliding_window": 12, "query_pre_attn_scalar": 16}, {}),
]
REFUSED = [
    ("yarn", "llama", {**WIDE, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24}}, "yarn"),
    ("biases in attention", "llama", {**WIDE, "attention_bias": True}, "attention_bias"),
    ("another family", "gpt_neox", dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4), "gpt_neox"),
]


def make_tokenizer():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    t.train_from_iterator(TEXTS * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=t, bos_token="<|bos|>", eos_token="<|eos|>")
    fast.chat_template = TEMPLATE
    return fast


def make(tokenizer, kind, settings, save, path):
    torch.manual_seed(1)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer) + 8, **settings, **ids)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.08)
    save = dict(save)
    model = model.to(save.pop("dtype", torch.float32))
    model.save_pretrained(path, **save)
    tokenizer.save_pretrained(path)
    return model.to(torch.float32).eval()


def pupil(binary, *arguments):
    return subprocess.run([binary, *arguments], capture_output=True, text=True)


def check(binary, tokenizer, name, kind, settings, save, path):
    model = make(tokenizer, kind, settings, save, path)
    worst = 0.0
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        said = pupil(binary, "debug", "logits", "-m", path, "--dtype", "f32", "--ids", ",".join(map(str, ids)))
        if said.returncode:
            sys.exit(f"{name}: {said.stderr}")
        with torch.no_grad():
            theirs = model(torch.tensor([ids])).logits[0]
        worst = max(worst, (torch.tensor(json.loads(said.stdout)) - theirs).abs().max().item())
        words = pupil(binary, "generate", "-m", path, "--dtype", "f32", "--temp", "0", "--max-tokens", "24", "--raw", text)
        expected = greedy(model, tokenizer, ids)
        if words.stdout != expected + "\n":
            sys.exit(f"{name}: greedy text differs:\n  pupil        {words.stdout!r} {words.stderr}\n  transformers {expected!r}")
    if worst > 1e-3:
        sys.exit(f"{name}: largest logit difference {worst:.2e} is more than 1e-3")
    # What a person typed is text, also where it looks like a token of the template.
    mark = "\u2603"
    around = tokenizer.apply_chat_template([{"role": "user", "content": mark}], tokenize=False, add_generation_prompt=True).split(mark)
    plain = lambda text: tokenizer.backend_tokenizer.model and encode_plain(tokenizer, text)
    ids = tokenizer(around[0], add_special_tokens=False)["input_ids"] + plain(CHAT[0]["content"]) + tokenizer(around[1], add_special_tokens=False)["input_ids"]
    said = pupil(binary, "chat", "-m", path, "--dtype", "f32", "--temp", "0", "--max-tokens", "24", "--json", "-p", CHAT[0]["content"])
    if said.returncode:
        sys.exit(f"{name}: chat: {said.stderr}")
    reply = json.loads(said.stdout)
    expected = greedy(model, tokenizer, ids, extra_end=tokenizer.convert_tokens_to_ids("<|end|>"))
    if reply["reply"] != expected or reply["prompt_tokens"] != len(ids):
        sys.exit(f"{name}: chat differs:\n  pupil        {reply}\n  transformers {expected!r} after {len(ids)} tokens")
    files = sorted(f for f in os.listdir(path) if f.endswith(".safetensors"))
    print(f"{name}: {len(files)} file{'s' * (len(files) > 1)}, largest logit difference {worst:.2e}, same greedy text, same chat")


def encode_plain(tokenizer, text):
    """Ids of a text in which nothing is a special token: cut before each sign, which byte-level splitting does anyway between kinds of signs."""
    bare = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    state = json.loads(bare.to_str())
    state["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(state)).encode(text, add_special_tokens=False).ids


def greedy(model, tokenizer, ids, extra_end=None):
    ends = [1] + ([extra_end] if extra_end is not None else [])
    said = list(ids)
    for _ in range(24):
        with torch.no_grad():
            best = model(torch.tensor([said])).logits[0, -1].argmax().item()
        if best in ends:
            break
        said.append(best)
    said = [i for i in said[len(ids):] if i < len(tokenizer)]
    return tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def main(binary):
    tokenizer = make_tokenizer()
    with tempfile.TemporaryDirectory() as root:
        for i, (name, kind, settings, save) in enumerate(CASES):
            check(binary, tokenizer, name, kind, settings, save, os.path.join(root, str(i)))
        for i, (name, kind, settings, word) in enumerate(REFUSED):
            path = os.path.join(root, f"refused-{i}")
            make(tokenizer, kind, settings, {}, path)
            said = pupil(binary, "generate", "-m", path, "x")
            if said.returncode != 3 or word not in said.stderr:
                sys.exit(f"{name}: expected a refusal that names {word}, got {said.returncode} {said.stderr}")
            print(f"{name}: refused, {said.stderr.strip().splitlines()[0]}")


if __name__ == "__main__":
    main(sys.argv[1])
