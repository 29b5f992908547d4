"""An earlier run as an index: what it has published is compared with what is new, and never dropped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.barrier import ShardData, TaskOutput
from tokenmill.core.errors import ConfigError
from tokenmill.dedup.groups import Group, shards_of
from tokenmill.dedup.keyfile import KeyFile, write_keys
from tokenmill.io.filesystem import open_binary
from tokenmill.io.removals import check_removed
from tokenmill.io.runfolder import RunFolder


@dataclass(frozen=True)
class Index:
    """The groups of an earlier run, numbered from 0. digest: of their keys and tables."""

    digest: str
    groups: tuple[Group, ...]

    def check(self, about: Mapping[str, Any]) -> None:
        """ConfigError unless its keys were made in this way, for others cannot be compared, and its files are there."""
        for group in self.groups:
            if not group.rows:
                continue
            try:
                with KeyFile(group.keys) as file:
                    _check_same(group.keys, file.about, about)
                for shard in group.shards[:1]:
                    open_binary(shard.path).close()
            except OSError as error:
                raise ConfigError(
                    f"a file of the index is gone: {error.filename}",
                    why="an index needs the phases/ of its run",
                    fix="run that recipe again, or name another index",
                ) from error
            break


def open_index(place: str, stage: str, steps: Sequence[str]) -> Index:
    """The first deduplication by `stage` of the run in folder `place`; ConfigError unless there is one, finished."""
    folder = RunFolder(place)
    run = folder.read_json("run.json")
    if run is None:
        raise ConfigError(f"{place} holds no run", why="there is no run.json", fix="give the folder of a finished run")
    check_removed(folder)
    phases = run["phases"]
    first = next((n for n, p in enumerate(phases) if p["stages"][0] == stage and p.get("step") == steps[0]), None)
    if first is None:
        raise ConfigError(f"the run in {place} has no {stage}", fix="index names runs that did the same deduplication")
    seals = []
    for phase in phases[first - 1 :]:
        seals.append(folder.read_json(f"phases/{phase['directory']}/_SUCCESS.json"))
        if seals[-1] is None:
            raise ConfigError(f"the run in {place} is not finished", fix="run its command again first")
    before, keys, table, after = seals[0], seals[1], seals[len(steps)], seals[len(steps) + 1 :]
    data = {
        entry["name"]: ShardData(
            entry["name"], folder.path(entry["files"]["data"]["path"]), entry["files"]["data"]["rows"]
        )
        for entry in before["outputs"]
    }
    lost = _lost_later(
        folder, [s for s, p in zip(after, phases[first + len(steps) :], strict=True) if not p.get("step")]
    )
    tables = {entry["name"]: entry["files"]["table"] for entry in table["outputs"]}
    groups: list[Group] = []
    digest = hashlib.sha256()
    for entry in keys["outputs"]:
        if entry["name"] not in tables:
            continue  # a group of that run's own index
        files = (entry["files"]["keys"], tables[entry["name"]])
        digest.update("".join(file["sha256"] for file in files).encode())
        shards = shards_of(entry["facts"], data)
        groups.append(
            Group(
                entry["name"],
                shards,
                sum(group.rows for group in groups),
                index=True,
                keys=folder.path(files[0]["path"]),
                table=folder.path(files[1]["path"]),
                lost=tuple(path for shard in shards for path in lost.get(shard.slug, ())),
            )
        )
    digest.update(repr(sorted(path for group in groups for path in group.lost)).encode())
    return Index(digest.hexdigest(), tuple(groups))


def _lost_later(folder: RunFolder, seals: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Shard -> files that list what later stages have dropped."""
    found: dict[str, list[str]] = {}
    for seal in seals:
        for entry in seal["outputs"]:
            kinds = [kind for kind in ("dropped", "quarantine") if kind in entry["files"]]
            found.setdefault(entry["name"], []).extend(folder.path(entry["files"][kind]["path"]) for kind in kinds)
    return found


def _kept(group: Group) -> npt.NDArray[np.bool_]:
    """Per document of a group, whether its run has published it."""
    with open_binary(group.table) as stream:
        table = pq.read_table(stream, columns=["doc_id", "keep"])
    keep = table.column("keep")
    gone: list[pa.ChunkedArray] = []
    for path in group.lost:
        with open_binary(path) as stream:
            gone.append(pq.read_table(stream, columns=["doc_id"]).column("doc_id"))
    if gone:
        ids = pa.chunked_array([chunk for column in gone for chunk in column.chunks], pa.string())
        keep = pc.and_(keep, pc.invert(pc.is_in(table.column("doc_id"), ids.combine_chunks())))
    kept: npt.NDArray[np.bool_] = keep.to_numpy(zero_copy_only=False) if len(table) else np.zeros(0, np.bool_)
    return kept


def copy_kept_keys(group: Group, about: Mapping[str, Any], out: TaskOutput) -> int:
    """Write the keys of those documents of an index that its run has published; how many records."""
    keep = _kept(group)
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
