"""Prints the intervals and probabilities of scipy that stand in the tests of crates/eval/src/statistics.rs.

    python tools/make_statistics_fixture.py
"""

import scipy
from scipy.stats import binomtest

print(f"// Made by tools/make_statistics_fixture.py with scipy {scipy.__version__}.")
cases = [(0, 1), (1, 1), (0, 20), (20, 20), (1, 3), (7, 10), (50, 100), (97, 100), (412, 1000), (2, 100000)]
print(f"const SCIPY_WILSON: [(usize, usize, f64, f64); {len(cases)}] = [")
for k, n in cases:
    i = binomtest(k, n).proportion_ci(method="wilson")
    print(f"    ({k}, {n}, {float(i.low)!r}, {float(i.high)!r}),")
print("];")
pairs = [(1, 0), (5, 0), (3, 9), (12, 12), (40, 61), (300, 420), (0, 60)]
print(f"const SCIPY_MCNEMAR: [(usize, usize, f64); {len(pairs)}] = [")
for a, b in pairs:
    print(f"    ({a}, {b}, {float(binomtest(min(a, b), a + b, 0.5).pvalue)!r}),")
print("];")
