"""Names of the block model's features, and their matrices for training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tokenmill.extract.skim.context_kernel import Weights
    from tokenmill.extract.skim.scan import Scan

_OWN = (
    "weight", "spaces", "linked", "digits", "upper case", "commas", "sentences", "sentence rate", "separators",
    "code signs", "quotes", "at or copyright", "lines", "formula signs", "first character", "last character", "links",
    "emphasis", "images", "since heading", "letters a word", "landmark", "kind", "split",
)  # fmt: skip
_CONTEXT = (
    "in list", "in table", "hidden", "tag", "parent's tag", "inner tag", "depth", "names inner", "names own",
    "names parent", "names sum", "names least", "names greatest", "place in blocks", "place in text", "place in prose",
    "blocks before", "blocks after", "page weight", "page linked", "page paragraphs", "page prose", "page blocks",
    "share of longest", "page sentences", "parent's children", "comment above", "prose before comments",
    "page comments", "prose outside comments", "body above", "page prose in body",
)  # fmt: skip
_LEVEL = (
    "share of page", "linked", "paragraphs", "blocks", "mean weight", "share of prose", "prose", "place within",
)  # fmt: skip
_AROUND = (
    "weight -2", "linked -2", "weight -1", "linked -1", "weight +1", "linked +1", "weight +2", "linked +2", "kind -1",
    "kind +1", "prose around", "prose share around", "in 60 % of prose", "in 90 % of prose", "depth of 60 % of prose",
    "last character -1",
)  # fmt: skip
NAMES = (*_OWN, *_CONTEXT, *(f"{name}, level {level}" for level in range(4) for name in _LEVEL), *_AROUND)
"""Features of the first stage, all 0 to 255. Level 0 is the block's element, each next one the nearest ancestor with
more text. Text is weighed in letters (`stats_kernel`), shares are 255ths, counts and weights logarithms in eighths of
an
octave; "names" are learned weights of class and id tokens."""

_WAYS = ("mean, level", "share of likely text, level", "likely share, level")
SECOND_NAMES = (
    *(f"p {step:+d}" for step in range(-3, 4)),
    *(f"{name} {level}" for level in range(4) for name in _WAYS),
    *(f"{name} % container" for name in ("in 60", "from begin of 60", "to end of 60", "in 90", "from begin of 90",
                                         "to end of 90")),
    "likely text before", "likely text to here", "mean of 5", "likely share of 5", "mean of 17", "likely share of 17",
    "page mean", "page likely share", "long p before", "long p after", "weight", "linked", "last character", "kind",
    "landmark", "formula signs", "kind +1", "kind -1", "page weight", "page blocks", "since heading",
    "comment above", "likely text before comments",
)  # fmt: skip
"""Features of the second stage: probabilities of the first one around a block and in the elements that hold it."""


def arrays_of(scan: Scan, most: int | None = None) -> tuple[npt.NDArray[Any], ...]:
    """The arrays of a scan in the order in which the kernels take them; of its first `most` blocks."""
    blocks = (scan.bl_el, scan.bl_inner, scan.bl_start, scan.bl_end, scan.bl_link, scan.bl_flags, scan.bl_break)
    return (
        scan.text, scan.el_tag, scan.el_parent, scan.el_token, scan.tokens, *(array[:most] for array in blocks),
        scan.mk_pos, scan.mk_kind,
    )  # fmt: skip


def matrix(scan: Scan, weights: Weights) -> npt.NDArray[np.uint8]:
    """First stage's features of all blocks, [B, len(NAMES)]."""
    from tokenmill.extract.skim import model_kernel

    found: npt.NDArray[np.uint8] = model_kernel.matrix(arrays_of(scan), weights)
    return found


def second_matrix(scan: Scan, weights: Weights, likely: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Second stage's features, [B, len(SECOND_NAMES)]; likely [B]: probabilities of the first stage in 255ths."""
    from tokenmill.extract.skim import model_kernel

    found: npt.NDArray[np.uint8] = model_kernel.second_matrix(arrays_of(scan), weights, likely)
    return found
