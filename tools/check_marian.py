"""Random Transformers (encoder and decoder, as Marian has them), both ways: written by transformers and read by pupil, and written by pupil and
read by transformers. Scores are at most 1e-3 apart (f32).

Run: python tools/check_marian.py PUPIL_BINARY [MARIAN_DIRECTORY]
With a directory that pupil wrote, that model is compared too.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from transformers import MarianConfig, MarianMTModel

BOUND = 1e-3


def ours(pupil, directory, source, ids):
    numbers = [",".join(map(str, x)) for x in (source, ids)]
    command = [pupil, "debug", "logits", "-m", str(directory), "--dtype", "f32", "--source", numbers[0], "--ids", numbers[1]]
    return torch.tensor(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def compare(pupil, directory, model, what):
    generator = torch.Generator().manual_seed(7)
    worst = 0.0
    for read, write in ((1, 1), (2, 9), (17, 5), (model.config.max_position_embeddings, model.config.max_position_embeddings)):
        source, ids = [torch.randint(model.config.vocab_size, (n,), generator=generator).tolist() for n in (read, write)]
        with torch.no_grad():
            theirs = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([ids])).logits[0]
        mine = ours(pupil, directory, source, ids)
        if mine.shape != theirs.shape:
            sys.exit(f"{what}: scores have shape {tuple(mine.shape)} in pupil, {tuple(theirs.shape)} in transformers")
        worst = max(worst, (mine - theirs).abs().max().item())
    print(f"{what}: largest difference {worst:.2e}, largest score {theirs.abs().max().item():.1f}")
    if not worst <= BOUND:
        sys.exit(f"{what}: {worst:.2e} is more than {BOUND}")
    return worst


def read_by_transformers(directory):
    model, report = MarianMTModel.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    odd = {k: v for k, v in report.items() if v and k in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if odd:
        sys.exit(f"transformers does not read what pupil wrote: {odd}")
    return model.eval()


def main(pupil, *directories):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(1)
    worst = 0.0
    for activation, layers in (("relu", (2, 3)), ("gelu", (3, 1)), ("swish", (1, 2))):
        config = MarianConfig(vocab_size=97, d_model=48, encoder_layers=layers[0], decoder_layers=layers[1], encoder_attention_heads=4,
                              decoder_attention_heads=4, encoder_ffn_dim=112, decoder_ffn_dim=112, max_position_embeddings=40,
                              scale_embedding=True, activation_function=activation, pad_token_id=96, eos_token_id=3,
                              decoder_start_token_id=1, forced_eos_token_id=3)
        model = MarianMTModel(config).eval()
        # Larger numbers than fresh models have, biases and gains too, so that every one matters; the positions stay what they are.
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "embed_positions" not in name:
                    p.add_(torch.randn_like(p) * 0.15)
            model.final_logits_bias.add_(torch.randn_like(model.final_logits_bias))
        with tempfile.TemporaryDirectory() as folder:
            there, back = Path(folder, "there"), Path(folder, "back")
            model.save_pretrained(there)
            worst = max(worst, compare(pupil, there, model, f"{activation}, written by transformers"))
            subprocess.run([pupil, "debug", "rewrite", "-m", str(there), "--out", str(back)], check=True)
            again = read_by_transformers(back)
            for (name, a), (_, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
                if not torch.equal(a, b):
                    sys.exit(f"{activation}: {name} did not come back bit for bit")
            worst = max(worst, compare(pupil, back, again, f"{activation}, written by pupil"))
    for directory in directories:
        worst = max(worst, compare(pupil, directory, read_by_transformers(directory), f"the model in {directory}"))
    print(f"largest difference of all {worst:.2e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
