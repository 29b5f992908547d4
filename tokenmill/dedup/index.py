"""An earlier run as an index: its kept documents are compared with the new ones and never dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tokenmill.core.barrier import ShardData, TaskOutput
from tokenmill.core.errors import ConfigError
from tokenmill.dedup.groups import Group, shards_of
from tokenmill.dedup.keyfile import KeyFile, write_keys
from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder


@dataclass(frozen=True)
class Index:
    """The groups of an earlier run, numbered from 0."""

    fingerprint: str
    groups: tuple[Group, ...]

    def check(self, about: Mapping[str, Any]) -> None:
        """ConfigError unless its keys were made in this way: others cannot be compared."""
        for group in self.groups[:1]:
            with KeyFile(group.keys) as file:
                _check_same(group.keys, file.about, about)


def open_index(place: str, stage: str, steps: Sequence[str]) -> Index:
    """The deduplication by `stage` of the run in folder `place`. ConfigError where it has none, or none finished."""
    folder = RunFolder(place)
    run = folder.read_json("run.json")
    if run is None:
        raise ConfigError(f"{place} holds no run", why="there is no run.json", fix="give the folder of a finished run")
    phases = run["phases"]
    first = next((n for n, p in enumerate(phases) if p["stages"][0] == stage and p.get("step") == steps[0]), None)
    if first is None:
        raise ConfigError(f"the run in {place} has no {stage}", fix="index names runs that did the same deduplication")
    sealed: dict[str, Mapping[str, Any]] = {}
    for number in (first - 1, first, first + len(steps) - 1):
        found = folder.read_json(f"phases/{phases[number]['directory']}/_SUCCESS.json")
        if found is None:
            raise ConfigError(f"the run in {place} is not finished", fix="run its command again first")
        sealed[phases[number].get("step") or "data"] = found
    data = {
        entry["name"]: ShardData(
            entry["name"], folder.path(entry["files"]["data"]["path"]), entry["files"]["data"]["rows"]
        )
        for entry in sealed["data"]["outputs"]
    }
    tables = {entry["name"]: entry["files"]["table"]["path"] for entry in sealed[steps[-1]]["outputs"]}
    groups: list[Group] = []
    for entry in sealed[steps[0]]["outputs"]:
        if entry["name"] not in tables:
            continue  # a group of that run's own index
        number_of_first = sum(group.rows for group in groups)
        keys, table = folder.path(entry["files"]["keys"]["path"]), folder.path(tables[entry["name"]])
        shards = shards_of(entry["facts"], data)
        groups.append(Group(entry["name"], shards, number_of_first, index=True, keys=keys, table=table))
    return Index(sealed[steps[-1]]["fingerprint"], tuple(groups))


def copy_kept_keys(group: Group, about: Mapping[str, Any], out: TaskOutput) -> int:
    """Write the keys of those documents of an index that its run has kept; how many records."""
    with open_binary(group.table) as stream:
        keep = pq.read_table(stream, columns=["keep"]).column("keep").to_numpy(zero_copy_only=False)
    with KeyFile(group.keys) as file:
        _check_same(group.keys, file.about, about)
        bands = []
        for band in range(file.bands):
            keys, numbers = file.slice(band)
            order = np.argsort(numbers, kind="stable")
            numbers, keys = numbers[order], keys[order]
            mask = keep[numbers]
            bands.append((keys[mask], numbers[mask]))
    write_keys(out.path("keys", ".keys"), bands, about)
    return sum(len(keys) for keys, _ in bands)


def _check_same(path: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    differ = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
    if differ:
        raise ConfigError(
            f"the keys of {path} were made in another way",
            why="; ".join(f"{key} is {there.get(key)!r} there, {here.get(key)!r} here" for key in differ),
            fix="use the settings of that run, or run it again with these",
        )
