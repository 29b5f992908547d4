"""What an ablation has measured, as arrays: by arm, seed, evaluation and metric, and by arm, seed and unit of a task.

Units are what is resampled: the items of a task, or groups of them that stand or fall together (questions on one
passage; the documents of a text). Not finished runs have curves and no final value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MOST_LOST = 3
"""Runs with lost tables that are named one by one."""
ACCURACIES = ("acc_char", "acc", "acc_byte", "acc_token", "acc_norm")
"""Accuracies in the order in which one of them stands for a task that does not name its own."""


@dataclass(frozen=True, eq=False)
class Run:
    """One training: what was asked for and what has been found."""

    arm: str
    seed: int
    role: str
    """main, or lr_check (the same at a quarter of the learning rate)."""
    entry: Mapping[str, Any]
    """Its line of ablation.json; in ladders with `parameters`."""
    result: Mapping[str, Any] | None
    """result.json; None until finished."""
    steps: Ints
    """(evaluations,)"""
    tokens: Ints
    """(evaluations,) trained tokens."""
    metrics: Mapping[str, Floats]
    """Name -> (evaluations,); NaN where not measured."""
    tables: tuple[Path, ...]
    """Item tables, the last evaluation last."""

    @property
    def label(self) -> str:
        """For people."""
        size = f", {self.entry['size']} parameters" if self.entry.get("size") else ""
        return f"{self.arm}{size}, seed {self.seed}" + ("" if self.role == "main" else f" ({self.role})")

    @property
    def parameters(self) -> int:
        """Parameters as laws of scaling count them, 0 where not told."""
        return int(self.entry.get("parameters") or (self.result or {}).get("parameters") or 0)


@dataclass(frozen=True, eq=False)
class Units:
    """Nats of the gold answers (or of the text), summed within units, averaged over the final evaluations."""

    nats: Floats
    """(arms, seeds, units); NaN where a run has no table."""
    bytes: Floats
    """(units,) UTF-8 bytes."""
    chance: float
    """Expected accuracy of a random choice: mean over items of 1 / number of choices; NaN for texts."""
    accuracy_se: float
    """Standard error of an accuracy at chance, by the number of units; NaN for texts."""


@dataclass(frozen=True, eq=False)
class Scores:
    """All runs of an ablation."""

    folder: Path
    description: Mapping[str, Any]
    """ablation.json."""
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    missing: tuple[str, ...] = field(default=())
    """What has not been run or not been finished, in words."""
    doubts: tuple[str, ...] = field(default=())
    """Files of runs that are lost or do not belong together, in words."""

    @property
    def baseline(self) -> str:
        found = str(self.description.get("baseline") or "")
        return found if found in self.arms else (self.arms[0] if self.arms else "")

    @property
    def kind(self) -> str:
        return str(self.description.get("kind", "compare"))

    @property
    def protocol(self) -> Mapping[str, Any]:
        found = self.description.get("protocol")
        return found if isinstance(found, Mapping) else {}

    @property
    def final_evals(self) -> int:
        return max(1, int(self.protocol.get("final_evals", 3)))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics that some run has, sorted."""
        return tuple(sorted({name for run in self.runs for name in run.metrics}))

    def names(self, kind: str, metric: str = "bpb") -> tuple[str, ...]:
        """Tasks, texts or held-out sets that were measured: `kind` is task, text or held_out. Without the kind."""
        head, tail = f"{kind}/", f"/{metric}"
        return tuple(m[len(head) : -len(tail)] for m in self.metrics if m.startswith(head) and m.endswith(tail))

    def accuracy(self, task: str) -> str | None:
        """The metric that is the accuracy of a task; None where it has none (open answers)."""
        wanted = [str(name)] if (name := self._facts(task).get("accuracy")) else []
        return next((m for a in (*wanted, *ACCURACIES) if (m := f"task/{task}/{a}") in self.metrics), None)

    def accuracy_is_informative(self, task: str) -> bool:
        """Whether models of this size are more than chance by the accuracy of a task, as far as the record says."""
        facts, size = self._facts(task), self.protocol.get("parameters")
        if "accuracy_from" not in facts:
            return True
        least = facts["accuracy_from"]  # None: at no size
        return least is not None and not (isinstance(size, int | float) and size < least)

    def chance(self, task: str) -> float:
        """What guessing gets by the accuracy of a task: as measured for the record, else 1 / choices; else NaN."""
        measured = (self.description.get("chance") or {}).get(self.accuracy(task))
        if isinstance(measured, Mapping) and isinstance(measured.get("level"), int | float):
            return float(measured["level"])
        units = self.units(f"task/{task}")
        return units.chance if units is not None else float("nan")

    def _facts(self, task: str) -> Mapping[str, Any]:
        named = (t for t in self.description.get("tasks") or () if isinstance(t, Mapping) and t.get("name") == task)
        return next(named, {})

    def run(self, arm: str, seed: int, role: str = "main") -> Run | None:
        return next((r for r in self.runs if (r.arm, r.seed, r.role) == (arm, seed, role)), None)

    def curve(self, metric: str, role: str = "main") -> tuple[Ints, Floats]:
        """(trained tokens (evaluations,), values (arms, seeds, evaluations)); NaN where not measured."""
        runs = [r for r in self.runs if r.role == role and metric in r.metrics]
        tokens = np.unique(np.concatenate([r.tokens for r in runs])) if runs else np.zeros(0, np.int64)
        values = np.full((len(self.arms), len(self.seeds), tokens.size), np.nan)
        for run in runs:
            place = np.searchsorted(tokens, run.tokens)
            values[self.arms.index(run.arm), self.seeds.index(run.seed), place] = run.metrics[metric]
        return tokens.astype(np.int64), values

    def final(self, metric: str, role: str = "main") -> Floats:
        """(arms, seeds): mean of the last `final_evals` evaluations of finished runs; NaN elsewhere."""
        values = np.full((len(self.arms), len(self.seeds)), np.nan)
        for run in self.runs:
            if run.role == role and run.result is not None and metric in run.metrics:
                values[self.arms.index(run.arm), self.seeds.index(run.seed)] = final_value(
                    run.metrics[metric], self.final_evals
                )
        return values

    def units(self, task: str, role: str = "main") -> Units | None:
        """Losses by unit of one task (named as in the tables: task/x, text/x); None without tables."""
        tables = self._tables(role)
        found = {key: by_task[task] for key, by_task in tables.items() if task in by_task}
        if not found:
            return None
        first = next(iter(found.values()))
        nats = np.full((len(self.arms), len(self.seeds), first.ids.size), np.nan)
        for (arm, seed), one in found.items():
            if not np.array_equal(one.ids, first.ids):
                raise ConfigError(
                    f"the runs have not answered the same items of {task}",
                    where=str(self.folder),
                    why=f"{arm}, seed {seed} has {one.ids.size} units, another run has {first.ids.size}",
                    fix="run the ablation anew in another folder",
                )
            nats[self.arms.index(arm), self.seeds.index(seed)] = one.nats
        return Units(nats, first.bytes, first.chance, first.accuracy_se)

    def at(self, parameters: int) -> Scores:
        """The runs of one size only."""
        return replace(self, runs=tuple(r for r in self.runs if r.parameters == parameters))

    @cached_property
    def _loaded(self) -> dict[str, dict[tuple[str, int], dict[str, _Table]]]:
        return {}

    def _tables(self, role: str) -> dict[tuple[str, int], dict[str, _Table]]:
        if role not in self._loaded:
            finished = [r for r in self.runs if r.role == role and r.result is not None and r.tables]
            self._loaded[role] = {(r.arm, r.seed): _read_tables(r.tables[-self.final_evals :]) for r in finished}
        return self._loaded[role]


@dataclass(frozen=True, eq=False)
class _Table:
    ids: Ints
    nats: Floats
    bytes: Floats
    chance: float
    accuracy_se: float


def final_value(values: Floats, count: int) -> float:
    """Mean of the last `count` values; averaging checkpoints lowers the noise of the last one.

    NaN where one of them is not known: values before them are of another state of the training.
    """
    return float(values[-count:].mean()) if values.size else float("nan")


def random_centred(accuracy: npt.ArrayLike, chance: npt.ArrayLike) -> Floats:
    """(accuracy - chance) / (1 - chance): 0 is guessing, 1 is all right (as in DCLM's CORE)."""
    right, guessed = np.asarray(accuracy, np.float64), np.asarray(chance, np.float64)
    found: Floats = (right - guessed) / (1 - guessed)
    return found


def load(folder: str | Path) -> Scores:
    """The scores of an ablation's folder. ConfigError where it is none; runs that are not there are `missing`."""
    root = Path(folder)
    description = _json(root / "ablation.json")
    if not isinstance(description, Mapping) or not isinstance(description.get("arms"), Mapping):
        raise ConfigError(
            f"{root} is not the folder of an ablation",
            where=str(root / "ablation.json"),
            why="the file is missing or has no arms",
            fix="give the --output of `tokenmill ablate`",
        )
    arms = tuple(description["arms"])
    runs = [run for entry in description.get("runs", ()) if (run := _read_run(root, entry)).arm in arms]
    final = max(1, int((description.get("protocol") or {}).get("final_evals", 3)))
    missing = _missing(runs, final)
    wanted = (description.get("protocol") or {}).get("seeds", 0)
    wanted = tuple(wanted) if isinstance(wanted, Sequence) else tuple(range(int(wanted or 0)))
    have = {(r.arm, r.seed) for r in runs if r.role == "main"}
    if description.get("kind", "compare") == "compare":
        missing += [f"{a}, seed {s}: not started" for a in arms for s in wanted if (a, s) not in have]
    seeds = tuple(sorted({r.seed for r in runs} | ({s for s in wanted} if not runs else set())))
    return Scores(root, description, arms, seeds, tuple(runs), tuple(missing), tuple(_doubts(root, runs, final)))


def _missing(runs: Sequence[Run], final: int) -> list[str]:
    """Runs that have no result, or whose final scores are not numbers."""
    ranking = {m for r in runs for m in r.metrics if m.startswith(("task/", "text/")) and m.endswith("/bpb")}
    found = []
    for run in runs:
        if run.result is None:
            reached = f"stopped after {run.tokens[-1]:,} tokens" if run.tokens.size else "not started"
            found.append(f"{run.label}: {reached}")
            continue
        empty = np.zeros(0)
        lost = sorted(m for m in ranking if not np.isfinite(final_value(run.metrics.get(m, empty), final)))
        if lost:
            found.append(
                f"{run.label}: its final evaluations have no {', '.join(lost)}; delete its folder"
                f" ({run.entry.get('folder')}) to train it again"
            )
    return found


def _doubts(root: Path, runs: Sequence[Run], final: int) -> list[str]:
    """What a reader of the verdict should know of the files of the runs."""
    found: list[str] = []
    lost_by: list[str] = []
    for run in runs:
        place = str(run.entry.get("folder", ""))
        asked = _json(root / place / "run.json")
        settings = asked.get("settings") if isinstance(asked, Mapping) else None
        if run.entry.get("settings") and isinstance(settings, Mapping):
            # as TrainSettings.digest; run.json has the settings that decide, and only these
            digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
            if digest != run.entry["settings"]:
                found.append(
                    f"{run.label} was trained with other settings than the record says: {place}/run.json and"
                    " ablation.json do not belong together; delete that folder to train it again"
                )
        have = {_step_of(path) for path in run.tables}
        lost = [int(step) for step in run.steps[-final:] if int(step) not in have] if run.result is not None else []
        if lost:
            rest = "the others count" if run.tables else "the noise of its items is not counted"
            steps = "step " + ", ".join(map(str, lost))
            lost_by.append(f"{run.label} has lost tables of items ({steps}, in {place}): {rest}")
    if len(lost_by) > MOST_LOST:
        lost_by = [f"{len(lost_by)} runs have lost tables of items; the first: {lost_by[0]}"]
    return found + lost_by


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _read_run(root: Path, entry: Mapping[str, Any]) -> Run:
    folder = root / str(entry.get("folder", ""))
    lines: dict[int, Mapping[str, Any]] = {}
    path = folder / "evals.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            found = json.loads(line)
        except ValueError:
            continue  # a line that a kill has cut; the resumed run writes it again
        lines[int(found["step"])] = found
    order = [lines[step] for step in sorted(lines)]
    names = sorted({name for one in order for name in one["metrics"]})
    metrics = {name: np.array([_number(one["metrics"].get(name)) for one in order], dtype=np.float64) for name in names}
    tables = sorted((p for p in folder.glob("items-*.parquet") if _step_of(p) >= 0), key=_step_of)
    result = _json(folder / "result.json")
    return Run(
        arm=str(entry["arm"]),
        seed=int(entry["seed"]),
        role=str(entry.get("role", "main")),
        entry=entry,
        result=result if isinstance(result, Mapping) else None,
        steps=np.array([one["step"] for one in order], dtype=np.int64),
        tokens=np.array([one["tokens"] for one in order], dtype=np.int64),
        metrics=metrics,
        tables=tuple(tables),
    )


def _step_of(path: Path) -> int:
    """The step in the name of a table of items; -1 where there is none."""
    step = path.stem.rpartition("-")[2]
    return int(step) if step.isdecimal() else -1


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _read_tables(paths: Sequence[Path]) -> dict[str, _Table]:
    """Task -> losses by unit, averaged over the tables."""
    found: dict[str, list[_Table]] = {}
    for path in paths:
        table = _open_table(path)
        task = table.column("task").cast("string").to_numpy(zero_copy_only=False)
        columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names[1:]}
        for name in np.unique(task.astype(str)).tolist():
            inside = task == name
            found.setdefault(name, []).append(_by_unit({key: value[inside] for key, value in columns.items()}))
    return {
        name: _Table(
            tables[-1].ids,
            np.mean([t.nats for t in tables], axis=0),
            tables[-1].bytes,
            tables[-1].chance,
            tables[-1].accuracy_se,
        )
        for name, tables in found.items()
    }


def _open_table(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=["task", "item", "unit", "choice", "gold", "nats", "bytes"])
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ConfigError(
            "a table of items cannot be read",
            where=str(path),
            why=f"it is cut or not such a table ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            fix=f"delete {path.parent} and run `tokenmill ablate` again to train this run anew, or delete the file"
            " to go on without it",
        ) from error


def _by_unit(rows: Mapping[str, Any]) -> _Table:
    gold = rows["gold"].astype(bool)
    gold = gold if gold.any() else np.ones_like(gold)
    ids, place = np.unique(rows["unit"][gold].astype(np.int64), return_inverse=True)
    nats: Floats = np.bincount(place, rows["nats"][gold].astype(np.float64), ids.size).astype(np.float64)
    size: Floats = np.bincount(place, rows["bytes"][gold].astype(np.float64), ids.size).astype(np.float64)
    pairs = np.unique(np.stack([rows["item"].astype(np.int64), rows["choice"].astype(np.int64)], axis=1), axis=0)
    choices = np.unique(pairs[:, 0], return_counts=True)[1].astype(np.float64)
    many = bool((choices > 1).any())
    chance = float((1 / choices).mean()) if many else float("nan")
    error = float(np.sqrt(chance * (1 - chance) / ids.size)) if many else float("nan")
    return _Table(ids, nats, size, chance, error)
