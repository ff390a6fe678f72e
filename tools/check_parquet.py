"""Writes Parquet files with pyarrow in many forms and compares what `pupil data prepare` keeps of them with what was written.

    cargo build --release --features parquet
    python tools/check_parquet.py target/release/pupil

Forms: three codecs, pages of version 1 and 2, dictionaries on and off, row groups of 7 and of 1000 rows; columns of text, of questions and
answers, `messages` as a list of structs, `conversations` as a struct of lists, long strings, binary columns that hold text.
"""

import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq

pupil = sys.argv[1]
N = 50


def said(i):
    return f"words of row {i}, 你好 {'x' * (i * 37 % 500)}"


def chat(i):
    roles = ["user", "assistant"] * (1 + i % 3)
    return [{"role": r, "content": f"{said(i)} turn {k}"} for k, r in enumerate(roles)]


TABLES = {
    "text": ({"text": [said(i) for i in range(N)], "number": list(range(N))}, lambda i: {"text": said(i)}),
    "large": ({"text": pa.array([said(i) for i in range(N)], pa.large_string())}, lambda i: {"text": said(i)}),
    "binary": ({"text": pa.array([said(i).encode() for i in range(N)], pa.binary())}, lambda i: {"text": said(i)}),
    "pairs": (
        {"question": [f"q {said(i)}" for i in range(N)], "answer": [f"a {said(i)}" for i in range(N)], "nothing": [None] * N},
        lambda i: {"messages": [{"role": "user", "content": f"q {said(i)}"}, {"role": "assistant", "content": f"a {said(i)}"}]},
    ),
    "messages": ({"messages": [chat(i) for i in range(N)], "score": [0.5] * N}, lambda i: {"messages": chat(i)}),
    "lists": (
        {
            "conversations": [
                {"from": ["human" if m["role"] == "user" else "gpt" for m in chat(i)], "value": [m["content"] for m in chat(i)]} for i in range(N)
            ]
        },
        lambda i: {"messages": chat(i)},
    ),
}

checked = failures = 0
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    forms = itertools.product(["none", "snappy", "zstd"], ["1.0", "2.0"], [True, False], [7, 1000])
    for (codec, page, dictionary, rows), (name, (columns, record)) in itertools.product(forms, TABLES.items()):
        path = folder / "x.parquet"
        pq.write_table(pa.table(columns), path, compression=codec, data_page_version=page, use_dictionary=dictionary, row_group_size=rows)
        out = folder / "out"
        command = [pupil, "data", "prepare", path, "--out", out, "--validation", "0", "--near", "0", "--min-letters", "0"]
        done = subprocess.run(command, capture_output=True, text=True)
        kept = [json.loads(line) for file in sorted(out.glob("train-*.jsonl")) for line in file.open(encoding="utf-8")]
        checked += 1
        if done.returncode or kept != [record(i) for i in range(N)]:
            failures += 1
            print(name, codec, page, dictionary, rows, "exit", done.returncode, len(kept), "records", done.stderr[-300:])
print(f"{checked} files, {failures} failures")
sys.exit(failures > 0)
