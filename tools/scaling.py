#!/usr/bin/env python3
"""Fits the law of crates/train/src/dial.rs to the runs of the scaling study and draws them: python tools/scaling.py benches/results/2026-11-28-scaling.jsonl docs/scaling.svg

A line of the file is a run: text, depth, width, vocab, context, batch, tokens, lr, muon, parameters, bits_per_byte, and whether it counts for the fit (it has the rates and the
batch of the dial, or is of the comparison of widths at equal time on dialogue, whose text has a factor of its own). The fit is floor + A/N^a + B/D^b by least squares on a grid.
The runs are too short to tell powers and floor: both powers are 0.32, between those of Hoffmann et al. (0.34 and 0.28), so that parameters and tokens should grow alike, as they found;
 the floor is at most 1.2.
"""
import itertools
import json
import sys

import numpy as np

POWER = 0.32


def fit(runs):
    n = np.array([r["parameters"] for r in runs], float)
    d = np.array([r["tokens"] for r in runs], float)
    y = np.array([r["bits_per_byte"] for r in runs])
    other = np.array([r["text"] != "mixed" for r in runs])
    best = None
    grid = itertools.product([POWER], [POWER], np.arange(0.6, 1.21, 0.1), np.arange(0.84, 1.0, 0.01))
    for a, b, floor, ease in grid:
        scale = np.where(other, ease, 1.0)
        x = np.stack([n**-a, d**-b], 1) * scale[:, None]
        factors, *_ = np.linalg.lstsq(x, y - floor * scale, rcond=None)
        if (factors <= 0).any():
            continue
        off = float(np.square(x @ factors + floor * scale - y).mean() ** 0.5)
        score = off
        if best is None or score < best[0]:
            best = (score, off, floor, factors[0], a, factors[1], b, ease)
    return best[1:]


def svg(runs, law):
    off, floor, ka, a, kb, b, ease = law
    width, height, left, bottom = 720, 420, 60, 50
    lo, hi = 2e5, 2e8
    top = max(r["bits_per_byte"] for r in runs) + 0.1
    x = lambda t: left + (np.log(t / lo) / np.log(hi / lo)) * (width - left - 90)
    y = lambda v: (height - bottom) * (top - v) / (top - 1.0) + 10
    colours = ["#1b6ca8", "#c8553d", "#2a7f4f", "#8a5aab", "#b8860b", "#444444"]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for t in [3e5, 1e6, 3e6, 1e7, 3e7, 1e8]:
        out.append(f'<line x1="{x(t):.0f}" x2="{x(t):.0f}" y1="10" y2="{height - bottom}" stroke="#eee"/>'
                   f'<text x="{x(t):.0f}" y="{height - bottom + 16}" text-anchor="middle">{t:,.0f}</text>')
    for v in np.arange(1.0, top, 0.2):
        out.append(f'<line x1="{left}" x2="{width - 90}" y1="{y(v):.0f}" y2="{y(v):.0f}" stroke="#eee"/>'
                   f'<text x="{left - 6}" y="{y(v) + 4:.0f}" text-anchor="end">{v:.1f}</text>')
    for colour, (depth, n) in zip(colours, sorted({(r["depth"], r["parameters"]) for r in runs})):
        ts = np.geomspace(lo, hi, 60)
        path = " ".join(f"{x(t):.1f},{y(floor + ka * n**-a + kb * t**-b):.1f}" for t in ts)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-dasharray="4 3"/>')
        last = y(floor + ka * n**-a + kb * ts[-1] ** -b)
        out.append(f'<text x="{width - 86}" y="{last + 4:.0f}" fill="{colour}">depth {depth}</text>')
        for r in runs:
            if r["depth"] == depth:
                out.append(f'<circle cx="{x(r["tokens"]):.1f}" cy="{y(r["bits_per_byte"]):.1f}" r="4" fill="{colour}"/>')
    out.append(f'<text x="{(width - 30) / 2}" y="{height - 10}" text-anchor="middle">tokens learned from; dots are runs, lines the fit</text>')
    out.append(f'<text x="14" y="{(height - bottom) / 2}" transform="rotate(-90 14 {(height - bottom) / 2})" text-anchor="middle">bits per byte, held out</text></svg>')
    return "\n".join(out) + "\n"


def main():
    runs = [json.loads(line) for line in open(sys.argv[1])]
    used = [r for r in runs if r["fit"]]
    law = fit(used)
    off, floor, ka, a, kb, b, ease = law
    print(f"{len(used)} runs: floor {floor:.2f}, parameters ({ka:.2f}, {a:.2f}), tokens ({kb:.2f}, {b:.2f}); off by {off:.4f} bits per byte")
    for r in used:
        expected = (floor + ka * r["parameters"] ** -a + kb * r["tokens"] ** -b) * (1.0 if r["text"] == "mixed" else ease)
        print(f"  {r['text']:<8} depth {r['depth']} width {r['width']:>3} {r['tokens']:>9,} tokens: {r['bits_per_byte']:.3f}, fit {expected:.3f}")
    runs = [r for r in used if r["text"] == "mixed"]
    with open(sys.argv[2], "w") as f:
        f.write(svg(runs, law))


main()
