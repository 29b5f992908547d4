"""`run.json`: the frozen plan of a run, from which any process can work and anyone can run it again."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import tempfile
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tokenmill import __version__
from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Annotation, Plan, make_plan
from tokenmill.core.secrets import refuse_secrets
from tokenmill.core.stage import InputShard
from tokenmill.io.filesystem import absolute_location
from tokenmill.io.runfolder import RunFolder, slugs
from tokenmill.io.stores import without_query

RUN_JSON = "run.json"
QUERIES_JSON = "phases/.queries.json"
"""Queries of signed addresses of inputs, which are secrets: for workers, and only as long as the run is under way."""
_FORMAT = 1
_LIBRARIES = ("pyarrow", "numpy", "numba", "trafilatura", "lxml", "resiliparse", "tldextract")


@dataclass(frozen=True)
class Options:
    """Settings of a run that are no settings of a stage, and that its bytes depend on."""

    sample_dropped: float = 0.05
    """Share of dropped documents whose text is kept in `dropped/`, chosen by a hash of the document id."""
    seed: int = 0
    """Seed of that choice."""
    split_bytes: int = 0
    """Files of archives that are larger are read in spans of at most this; 0: every file is one shard."""


@dataclass(frozen=True)
class RunSpec:
    """A plan with its options and the output names of its shards."""

    plan: Plan
    options: Options
    input_location: str
    slugs: tuple[str, ...]

    @classmethod
    def of(cls, plan: Plan, options: Options, input_location: str) -> RunSpec:
        for label, stage in zip(plan.pipeline.labels, plan.pipeline.stages, strict=True):
            refuse_secrets(stage.config(), label)
        return cls(plan, options, input_location, _outputs(plan.inputs))

    def to_json(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "format": _FORMAT,
            "tokenmill": __version__,
            **plan.pipeline.to_json(),
            "digests": plan.digests,
            "fingerprint": plan.fingerprint,
            "inserted": list(plan.inserted),
            "mode": plan.mode,
            "enforce": list(plan.annotation.enforce) if plan.annotation is not None else [],
            **({"refilter": dict(plan.refilter)} if plan.refilter is not None else {}),
            "phases": [
                {"directory": p.directory, "stages": list(p.labels), "fingerprint": p.fingerprint, "step": p.step}
                for p in plan.phases
            ],
            "columns": {field.name: str(field.type) for field in plan.schema},
            "options": {name: value for name, value in asdict(self.options).items() if name != "split_bytes" or value},
            "input": {
                "location": without_query(absolute_location(self.input_location)),
                "shards": [
                    {**input_entry(s), "path": without_query(s.path), "output": slug}
                    for s, slug in zip(plan.inputs, self.slugs, strict=True)
                ],
            },
            "versions": versions(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunSpec:
        """The specification that `to_json` described; the plan is checked again."""
        plan = _plan_of(data)
        if plan.fingerprint != data["fingerprint"]:
            raise FatalError(
                "this process does not see the plan that was frozen",
                why=f"libraries, models or lists differ: {plan.digests} here, {data['digests']} in run.json",
                fix="give all workers the same environment, then run the same command again",
            )
        return cls.of(plan, Options(**data["options"]), data["input"]["location"])


def input_entry(shard: InputShard) -> dict[str, Any]:
    """What identifies an input in `run.json` and manifests, as plain values."""
    entry = {"name": shard.name, "size": shard.size, "etag": shard.etag}
    if shard.part is not None:
        entry |= {"start": shard.start, "stop": shard.stop, "part": list(shard.part)}
    return entry


def shard_from_entry(entry: Mapping[str, Any]) -> InputShard:
    """The input that `input_entry` described; `path` is in the entry too."""
    whole = InputShard(entry["path"], entry["name"], entry["size"], entry["etag"])
    if "part" not in entry:
        return whole
    return replace(whole, start=entry["start"], stop=entry["stop"], part=tuple(entry["part"]))


def _outputs(inputs: Sequence[InputShard]) -> tuple[str, ...]:
    """The name of each input's outputs: that of its file, and its number where that is split."""
    names = list(dict.fromkeys(shard.name for shard in inputs))
    of_file = dict(zip(names, slugs(names), strict=True))
    found = []
    for shard in inputs:
        part = "" if shard.part is None else ".{:05d}-of-{:05d}".format(*shard.part)
        found.append(of_file[shard.name] + part)
    if len(set(found)) != len(found):
        raise ConfigError("a file is named as a part of another one", fix="rename it, or choose another --split")
    return tuple(found)


def _plan_of(data: Mapping[str, Any]) -> Plan:
    if data["mode"] == "refilter":
        from tokenmill.executors.refilter import rebuild

        return rebuild(data)
    inputs = [shard_from_entry(entry) for entry in data["input"]["shards"]]
    annotation = Annotation(tuple(data["enforce"])) if data["mode"] == "annotate" else None
    plan = make_plan(Pipeline.from_json(data), inputs, annotation)
    return replace(plan, inserted=tuple(data["inserted"]))


def versions() -> dict[str, str]:
    """Versions of everything whose bytes end up in the output."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def load_run(folder: RunFolder) -> dict[str, Any]:
    """The content of `run.json`; ConfigError when the folder holds no run."""
    data: dict[str, Any] | None = folder.read_json(RUN_JSON)
    if data is None:
        raise ConfigError(f"{folder.location} holds no run", why="there is no run.json", fix="check the path")
    return data


def load_run_here(folder: RunFolder) -> dict[str, Any]:
    """`run.json` for a worker that may be on another machine: files of the user's that are not here come from the run.

    A run keeps a copy of every file that defines its stages; the digest of the code is part of the plan.
    """
    data = load_run(folder)
    queries = folder.read_json(QUERIES_JSON) or {}
    for shard in data["input"]["shards"]:
        shard["path"] += queries.get(shard["name"], "")
    for entry in data["stages"]:
        if "file" not in entry or Path(entry["file"]).is_file():
            continue
        name = Path(entry["file"]).name
        code = folder.read_text(f"recipe/{name}")
        if code is not None:
            place = Path(tempfile.gettempdir()) / f"tokenmill-recipe-{hashlib.sha256(code.encode()).hexdigest()[:16]}"
            place.mkdir(mode=0o700, exist_ok=True)
            if hasattr(os, "getuid") and place.stat().st_uid != os.getuid():  # somebody else could change the code
                raise ConfigError(
                    f"{place} belongs to another user", fix="remove it, or set TMPDIR to a folder of yours"
                )
            partial = place / f"{name}.{os.getpid()}"
            partial.write_text(code, encoding="utf-8")
            partial.replace(place / name)
            entry["file"] = str(place / name)
    return data


def freeze(folder: RunFolder, spec: RunSpec) -> bool:
    """Write `run.json`, or check that the one there is the same run. True when the run is resumed.

    ConfigError says what differs: another recipe in the same output would be a mixture.
    """
    wanted = spec.to_json()
    present = folder.read_json(RUN_JSON)
    check_same(folder, present, wanted)
    _keep_queries(folder, spec)
    if present is None:
        # the recipe that made a data set is in the data set
        files = [entry["file"] for entry in wanted["stages"] if "file" in entry]
        files += [file for stage in spec.plan.pipeline.stages for file in stage.files()]
        for name, text in _copies(files).items():
            folder.write_text(f"recipe/{name}", text)
        folder.write_json(RUN_JSON, wanted)
        return False
    if present["stages"] != wanted["stages"]:
        # other addresses, prices or limits: workers read them here, and what comes out is the same
        folder.write_json(RUN_JSON, {**present, "stages": wanted["stages"]})
    return True


def check_same(folder: RunFolder, present: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> None:
    """ConfigError where a folder holds another run. present: its `run.json`, if it has one. Writes nothing."""
    if present is not None and (differences := run_differences(present, wanted)):
        raise ConfigError(
            f"{folder.location} holds another run",
            why="; ".join(differences[:5]),
            fix="choose another --output, or delete this one",
        )


def _keep_queries(folder: RunFolder, spec: RunSpec) -> None:
    """Write the queries of the inputs' addresses where workers find them, readable for this user only.

    A run that is resumed may come with new signatures.
    """
    queries = {shard.name: shard.path.removeprefix(without_query(shard.path)) for shard in spec.plan.inputs}
    if not any(queries.values()):
        return
    if folder.is_local:
        place = Path(folder.path(QUERIES_JSON))
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f"{place.name}.{uuid.uuid4().hex}.tmp")  # a killed process's is swept by the next
        try:
            with open(partial, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
                json.dump(queries, stream)
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)
    else:
        folder.write_json(QUERIES_JSON, queries)


def forget_queries(folder: RunFolder) -> None:
    """Remove them, when nothing is left to be read."""
    if folder.exists(QUERIES_JSON):
        folder.remove(QUERIES_JSON)


def _copies(files: Sequence[str]) -> dict[str, str]:
    """Name -> text of the files; the second of a name has the beginning of its digest in it."""
    found: dict[str, str] = {}
    for source in map(Path, dict.fromkeys(files)):
        text = source.read_text(encoding="utf-8")
        name = source.name
        if found.get(name, text) != text:
            name = f"{source.stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}{source.suffix}"
        found[name] = text
    return found


def run_differences(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What makes two runs different, in words. Versions of libraries count where stages name them in digests."""
    found = []
    if (present["mode"], present["enforce"]) != (wanted["mode"], wanted["enforce"]):
        found.append(f"mode {present['mode']} there, {wanted['mode']} here, or other filters to enforce")
    made = [run.get("refilter", {}).get("fingerprint", "")[:12] for run in (present, wanted)]
    if made[0] != made[1]:
        found.append(f"made from the annotated run {made[0] or 'none'} there, {made[1] or 'none'} here")
    before = {entry["stage"]: entry for entry in present["stages"]}
    after = {entry["stage"]: entry for entry in wanted["stages"]}
    if list(before) != list(after):
        found.append(f"stages {list(before)} there, {list(after)} here")
    for label in before.keys() & after.keys():
        incidental = after[label].get("incidental", ())
        for field, value in after[label]["config"].items():
            old = before[label]["config"].get(field)
            if old != value and field not in incidental:
                found.append(f"{label}.{field} is {old!r} there, {value!r} here")
        if before[label]["version"] != after[label]["version"]:
            found.append(f"{label} is version {before[label]['version']} there, {after[label]['version']} here")
    for label in wanted["digests"]:
        if present["digests"].get(label) != wanted["digests"][label]:
            found.append(f"{label} used {present['digests'].get(label)} there, {wanted['digests'][label]} here")
    if present["options"] != wanted["options"]:
        found.append(f"options {present['options']} there, {wanted['options']} here")
    found += input_differences(present["input"]["shards"], wanted["input"]["shards"])
    if not found and present["fingerprint"] != wanted["fingerprint"]:
        found.append("the fingerprints differ")
    return sorted(found)


def input_differences(present: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> list[str]:
    """How two lists of input shards differ, in words."""
    parts = [Counter(shard["name"] for shard in shards) for shards in (present, wanted)]
    if parts[0] != parts[1] and parts[0].keys() == parts[1].keys():
        return [f"inputs are split into {len(present)} spans there, {len(wanted)} here (--split)"]
    before = {(shard["name"], *shard.get("part", ())): shard for shard in present}
    after = {(shard["name"], *shard.get("part", ())): shard for shard in wanted}
    found = [f"input {key[0]} is new" for key in after.keys() - before.keys()]
    found += [f"input {key[0]} is gone" for key in before.keys() - after.keys()]
    for key in before.keys() & after.keys():
        places = [without_query(shard[key]["path"]) for shard in (before, after)]
        fields = ("size", "etag", "start", "stop")
        if places[0] != places[1] or any(before[key].get(field) != after[key].get(field) for field in fields):
            found.append(f"input {key[0]} has changed")
    return found
