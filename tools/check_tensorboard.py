"""Reads a run's TensorBoard event files with TensorBoard's own reader and holds them against metrics.jsonl and samples.jsonl.

    python tools/check_tensorboard.py RUN

Needs the packages tensorboard and numpy. RUN is the directory of a run that was made with --tensorboard. Every record's checksums are
verified by the reader; every step's loss has to be there, equal in single precision; every sample has to be there, word for word.
"""

import json
import pathlib
import sys

import numpy
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main():
    run = pathlib.Path(sys.argv[1])
    guidance = {event_accumulator.SCALARS: 0, event_accumulator.TENSORS: 0}
    reader = event_accumulator.EventAccumulator(str(run / "tensorboard"), size_guidance=guidance)
    reader.Reload()
    metrics = lines(run / "metrics.jsonl")

    def compare(tag, key):
        wanted = {m["step"]: numpy.float32(m[key]) for m in metrics if m.get(key) is not None}
        found = {e.step: numpy.float32(e.value) for e in reader.Scalars(tag)}
        assert wanted == found, f"{tag}: {len(wanted)} wanted, {len(found)} found, or their values differ"
        print(f"{tag}: {len(found)} values equal {key} of metrics.jsonl")

    compare("train/loss", "loss")
    compare("train/gradient_norm", "gradient_norm")
    compare("train/rate", "rate")
    compare("validation/loss", "validation_loss")
    texts = {}
    for tag in reader.Tags()["tensors"]:
        assert reader.SummaryMetadata(tag).plugin_data.plugin_name == "text", tag
        for e in reader.Tensors(tag):
            (text,) = tensor_util.make_ndarray(e.tensor_proto)
            texts.setdefault(e.step, []).append(text.decode("utf-8"))
    samples = lines(run / "samples.jsonl") if (run / "samples.jsonl").exists() else []
    for s in samples:
        # The last line end closes the block of code that a sample stands in.
        whole = (s["prompt"] + s["text"]).rstrip("\n")
        shown = "".join(c if c in "\n\t" or c.isprintable() or ord(c) > 0x9F else "\ufffd" for c in whole)
        assert any(shown in t for t in texts.get(s["step"], [])), f"the sample of step {s['step']} is missing: {shown!r}"
    print(f"{len(samples)} samples are there")


if __name__ == "__main__":
    main()
