"""The card of a trained classifier: what it was made from, how well it does, and where not to trust it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenmill.classifiers.train.figures import PERCENTS, TOP

_NAMES = {
    "qwk": "quadratic-weighted kappa",
    "macro_f1": "macro-F1",
    "worst_class_f1": "F1 of the worst class",
    "worst_f1": "F1 of the worst class",
    "accuracy": "accuracy",
    "spearman": "Spearman with the labels",
    "threshold_f1": "F1 at the threshold",
    "threshold_precision": "precision at the threshold",
    "threshold_recall": "recall at the threshold",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
}
_KINDS = {
    "head": "a linear head on the vectors of a frozen encoder",
    "finetune": "a fine-tuned encoder",
    "fasttext": "a fastText model of words and runs of words",
}
_RARE = 30


def write_card(facts: Mapping[str, Any]) -> str:
    """The card as Markdown, from what `training.json` holds."""
    sections = (_head, _use, _data, _results, _confusion, _calibration, _percentiles, _others, _sensitivity, _limits)
    return "\n".join(line for section in sections for line in section(facts)) + "\n"


def _head(facts: Mapping[str, Any]) -> list[str]:
    settings = facts["settings"]
    made = f"{_KINDS[settings['kind']]}, trained by tokenmill {facts['versions']['tokenmill']}"
    encoder = facts.get("encoder")
    lines = [f"# {settings['label']}: {settings['problem']} classifier of texts", "", f"This is {made}."]
    if encoder:
        lines.append(
            f"Encoder: `{encoder['model']}` (SHA-256 of its files {encoder['digest'][:16]}...), pooling"
            f" {encoder['pooling']}, hidden states {encoder['layers'] or 'the last'}, {encoder['max_tokens']} tokens"
            f" of each text ({settings['long_documents']}). Score with the same number of tokens."
        )
    if settings["kind"] == "head":
        picked = f"picked by {_NAMES[facts['picked_by']]}" if len(settings["strengths"]) > 1 else "the only one tried"
        lines.append(f"Strength of regularisation: {facts['chosen']:g}, {picked}.")
        if settings["half"]:
            lines.append("It learned from the first half of the tokens of each text too, with the same label.")
    return lines


def _use(facts: Mapping[str, Any]) -> list[str]:
    settings = facts["settings"]
    threshold, problem = settings["threshold"], settings["problem"]
    lines = ["", "## What the score means", ""]
    if problem == "ordinal":
        highest = len(facts["names"]) - 1
        lines += [
            f"The score is on the scale of the labels, 0 to {highest}; it may lie a little outside. The class is the",
            f'rounded score within 0 to {highest}. **Rule**: "threshold {threshold}" means round(score) >= {threshold}',
            f"(score > {threshold - 0.5:g}; exactly {threshold - 0.5:g} rounds to the even number), not score >=",
            f"{threshold}, which is another, much smaller set.",
            "",
            "Scores were stretched so that their mean and spread are those of the labels. That gives every grade about",
            "its share, but a score is not the expected grade: chances are in `calibration.json` and in a table below.",
        ]
    elif problem == "binary":
        lines.append(f"The score is the calibrated probability of `{facts['names'][1]}`; the decision is at 1/2.")
    else:
        lines.append("There is one calibrated probability per class; the decision is the likeliest class.")
    if settings["kind"] == "fasttext":
        affine = facts["calibration"]
        lines += [
            "",
            f"The model file gives probabilities of the labels. The calibrated output is {affine['scale']:.4g} * output"
            f" + {affine['shift']:.4g}, where",
            "the output is the expected grade, or else the logarithm of odds or probabilities; texts are prepared with",
            '`text="dclm"`.',
        ]
        labels = zip(facts["fasttext_labels"], facts["names"], strict=True)
        shown = (f"`__label__{label}`" + (f" ({_safe(name)})" if label != name else "") for label, name in labels)
        lines += ["", f"Labels in the model file: {', '.join(shown)}."]
    return lines


def _data(facts: Mapping[str, Any]) -> list[str]:
    settings, data = facts["settings"], facts["data"]
    counts = ", ".join(f"{name}: {count}" for name, count in data["counts"].items())
    lines = ["", "## Data", ""]
    lines += [
        f"{data['documents']} documents of {data['groups']} groups (hosts, unless a column was named);"
        f" {data['skipped']} rows without text or label were left out.",
        f"Labels: column `{settings['label']}`, given by {settings['labelled_by']}. Counts: {counts}.",
        f"SHA-256 of texts, labels and groups: {data['digest']}.",
        *_notes(settings, data),
    ]
    if settings["label_agreement"]:
        low, high = min(settings["label_agreement"]), max(settings["label_agreement"])
        lines += [
            "The labels agree with a second pass of their own rater at a quadratic-weighted kappa of"
            f" {low:g} to {high:g}:",
            "an upper bound for what can be measured here, and no word about agreement with people.",
        ]
    else:
        lines.append("How far the labels agree with a second pass is not known.")
    return lines


def _notes(settings: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    """What the groups and the grades owe to repairs."""
    lines = []
    if data["ungrouped"]:
        lines.append(
            f"{data['ungrouped']} documents have no group and count as one each: what they share with others may be on"
            " both sides of a split."
        )
    if data["joined"]:
        lines.append(f"{data['joined']} documents have a text that is there under several groups; those became one.")
    if data["fractions"]:
        learned = "as the nearest grade" if settings["kind"] == "fasttext" else "as they are"
        lines.append(
            f"{data['fractions']} labels are fractions, learned {learned}; counts and figures take the nearest grade"
            " (halves the even one)."
        )
    return lines


def _results(facts: Mapping[str, Any]) -> list[str]:
    settings, found = facts["settings"], facts["found"]
    chosen = "The strength and the calibration were" if len(settings["strengths"]) > 1 else "The calibration was"
    inner = (
        f"{chosen} chosen on {settings['inner_folds']} inner folds of the training folds."
        if settings["kind"] == "head"
        else "The calibration of a fold was fitted on the predictions for the other folds."
    )
    lines = ["", "## Figures", ""]
    lines += [
        f"All figures are cross-validated: {settings['folds']} folds, no group on both sides. {inner}",
        "The published model is fitted on all documents once more, so it has itself no figures of its own.",
        f"Intervals: 95 %, from {settings['draws']} resamples of whole groups.",
        "",
        *_table(
            ("figure", "value", "interval"),
            (
                (_NAMES[name], _number(one["value"]), f"{_number(one['low'])} to {_number(one['high'])}")
                for name, one in found["figures"].items()
            ),
        ),
    ]
    repeats = found["repeats"]
    if repeats["count"] > 1:
        spread = ", ".join(
            f"{_NAMES[name]} {one['mean']:.3f} +- {one['std']:.3f}" for name, one in repeats.items() if name != "count"
        )
        lines += [
            "",
            f"Over {repeats['count']} cross-validations with other folds (mean +- standard deviation): {spread}.",
        ]
    return lines


def _confusion(facts: Mapping[str, Any]) -> list[str]:
    names, found = facts["names"], facts["found"]
    rows = ((name, *map(str, row), str(sum(row))) for name, row in zip(names, found["confusion"], strict=True))
    classes = (
        (one["name"], f"{one['precision']:.3f}", f"{one['recall']:.3f}", f"{one['f1']:.3f}", str(one["support"]))
        for one in found["classes"]
    )
    return [
        *("", "### Confusion", "", "Rows are labels, columns are decisions.", ""),
        *_table(("label", *names, "all"), rows),
        "",
        *_table(("class", "precision", "recall", "F1", "documents"), classes),
    ]


def _calibration(facts: Mapping[str, Any]) -> list[str]:
    found, settings = facts["found"]["calibration"], facts["settings"]
    lines = ["", "## Calibration", "", "![calibration curve](calibration.svg)"]
    if "scores" in found:
        lines += ["", "Mean score against mean label, in tenths of the documents:", "", *_curve(found["scores"])]
    what = {
        "ordinal": f"of a label >= {settings['threshold']} (isotonic, fitted on the other folds)",
        "binary": f"of `{facts['names'][-1]}`",
        "classes": "that the likeliest class is right",
    }[settings["problem"]]
    lines += ["", f"Reliability of the probability {what}; expected calibration error"]
    lines[-1] += f" {found['expected_calibration_error']:.3f}:"
    return [*lines, "", *_curve(found["probabilities"])]


def _curve(rows: Sequence[Mapping[str, float]]) -> list[str]:
    return _table(
        ("from", "to", "documents", "predicted", "observed"),
        (
            (
                *(f"{one['low']:.2f}", f"{one['high']:.2f}", str(one["count"])),
                *(f"{one['predicted']:.3f}", f"{one['observed']:.3f}"),
            )
            for one in rows
        ),
    )


def _percentiles(facts: Mapping[str, Any]) -> list[str]:
    names = [f"p{percent:g}" for percent in PERCENTS]
    rows = (
        (_safe(row["part"]), str(row["documents"]), *(f"{row[name]:.2f}" for name in names))
        for row in facts["found"]["percentiles"]
    )
    return ["", "## Percentiles of the scores", "", *_table(("documents", "count", *names), rows)]


def _others(facts: Mapping[str, Any]) -> list[str]:
    others = facts["found"]["others"]
    if not others:
        return []
    columns = ("documents", "spearman", "qwk", "top_overlap", "labels_spearman", "labels_qwk")
    present = [key for key in columns if any(key in one for one in others.values())]
    rows = (
        (_safe(name), *(str(one[key]) if key == "documents" else _number(one.get(key)) for key in present))
        for name, one in others.items()
    )
    titles = {
        "spearman": "Spearman",
        "qwk": "QWK",
        "top_overlap": f"overlap of the top {100 * TOP:g} %",
        "labels_spearman": "its Spearman with the labels",
        "labels_qwk": "its QWK with the labels",
    }
    return ["", "## Agreement with other scorers", "",
            *_table(("scorer", *(titles.get(key, key) for key in present)), rows)]  # fmt: skip


def _sensitivity(facts: Mapping[str, Any]) -> list[str]:
    rows = facts["sensitivity"]
    if not rows:
        return []
    return [
        *("", "## Sensitivity to truncation", ""),
        f"{rows[0]['documents']} documents, scored by models that did not see their groups. Prefixes are shares of the",
        "tokens that are read, thirds are of the whole text. `whole` is the text as it is scored.",
        "",
        *_table(
            ("piece", "Spearman with whole", "mean change", "same decision", _NAMES[facts["picked_by"]]),
            (
                (
                    *(row["piece"], _number(row["spearman"]), f"{row['mean_change']:.3f}"),
                    *(f"{100 * row['same_decision']:.1f} %", f"{row['figure']:.3f}"),
                )
                for row in rows
            ),
        ),
    ]


def _limits(facts: Mapping[str, Any]) -> list[str]:
    settings, data = facts["settings"], facts["data"]
    rare = [f"{_safe(name)} ({count})" for name, count in data["counts"].items() if count < _RARE]
    lines = ["", "## Where not to trust it", ""]
    lines.append(
        f"- Its labels come from {settings['labelled_by']}; it repeats that rater's taste and errors, and no figure"
        " here says how far people would agree."
    )
    lines.append("- It knows the kinds of pages and the language of its training data; measure again on yours.")
    if rare:
        lines.append(f"- Classes with fewer than {_RARE} documents, whose figures are chance: {', '.join(rare)}.")
    if settings["problem"] == "ordinal":
        lines.append(
            f"- {100 * data['good_share_of_five_groups']:.0f} % of the documents with a label >="
            f" {settings['threshold']} come from five groups: it may have learned their vocabulary."
        )
        lines.append(
            "- Shares and percentiles are those of the training sample, not of the web; take thresholds from your data."
        )
    return [*lines, "- What stands behind the part of a text that is read has no influence on its score."]


def _number(value: float | None) -> str:
    """Three digits; "-" for a figure that the data cannot give."""
    return "-" if value is None or value != value else f"{value:.3f}"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(titles), _row(["---"] * len(titles)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _safe(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
