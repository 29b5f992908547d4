"""From probabilities to a decision: which blocks are kept, how good the text will be, and whether to ask another
extractor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tokenmill.extract.skim.model import Model
    from tokenmill.extract.skim.scan import Scan


@dataclass(frozen=True, slots=True)
class Settings:
    """What is kept."""

    cut: float = 0.55
    """Probability from which a block is kept: .5 for recall, .7 for precision."""
    hold: float = 0.5
    """Probability from which a block is kept between two kept ones, at most three blocks apart."""


class Parts(NamedTuple):
    """What the kernel reads of a scan."""

    text: Any
    start: Any
    end: Any
    link: Any
    flags: Any
    el: Any
    el_parent: Any


class Choice(NamedTuple):
    """The decision on a page."""

    keep: npt.NDArray[np.bool_]
    """[B] blocks of the main content."""
    confidence: float
    """Expected F1 of the kept text, 0 to 1, calibrated on annotated pages (docs/skim-model.md)."""
    route: float
    """Why trafilatura should be asked instead: the gain in F1 that its text is expected to bring, or, where calibration
    could learn no gain (as for the model of this package), the loss that is expected of ours
    (`tools/skim/calibrate.py`); -1 where that is not worth its time: little text, mostly links. The cascade asks above
    `Model.route_above`."""
    unjudged: int = 0
    """Blocks at the end of a page of more than `model.MOST_BLOCKS`, which are not kept."""


DEFAULT = Settings()


def choose(scan: Scan, probabilities: npt.NDArray[np.float32], model: Model, settings: Settings = DEFAULT) -> Choice:
    """Which blocks of a page are kept, given `model.probabilities`, and how sure that is."""
    return measured(scan, probabilities, model, settings)[0]


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache."""
    from tokenmill.extract.skim.model import Model
    from tokenmill.extract.skim.scan import Scan

    choose(Scan.blank(), np.zeros(0, np.float32), Model.load())


def measured(
    scan: Scan, probabilities: npt.NDArray[np.float32], model: Model, settings: Settings = DEFAULT
) -> tuple[Choice, npt.NDArray[np.float64]]:
    """The same, and the page's features that confidence and route are made of (`choose_kernel.F_MEAN`, ...)."""
    from tokenmill.extract.skim import choose_kernel
    from tokenmill.extract.skim.model import MOST_BLOCKS

    features, out = np.empty(choose_kernel.FEATURES), np.empty(2)
    parts = Parts(scan.text, scan.bl_start, scan.bl_end, scan.bl_link, scan.bl_flags, scan.bl_el, scan.el_parent)
    calibration = model.arrays["calibration"]
    keep: npt.NDArray[np.bool_]
    keep = choose_kernel.choose(parts, probabilities, settings.cut, settings.hold, calibration, features, out)
    return Choice(keep, float(out[0]), float(out[1]), max(0, len(keep) - MOST_BLOCKS)), features
