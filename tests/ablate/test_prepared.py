"""Arms cut to equal amounts: documents that are longer than the smallest arm, and what is left for training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tokenmill.ablate.prepared import Chosen, matched
from tokenmill.core.errors import ConfigError


def chosen(lengths: list[int], *, in_order: bool = False) -> Chosen:
    tokens, none = np.array(lengths, np.int64), list[str]()
    everything: Any = None
    return Chosen(everything, np.arange(len(tokens)), tokens, np.arange(len(tokens)), tokens * 4, none, 0, in_order)


def test_arms_are_cut_to_the_smallest_or_whole() -> None:
    arms = {"big": ("", chosen([5, 90, 7, 8])), "small": ("", chosen([10, 11]))}
    assert {name: arm.tokens for name, arm in matched(arms, "tokens").items()} == {"big": 20, "small": 21}
    assert {name: arm.tokens for name, arm in matched(arms, "pool").items()} == {"big": 110, "small": 21}


@pytest.mark.parametrize(("in_order", "which"), [(False, "shortest"), (True, "first")])
def test_documents_longer_than_the_smallest_arm_are_refused(in_order: bool, which: str) -> None:
    lengths = [400, 30] if in_order else [400, 300]
    arms = {"books": ("", chosen(lengths, in_order=in_order)), "tweets": ("", chosen([10, 11]))}
    length = lengths[0] if in_order else min(lengths)
    wanted = rf"nothing of arm books is left[\s\S]*arm tweets has 21 tokens, and the {which} document of arm books has"
    with pytest.raises(ConfigError, match=rf"{wanted} {length}[\s\S]*match: pool"):
        matched(arms, "tokens")
    assert matched(arms, "pool")["books"].documents == 2


def test_an_arm_of_which_nothing_could_be_encoded_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"arm none has no documents to train on[\s\S]*could be encoded"):
        matched({"none": ("", chosen([])), "some": ("", chosen([3]))}, "pool")
