"""Loads a pupil model in transformers and compares logits (f32, at most 1e-3 apart) and greedy text with pupil's own.

Run: python tools/check_transformers.py MODEL_DIRECTORY PUPIL_BINARY
"""
import json
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ["Once upon a time there was a fox", "Hello! How are you?", "你好，你是谁？", "The capital of France is"]


def main(directory, pupil):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    worst = 0.0
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        said = subprocess.run([pupil, "debug", "logits", "-m", directory, "--dtype", "f32", "--ids", ",".join(map(str, ids))],
                              capture_output=True, text=True, check=True).stdout
        ours = torch.tensor(json.loads(said))
        with torch.no_grad():
            theirs = model(torch.tensor([ids])).logits[0]
            greedy = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False, pad_token_id=0)[0][len(ids):]
        difference = (ours - theirs).abs().max().item()
        worst = max(worst, difference)
        words = subprocess.run([pupil, "generate", "-m", directory, "--dtype", "f32", "--temp", "0", "--max-new", "24", "-p", text],
                               capture_output=True, text=True, check=True).stdout
        expected = tokenizer.decode(greedy, skip_special_tokens=True)
        print(f"{text!r}: largest logit difference {difference:.2e}; greedy {expected!r}")
        if words.rstrip("\n") != expected.rstrip("\n"):
            sys.exit(f"greedy text differs:\n  pupil        {words!r}\n  transformers {expected!r}")
    chat = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello."}]
    rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    expected = "<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>assistant\n"
    if rendered != expected:
        sys.exit(f"the chat template renders {rendered!r}")
    if worst > 1e-3:
        sys.exit(f"largest logit difference {worst:.2e} is more than 1e-3")
    print(f"{model.__class__.__name__}: largest logit difference {worst:.2e}, same greedy text, same chat template")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
