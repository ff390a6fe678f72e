"""Learns from the features and the splits that `pupil lineage --classic … --features DIR` writes, with scikit-learn (and python-crfsuite, if it is
there), and prints its accuracies beside pupil's.

    pupil lineage --classic reviews.zip tagged.conllu --features features --out out
    python tools/check_classic.py features out/classic.json

Ends with status 1 if a mean over the splits differs by more than one percentage point.
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_svmlight_files
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

folder, outcome = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
settings = outcome["settings"]
# What draws lots is drawn several times, as one draw is worth a point or two by itself.
DRAWS = 5


def pupil(task, learner):
    points = [p for p in outcome[task]["points"] if p["learner"] == learner]
    return max(points, key=lambda p: p["size"]) if points else None


def svm(x):
    # One over the mean squared length of the rows, as SVMlight has it.
    machine = LinearSVC(loss="hinge", C=1 / (x.getnnz(1) + 1).mean(), max_iter=100_000, tol=1e-4)
    return machine if len(outcome["texts"]["classes"]) == 2 else OneVsRestClassifier(machine)


LEARNERS = {
    "bayes": lambda seed, x: MultinomialNB(alpha=settings["alpha"]),
    "max-ent": lambda seed, x: LogisticRegression(C=settings["c_maxent"], max_iter=2000, tol=1e-6),
    "svm": lambda seed, x: svm(x),
    "tree": lambda seed, x: DecisionTreeClassifier(
        max_depth=settings["depth"], min_samples_leaf=settings["leaf"], random_state=seed
    ),
    "forest": lambda seed, x: RandomForestClassifier(n_estimators=settings["trees"], max_features="sqrt", random_state=seed),
    "boosting": lambda seed, x: AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=1), n_estimators=settings["rounds"], random_state=seed
    ),
}
# Equal splits are chosen between by lot.
DRAWN = ("tree", "forest")

worst = 0.0
print(f"{'texts':22}{'pupil':>8}{'sklearn':>9}  difference, points")
for name, make in LEARNERS.items():
    point = pupil("texts", name)
    largest = max(p["size"] for p in outcome["texts"]["points"])
    if point is None or point["size"] != largest:
        continue
    theirs = []
    for k in range(len(point["accuracies"])):
        files = [str(folder / f"texts-{k}-{part}.svm") for part in ("train", "test")]
        words = len((folder / f"words-{k}.txt").read_text().splitlines())
        x, y, x_test, y_test = load_svmlight_files(files, n_features=words)
        for table in (x, x_test):
            # The machine of scikit-learn takes no wider ones.
            table.indices, table.indptr = table.indices.astype(np.int32), table.indptr.astype(np.int32)
        draws = DRAWS if name in DRAWN else 1
        theirs += [np.mean([make(seed, x).fit(x, y).score(x_test, y_test) for seed in range(draws)])]
    ours = np.mean(point["accuracies"])
    difference = 100 * (ours - np.mean(theirs))
    worst = max(worst, abs(difference))
    print(f"{name:22}{100 * ours:8.2f}{100 * np.mean(theirs):9.2f}  {difference:+.2f}")


def sentences(name):
    for block in (folder / name).read_text().split("\n\n"):
        rows = [line.split("\t") for line in block.splitlines() if line]
        if rows:
            yield [row[1:] for row in rows], [row[0] for row in rows]


def compare(name, theirs, by):
    global worst
    ours = pupil("tags", name)["accuracies"][0]
    difference = 100 * (ours - theirs)
    worst = max(worst, abs(difference))
    print(f"{name:22}{100 * ours:8.2f}{100 * theirs:9.2f}  {difference:+.2f}  ({by})")


print(f"\n{'tags, first split':22}{'pupil':>8}{'other':>9}  difference, points")
if "max-ent-tagger" in {p["learner"] for p in outcome["tags"]["points"]}:
    from scipy.sparse import csr_matrix

    train, test = list(sentences("tags-train.txt")), list(sentences("tags-test.txt"))
    width = 1 + max(int(f) for rows, _ in train for row in rows for f in row)

    def rows_and_tags(part):
        rows = [[int(f) for f in row] for sentence, _ in part for row in sentence]
        ends = np.cumsum([0] + [len(r) for r in rows])
        columns = np.concatenate([np.array(r, dtype=int) for r in rows])
        return csr_matrix((np.ones(len(columns)), columns, ends), (len(rows), width)), [t for _, tags in part for t in tags]

    (x, y), (x_test, y_test) = rows_and_tags(train), rows_and_tags(test)
    theirs = LogisticRegression(C=settings["c_taggers"], max_iter=1000).fit(x, y).score(x_test, y_test)
    compare("max-ent-tagger", theirs, "sklearn")
try:
    import pycrfsuite
except ImportError:
    print("crf: python-crfsuite is not installed")
else:
    for name, files, c in (("crf", "tags", "c_taggers"), ("crf-same", "tags-same", "c_same")):
        trainer = pycrfsuite.Trainer(verbose=False)
        for rows, tags in sentences(f"{files}-train.txt"):
            trainer.append(rows, tags)
        # crfsuite's penalty is c2·|w|², ours |w|² / 2C.
        trainer.set_params({"c1": 0, "c2": 0.5 / settings[c], "feature.possible_transitions": True, "feature.possible_states": True})
        trainer.train(str(folder / "crfsuite.model"))
        tagger = pycrfsuite.Tagger()
        tagger.open(str(folder / "crfsuite.model"))
        right = [a == b for rows, tags in sentences(f"{files}-test.txt") for a, b in zip(tagger.tag(rows), tags)]
        compare(name, np.mean(right), "crfsuite")

print(f"\nlargest difference: {worst:.2f} points")
sys.exit(int(worst > 1.0))
