"""What the data of an ablation were made of: written beside them, and compared when a call comes again.

    <folder>/data/settings.json      what all arms depend on: tokenizer and what is held out
    <folder>/data/arms/<arm>.json    what an arm is made of
    <folder>/data/ready.json         arms that have been ready to be trained on

A record binds as soon as something has been made by it. Until then the next call replaces it: who corrects what a call
has failed on is not held to the mistake.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tokenmill.ablate.pool import UNION_JSON
from tokenmill.core.errors import ConfigError
from tokenmill.executors.runspec import RUN_JSON, run_differences
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.tokenizer import TOKENIZER

_SETTINGS, _READY = "settings.json", "ready.json"
_OF_TOKENIZER = ("tokenizer", "train")
"""Settings that bind with the first tokens; the others with the first pool."""


def record(data: Path, settings: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what is about to be made. ConfigError where something has been made of anything else; then nothing is
    written. arms: name -> what it is made of. What a failed call has listed of an arm that has changed is removed.
    """
    folder = RunFolder(str(data))
    known = folder.read_json(_SETTINGS)
    bound = _bound_settings(data)
    differences = _different(known, settings)
    _refuse(
        folder,
        "the ablation",
        [text for key, text in differences.items() if key in bound],
        "leave these settings as they were, or take another --output",
    )
    changed = {name: _changes(folder.read_json(_of_arm(name)), wanted) for name, wanted in arms.items()}
    made = pools_of(data)
    for name, texts in changed.items():
        if _is_bound(data, name, made):
            fix = "give the changed arm another name beside the old one, or take another --output"
            _refuse(folder, f"arm {name}", texts, fix)
    for name, wanted in arms.items():
        if name not in made and (changed[name] or "held_out_bytes" in differences):
            shutil.rmtree(data / "documents" / name, ignore_errors=True)  # before the record: it says what they are of
        folder.write_json(_of_arm(name), wanted)
    folder.write_json(_SETTINGS, settings)


def mark_ready(data: Path, names: Collection[str]) -> None:
    """Say that these arms could be trained on: what they are made of stays."""
    folder = RunFolder(str(data))
    ready = sorted({*_ready(data), *names})
    if ready != _ready(data):
        folder.write_json(_READY, {"arms": ready})


def pools_of(data: Path) -> dict[str, Path]:
    """Arm -> the pool that has its documents."""
    found: dict[str, Path] = {}
    for path in sorted((data / "pool").glob(f"*/{UNION_JSON}")):
        found |= dict.fromkeys(json.loads(path.read_text(encoding="utf-8"))["arms"], path.parent)
    return found


def _of_arm(name: str) -> str:
    return f"arms/{name}.json"


def _ready(data: Path) -> list[str]:
    known = RunFolder(str(data)).read_json(_READY)
    return list(known["arms"]) if known is not None else []


def _bound_settings(data: Path) -> set[str]:
    """The settings by which something has been made."""
    tokens = (data / "tokenizer" / TOKENIZER).is_file() or any((data / "pool").glob(f"*/{RUN_JSON}"))
    ready = bool(_ready(data))
    bound = set(_OF_TOKENIZER) if ready or tokens else set()
    return bound | ({"held_out", "held_out_bytes"} if ready or pools_of(data) else set())


def _is_bound(data: Path, name: str, made: Mapping[str, Path]) -> bool:
    """Whether anything has been made of an arm but a list of its documents."""
    runs = any((data / place / name / RUN_JSON).is_file() for place in ("runs", "mixtures"))
    return runs or name in made or name in _ready(data)


def _changes(known: Any, wanted: Mapping[str, Any]) -> list[str]:
    """How two records of an arm differ, in words."""
    if known is not None and "phases" in known and "phases" in wanted:
        return list(run_differences(known, json.loads(json.dumps(wanted))))
    return list(_different(known, wanted).values())


def _different(known: Any, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Key -> how plain values differ, in words."""
    if known is None:
        return {}
    wanted = json.loads(json.dumps(wanted))
    keys = [key for key in sorted({*known, *wanted}) if known.get(key) != wanted.get(key)]
    return {key: f"{key} is {_short(known.get(key))} there, {_short(wanted.get(key))} here" for key in keys}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refuse(folder: RunFolder, what: str, differences: list[str], fix: str) -> None:
    if differences:
        raise ConfigError(
            f"{what} is another one than {folder.location} was made with", why="; ".join(differences[:5]), fix=fix
        )
