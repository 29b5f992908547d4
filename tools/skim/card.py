"""The card of the block model: what it was made from, what it looks at, and how far its confidence can be believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tokenmill.extract.skim import choose
from tokenmill.extract.skim.model import Model
from tools.skim import calibrate, fit
from tools.skim.data import FOLDS

if TYPE_CHECKING:
    from tools.skim.train import Trainer

CUTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
SHOWN = 20


def describe(
    trainer: Trainer, models: Sequence[Model], found: calibrate.Measured, calibrated: calibrate.Array
) -> dict[str, Any]:
    """Everything that the card says, kept in the model's file."""
    pages = trainer.pages
    expected = calibrate.routes(found.features, calibrated)
    crawl = found.weight > 0
    routed = expected > calibrated[-1]
    both = routed & ~np.isnan(found.ours) & ~np.isnan(found.fast)
    return {
        "pages": len(pages),
        "hosts": len({page.host for page in pages}),
        "domains": len({page.domain for page in pages}),
        "blocks": int(sum(len(page.target) for page in pages)),
        "rows": trainer.rows,
        "annotated": dict(sorted(Counter(page.gold_source for page in pages if page.gold_source).items())),
        "languages": dict(Counter(page.language for page in pages).most_common(12)),
        "settings": {"first": trainer.first_settings, "second": trainer.second_settings, "threads": fit.THREADS},
        "cuts": _cuts(trainer, models),
        "blocks_calibration": _blocks(trainer, models),
        "reliability": calibrate.reliability(found, calibrated),
        "routed": {
            "threshold": round(float(calibrated[-1]), 5),
            "share_of_crawl": round(float(found.weight[routed & crawl].sum() / found.weight.sum()), 4),
            "annotated_pages": int(both.sum()),
            "gain_on_them": round(float((found.fast - found.ours)[both].mean()), 4) if both.any() else 0.0,
        },
        "folds": FOLDS,
    }


def _cuts(trainer: Trainer, models: Sequence[Model]) -> list[dict[str, Any]]:
    """F1 over annotated blocks, out of fold, by what the page was annotated with and the cut."""
    from tokenmill.extract.skim.model import probabilities

    chosen = [page for page in trainer.pages if page.gold_source]
    likely = [probabilities(page.scan, models[page.fold]) for page in chosen]
    rows = []
    for cut in CUTS:
        scores: dict[str, list[float]] = {}
        for page, found in zip(chosen, likely, strict=True):
            keep = choose.choose(page.scan, found, models[page.fold], choose.Settings(cut=cut)).keep
            size = (page.scan.bl_end - page.scan.bl_start).astype(np.float64)
            score = calibrate.f1(keep.astype(np.float64), page, size)
            if not np.isnan(score):
                scores.setdefault(page.gold_source, []).append(score)
        means = {name: round(float(np.mean(values)), 4) for name, values in sorted(scores.items())}
        rows.append({"cut": cut, **means})
    return rows


def _blocks(trainer: Trainer, models: Sequence[Model]) -> list[dict[str, Any]]:
    """Share of wanted blocks by probability, on pages that are annotated throughout."""
    from tokenmill.extract.skim.model import probabilities

    chosen = [page for page in trainer.pages if page.gold_source in ("body", "ranges")]
    likely = np.concatenate([probabilities(page.scan, models[page.fold]) for page in chosen])
    gold = np.concatenate([page.gold for page in chosen])
    rows = []
    for tenth in range(10):
        inside = (np.minimum((likely * 10).astype(int), 9) == tenth) & ~np.isnan(gold)
        if inside.any():
            mean, wanted = round(float(likely[inside].mean()), 3), round(float(gold[inside].mean()), 3)
            rows.append({"blocks": int(inside.sum()), "expected": mean, "wanted": wanted})
    return rows


def markdown(model: Model) -> str:
    """The card as a page of the documentation."""
    c = model.card
    routed = c["routed"]
    lines = [
        "# The block model of skim",
        "",
        "Written by `python -m tools.skim.train` (`make skim-model`); all figures are out of fold: every page"
        " is judged by a",
        f"model that never saw its registrable domain ({c['folds']} folds). The file is"
        f" `tokenmill/extract/skim/data/model.npz`,",
        f"{len(model.to_bytes()) // 1000} kB, SHA-256 `{model.digest}`.",
        "",
        "## Data",
        "",
        f"{c['pages']:,} pages of {c['hosts']:,} hosts ({c['domains']:,} registrable domains),"
        f" {c['blocks']:,} blocks, of which each stage",
        f"is fitted on {c['rows']:,} drawn by weight. Labels: where a page is annotated, the annotation"
        f" ({', '.join(f'{name} {count}' for name, count in c['annotated'].items())}),",
        "weighed four times; elsewhere the mean of trafilatura 2.3 fast, default and precision, weighed less"
        " where they disagree.",
        "A host's weight grows with the root of its pages, a page's with the root of its blocks.",
        "",
        "Languages: " + ", ".join(f"{name or 'unknown'} {count}" for name, count in c["languages"].items()) + ".",
        "",
        "## Model",
        "",
        f"Names of classes and ids: logistic regression over 14-bit tokens. First stage:"
        f" {c['settings']['first']['num_iterations']}"
        " boosted trees of 16 leaves over the",
        f"block's features, all bytes; second stage: {c['settings']['second']['num_iterations']} over the"
        f" first one's probabilities"
        " around the block. Gain by feature:",
        "",
        "| first stage | share | second stage | share |",
        "|---|---|---|---|",
        *(
            f"| {a} | {x:.3f} | {b} | {y:.3f} |"
            for (a, x), (b, y) in zip(
                list(c["gain"]["first"].items())[:SHOWN], list(c["gain"]["second"].items())[:SHOWN], strict=True
            )
        ),
        "",
        "## Quality by cut",
        "",
        "Mean F1 of the bytes of annotated blocks: articles with full bodies, pages that are not articles"
        " (ranges), and pages with",
        "some segments annotated. Scores of texts, and of other extractors, are in [extraction.md](extraction.md).",
        "",
        *_table(c["cuts"]),
        "",
        "## Can it be believed?",
        "",
        "Blocks of pages that are annotated throughout: mean probability, and share that was wanted.",
        "",
        *_table(c["blocks_calibration"]),
        "",
        "Pages: the confidence that skim gives, and the F1 that it had.",
        "",
        *_table(c["reliability"]),
        "",
        f"The cascade asks trafilatura where the route is above {routed['threshold']}, which"
        f" {routed['share_of_crawl']:.1%} of"
        " the crawl's pages pass; on the",
        f"{routed['annotated_pages']} annotated ones among them trafilatura fast is better by"
        f" {routed['gain_on_them']:+.3f} F1.",
        "",
    ]
    return "\n".join(lines)


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = list(rows[0]) if rows else []
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(str(row.get(name, "")) for name in head) + " |" for row in rows),
    ]
