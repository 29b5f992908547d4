"""From an ablation to arms that can be trained on: recipes run, one pool tokenized, pages held out, amounts matched.

    <folder>/data/*.json, arms/      what has been made of what (`records`)
    <folder>/data/runs/<arm>/        runs of recipes
    <folder>/data/mixtures/<arm>/    mixtures
    <folder>/data/documents/<arm>/   keys of the documents of arms with texts
    <folder>/data/tokenizer/         a tokenizer that was trained for this ablation
    <folder>/data/pool/<nn>/         pools: of the arms of the first call, then of arms that were added

All of it is made once. A call that was killed goes on when it is repeated. Arms may be added: those that are there stay
as they are, to the bit, so that what was trained on them holds; documents that an added arm shares with them are
stored again in its pool. What has changed otherwise is refused as soon as something has been made of it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tokenmill.ablate import held_out
from tokenmill.ablate.arms import (
    Observe,
    TextArm,
    arm_record,
    check_documents,
    checked_mixture,
    mixture_set,
    mixture_spec,
    plan_recipes,
    run_recipes,
    text_arm,
)
from tokenmill.ablate.listing import held_out_texts, list_documents, read_keys
from tokenmill.ablate.pool import (
    UNION_JSON,
    PoolTable,
    bpe_settings,
    check_tokenizer,
    find_union,
    tokenize_pool,
    trained_tokenizer,
)
from tokenmill.ablate.prepared import Chosen, PreparedArm, matched, of_pool, of_set
from tokenmill.ablate.records import mark_ready, pools_of, record
from tokenmill.ablate.spec import Ablation, ArmSpec
from tokenmill.executors.runspec import RunSpec
from tokenmill.tokens.tokenizer import TOKENIZER, LoadedTokenizer, load_tokenizer
from tokenmill.tokens.tokenset import TokenSet

_TEXTS = ("recipe", "run", "documents")
"""Kinds of arms with texts."""


@dataclass(frozen=True)
class Prepared:
    """The data of an ablation."""

    tokenizer: LoadedTokenizer
    arms: Mapping[str, PreparedArm]
    notes: tuple[str, ...] = ()
    """What a reader of the results should know."""


def prepare(ablation: Ablation, folder: Path, *, workers: int = -1, observe: Observe | None = None) -> Prepared:
    """Make the data of an ablation below `folder`/data, or what is missing of it.

    workers: processes; -1: one for each core, 0: this process. The bytes do not depend on it. observe: told what is
    done. ConfigError before any work where settings, recipes or inputs are wrong, or differ from those that the folder
    was made with; FatalError where something cannot be read or written: the same call goes on.
    """
    data = folder.absolute() / "data"
    tell = observe or (lambda line: None)
    checked, rules = check(ablation), ablation.evaluate
    settings = {
        "tokenizer": ablation.tokenizer,
        "train": ablation.train_tokenizer,
        "held_out": rules.held_out,
        "held_out_bytes": rules.held_out_bytes,
    }
    record(data, settings, checked.records)
    sets = {arm.name: _token_set(arm, data, workers, tell) for arm in ablation.arms.values() if arm.kind not in _TEXTS}
    chosen = _of_sets(ablation, sets)  # before long work, and before the pool settles what is held out
    runs = run_recipes(checked.plain, data / "runs", workers=workers, observe=tell)
    texts = {
        arm.name: text_arm(arm, data / "runs" / arm.name if arm.name in runs else None)
        for arm in ablation.arms.values()
        if arm.kind in _TEXTS
    }
    pools = _pools(ablation, data, texts, tell)
    tokenizer = _tokenizer(ablation, data, pools, sets, tell)
    of_pools, notes = _of_pools(ablation, data, pools, tokenizer, workers, tell)
    chosen |= of_pools
    ready = matched({name: (arm.what(), chosen[name]) for name, arm in ablation.arms.items()}, ablation.match)
    mark_ready(data, list(ready))
    return Prepared(tokenizer, ready, (*_equal(ablation, ready), *notes, *checked.notes))


@dataclass(frozen=True)
class Checked:
    """What is known of an ablation before any work."""

    plain: Mapping[str, RunSpec]
    """What the arms with recipes would run, each by itself."""
    records: Mapping[str, Mapping[str, Any]]
    """What each arm is made of."""
    notes: tuple[str, ...]
    """What a reader of the results should know."""


def check(ablation: Ablation) -> Checked:
    """All that can be told before any work. Nothing is run or written.

    ConfigError where recipes, documents, runs, token sets, mixtures or the tokenizer are not there or not right, or do
    not fit each other.
    """
    notes = [note for arm in ablation.arms.values() for note in check_documents(arm)]
    plain = plan_recipes(ablation)
    for arm in ablation.arms.values():
        if arm.kind == "mixture":
            mixture_spec(arm)
    sets = _ready_sets(ablation)
    if ablation.train_tokenizer is not None:
        bpe_settings(ablation.train_tokenizer)
    else:
        wanted = _ready_tokenizer(ablation, sets)
        for name, tokens in sets.items():
            check_tokenizer(tokens, wanted, f"the token set of arm {name}")
    records = {name: arm_record(arm, plain) for name, arm in ablation.arms.items()}
    return Checked(plain, records, tuple(notes))


def tokenizer_facts(ablation: Ablation) -> tuple[int, str]:
    """(size of the vocabulary, SHA-256) of the tokenizer, before any work; "" for one that is yet to be trained.

    ConfigError where there is no such tokenizer, or where settings, token sets or mixtures that have it are wrong.
    """
    if ablation.train_tokenizer is not None:
        return bpe_settings(ablation.train_tokenizer).vocab_size, ""
    if ablation.tokenizer:
        loaded = load_tokenizer(ablation.tokenizer)
        return loaded.vocab_size, loaded.sha256
    first = next(iter(_ready_sets(ablation).values())).manifest.tokenizer
    return first.vocab_size, first.sha256


def _ready_sets(ablation: Ablation) -> dict[str, TokenSet]:
    """Arm -> its token set, or the first one of its mixture, which has the tokenizer of all."""
    found = {}
    for arm in ablation.arms.values():
        if arm.kind == "tokens":
            found[arm.name] = TokenSet.open(arm.tokens)
        elif arm.kind == "mixture":
            found[arm.name] = checked_mixture(arm)[1][0].tokens
    return found


def _token_set(arm: ArmSpec, data: Path, workers: int, observe: Observe) -> TokenSet:
    if arm.kind == "tokens":
        return TokenSet.open(arm.tokens)
    return mixture_set(arm, data / "mixtures" / arm.name, workers=workers, observe=observe)


def _pools(ablation: Ablation, data: Path, texts: Mapping[str, TextArm], observe: Observe) -> dict[str, Path]:
    """Arm -> its pool, for all arms with texts. Arms that have none yet get one together."""
    rules = ablation.evaluate
    found = pools_of(data)
    new = {name: arm for name, arm in texts.items() if name not in found}
    if new:
        observe(f"listing the documents of {', '.join(new)}")
        lists = {
            name: list_documents(arm, data / "documents" / name, size=rules.held_out_bytes) for name, arm in new.items()
        }
        pool = data / "pool" / f"{len(set(found.values())):02d}"
        shutil.rmtree(pool, ignore_errors=True)  # of a call that was killed, perhaps with other arms
        find_union(lists, pool, share=rules.held_out)
        found |= dict.fromkeys(new, pool)
    return {name: found[name] for name in texts}


def _tokenizer(
    ablation: Ablation, data: Path, pools: Mapping[str, Path], sets: Mapping[str, TokenSet], observe: Observe
) -> LoadedTokenizer:
    """That of the settings, or of the sets, or trained on the first pool and kept when arms are added."""
    if ablation.train_tokenizer is not None:
        return trained_tokenizer(ablation.train_tokenizer, min(pools.values()), data / "tokenizer", observe)
    return _ready_tokenizer(ablation, sets)


def _ready_tokenizer(ablation: Ablation, sets: Mapping[str, TokenSet]) -> LoadedTokenizer:
    if ablation.tokenizer:
        return load_tokenizer(ablation.tokenizer)
    first = next(iter(sets.values()))
    return load_tokenizer(str(first.folder.absolute() / TOKENIZER), eos=first.manifest.tokenizer.eos_token)


def _equal(ablation: Ablation, arms: Mapping[str, PreparedArm]) -> list[str]:
    """Notes on arms between which any difference is noise."""
    asked = ablation.equal_arms()
    found = [f"arms {a} and {b} ask for the same: any difference is noise" for a, b in asked]
    names = list(arms)
    for one, other in [(a, b) for n, a in enumerate(names) for b in names[n + 1 :] if (a, b) not in asked]:
        if arms[one].set.folder == arms[other].set.folder and np.array_equal(arms[one].sorted, arms[other].sorted):
            found.append(f"arms {one} and {other} have the same documents: any difference is noise")
    return found


def _of_sets(ablation: Ablation, sets: Mapping[str, TokenSet]) -> dict[str, Chosen]:
    """The documents of the arms with tokens. ConfigError where one has none to train on, or none held out."""
    rules, found = ablation.evaluate, dict[str, Chosen]()
    tokenizer = _ready_tokenizer(ablation, sets) if sets else None
    for name, tokens in sets.items():
        assert tokenizer is not None
        check_tokenizer(tokens, tokenizer, f"the token set of arm {name}")
        in_order = "stages" in tokens.manifest.order  # what a mixture has
        size = rules.held_out_bytes
        found[name] = of_set(name, tokens, tokenizer, share=rules.held_out, size=size, in_order=in_order)
    return found


def _of_pools(
    ablation: Ablation,
    data: Path,
    pools: Mapping[str, Path],
    tokenizer: LoadedTokenizer,
    workers: int,
    observe: Observe,
) -> tuple[dict[str, Chosen], list[str]]:
    """(the documents of the arms with texts, notes)."""
    rules = ablation.evaluate
    found: dict[str, Chosen] = {}
    notes = []
    for pool in sorted(set(pools.values())):
        tokens = tokenize_pool(pool, tokenizer, workers=workers, observe=observe)
        table = PoolTable.of(tokens, json.loads((pool / UNION_JSON).read_text(encoding="utf-8"))["documents"])
        for name in [name for name, own in pools.items() if own == pool]:
            lists = sorted(path for path in (data / "documents" / name).glob("*.parquet") if path.stem.isdigit())
            texts = held_out_texts(lists, rules.held_out, rules.held_out_bytes)
            held = sum(int(np.sum(read_keys(path).place < held_out.limit(rules.held_out))) for path in lists)
            found[name], lost = of_pool(tokens, table, pool / "arms" / f"{name}.parquet", texts, held)
            if lost:
                notes.append(f"{lost} documents of arm {name} could not be encoded and are left out")
    return found, notes
