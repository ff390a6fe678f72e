"""Counts records with Python's own readers and compares with what `pupil data prepare` reports; compares the article's pairs with Python's `re`.

    python tools/check_data.py FOLDER target/release/pupil [--cornell FOLDER]

FOLDER may hold .jsonl and .json (a list) files, also as .gz and .zst (the `zstd` program is used), and .zip files of texts.
"""

import argparse
import gzip
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("pupil")
parser.add_argument("--cornell", type=pathlib.Path)
arguments = parser.parse_args()


def contents(path):
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout
    return gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()


def records(path):
    """Records in a file, or None if this script does not know its form."""
    name = re.sub(r"\.(gz|zst)$", "", path.name)
    if name.endswith(".jsonl"):
        return sum(1 for line in contents(path).decode("utf-8-sig").split("\n") if line.strip())
    if name.endswith(".json"):
        try:
            value = json.loads(contents(path))
        except json.JSONDecodeError:
            return None
        return len(value) if isinstance(value, list) and all(isinstance(v, dict) for v in value) else None
    return None


def entries(path):
    with zipfile.ZipFile(path) as archive:
        return [i.filename for i in archive.infolist() if not i.is_dir()]


failures = checked = 0
with tempfile.TemporaryDirectory() as folder:
    out = pathlib.Path(folder) / "out"
    done = subprocess.run([arguments.pupil, "data", "prepare", arguments.folder, "--out", out, "--lenient"])
    if done.returncode:
        sys.exit(f"prepare failed with {done.returncode}")
    report = json.loads((out / "report.json").read_text())
    reported = {f["name"]: f for f in report["files"]}
    kept = {"documents": 0, "chats": 0, "preferences": 0}
    for path in out.glob("*.jsonl"):
        kind = path.stem.split("-")[1]
        kept[kind] += path.read_bytes().count(b"\n")
    for kind, count in kept.items():
        said = report["kept"].get(kind, {"records": 0})["records"]
        failures += said != count
        print(f"{'ok ' if said == count else 'BAD'} kept {kind}: {count} lines, {said} reported")
    for path in sorted(p for p in arguments.folder.rglob("*") if p.is_file()):
        name = re.sub(r"\.(gz|zst)$", "", str(path))
        if path.suffix == ".zip":
            want, got = len(entries(path)), sum(f.startswith(str(path) + "/") for f in reported)
        else:
            want = records(path)
            got = reported.get(name, {"records": None})["records"]
        # One record may become several (cut documents, a list of answers): at least as many as there are.
        if want is not None:
            good = got is not None and got >= want
            checked += 1
            failures += not good
            print(f"{'ok ' if good else 'BAD'} {path.name}: {want} here, {got} reported")

    if arguments.cornell:
        pairs = pathlib.Path(folder) / "pairs.jsonl"
        command = [arguments.pupil, "data", "import", "cornell", arguments.cornell, "--article", "--out", pairs]
        subprocess.run(command, check=True)
        found = next(p for p in arguments.cornell.iterdir() if p.name.startswith("movie_lines.txt"))
        # Five bytes have no character in Python's codec; browsers read them as control characters, which the cleaning removes.
        data = "".join(bytes([b]).decode("cp1252", errors="replace") for b in contents(found)).split("\n")

        def clean(sentence):
            return re.sub(r"\s+", " ", re.sub(r"[^a-zA-Z0-9\s]", "", sentence))

        want = [[clean(data[i]), clean(data[i + 1])] for i in range(0, len(data), 2) if i + 1 < len(data)]
        parsed = [json.loads(line) for line in pairs.read_text().splitlines()]
        got = [[p["question"], p["answer"]] for p in parsed]
        checked += 1
        failures += want != got
        print(f"{'ok ' if want == got else 'BAD'} the article's pairs: {len(want)} by Python, {sum(a == b for a, b in zip(want, got))} the same")

print(f"{checked} checked, {failures} failures")
sys.exit(failures > 0)
