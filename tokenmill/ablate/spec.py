"""What an ablation is: arms, training and evaluation, from YAML, checked key by key (docs/ablation.md)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenmill.ablate.grid import grid_arms
from tokenmill.core.errors import did_you_mean
from tokenmill.core.plan import canonical_json
from tokenmill.io.settings_file import (
    Place,
    amount_at,
    check_keys,
    mapping_at,
    name_at,
    number_at,
    path_at,
    read_yaml,
    text_at,
)
from tokenmill.tokens.mix.spec import parse_mixture

MATCHES = ("tokens", "pool")
KINDS = ("recipe", "run", "documents", "tokens", "mixture")
SECTIONS = ("noise", "ladder", "mix", "anneal")
"""Keys whose values are handed to the studies as they are."""
_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "recipe": ("recipe", "input", "set", "without", "documents", "text_column", "id_column"),
    "run": ("run",),
    "documents": ("documents", "text_column", "id_column"),
    "tokens": ("tokens",),
    "mixture": ("mixture",),
}
"""Kind of arm -> the keys that it may have."""
_TEXTS = (".txt", ".txt.gz", ".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")
_HELD_OUT = 0.5
_SETTING = re.compile(r"\w+\.\w+")


@dataclass(frozen=True)
class ArmSpec:
    """An arm: where its documents or tokens come from. Which fields are set follows from `kind`."""

    name: str
    kind: str
    """One of `KINDS`."""
    recipe: str = ""
    """A built-in name, `my.py:name`, or a file of a recipe."""
    input: str = ""
    """Archives for the recipe; empty: those of the ablation."""
    set: Mapping[str, Any] = field(default_factory=dict)
    """`stage.field` -> value, as with `tokenmill run --set`."""
    without: tuple[str, ...] = ()
    """Labels of stages of the recipe that are left out."""
    run: str = ""
    documents: str = ""
    """Folder, file or pattern; with `recipe` its stages that work on text are run on them."""
    text_column: str = "text"
    id_column: str = "id"
    tokens: str = ""
    mixture: str = ""
    """Its file, or the mixture itself as JSON (`is_inline`)."""
    named: tuple[str, ...] = field(default=(), compare=False)
    """Which of `text_column` and `id_column` were given: these columns must be there."""

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, as plain values."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "named"}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items() if v not in ("", (), {})}

    @property
    def is_inline(self) -> bool:
        """Whether `mixture` is a mixture and no file of one."""
        return self.mixture.startswith("{")

    def what(self) -> str:
        """In one line, for reports."""
        if self.is_inline:
            found = json.loads(self.mixture)
            weights = found["stages"][0].get("weights", {})
            return "mixture " + ", ".join(f"{_source(found, name)} {weight:g}" for name, weight in weights.items())
        if self.kind != "recipe":
            column = f", column {self.text_column}" if self.text_column != "text" else ""
            return f"{self.kind} {getattr(self, self.kind)}{column}"
        changes = [f"{key}={value}" for key, value in self.set.items()]
        changes += [f"without {label}" for label in self.without]
        changes += [f"on {self.documents}, column {self.text_column}"] if self.documents else []
        return ", ".join([f"recipe {self.recipe}", *changes])


@dataclass(frozen=True)
class Evaluation:
    """What is measured, and how often."""

    kit: str = ""
    """Folder of benchmarks; empty: none."""
    tasks: tuple[str, ...] = ()
    """Empty: those that say something at the size of the model."""
    max_items: int | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    """Name -> file of neutral text."""
    text_bytes: int | None = None
    """Of each neutral text, only so much from its beginning; None: all of it."""
    held_out: float = 0.02
    """Share of documents, by a hash of their ids, that no arm is trained on."""
    held_out_bytes: int = 200_000
    """UTF-8 bytes of these that are measured on, for each arm."""
    evals: int = 10
    """Evaluations in a run."""


@dataclass(frozen=True)
class Ablation:
    """An ablation, as `tokenmill ablate` takes it."""

    name: str
    arms: Mapping[str, ArmSpec]
    input: str = ""
    tokenizer: str = ""
    """A path or a name on the hub; empty where `train_tokenizer` has settings."""
    train_tokenizer: Mapping[str, Any] | None = None
    """Settings of `BpeSettings`: it is trained on the documents of all arms together."""
    preset: str = "smoke"
    tokens: int | None = None
    """Trained tokens of a run; None: those of the preset."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """Settings of model and training that the preset does not decide."""
    seeds: int = 3
    match: str = "tokens"
    """tokens: every arm is cut to the unique tokens of the smallest; pool: each has all of its own."""
    baseline: str = ""
    lr_check: bool = False
    evaluate: Evaluation = field(default_factory=Evaluation)
    margin: float | None = None
    """Smallest effect that matters, a share of the score."""
    sections: Mapping[str, Any] = field(default_factory=dict)
    """`noise`, `ladder`, `mix` and `anneal` as they were given."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the record."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        found["arms"] = {name: arm.to_json() for name, arm in self.arms.items()}
        found["evaluate"] = {**vars(self.evaluate), "tasks": list(self.evaluate.tasks)}
        found["evaluate"]["texts"] = dict(self.evaluate.texts)
        return {name: dict(v) if isinstance(v, Mapping) else v for name, v in found.items()}

    @property
    def digest(self) -> str:
        """SHA-256 of all settings."""
        return hashlib.sha256(canonical_json(self.to_json())).hexdigest()

    def equal_arms(self) -> list[tuple[str, str]]:
        """Pairs of arms that ask for the same: an A/A test, or a mistake."""
        asked = {name: {**arm.to_json(), "name": ""} for name, arm in self.arms.items()}
        names = list(asked)
        return [(a, b) for n, a in enumerate(names) for b in names[n + 1 :] if asked[a] == asked[b]]


def _source(mixture: Mapping[str, Any], name: str) -> str:
    """A source with what it takes of its set."""
    where = mixture["sources"][name].get("where") or {}
    return f"{name} ({', '.join(f'{tag} {value}' for tag, value in where.items())})" if where else name


def load_ablation(path: str | Path) -> Ablation:
    """The ablation of a YAML or JSON file. Paths in it are relative to its folder. ConfigError names what is wrong."""
    return parse_ablation(read_yaml(Path(path), "ablation"), str(path), Path(path).absolute().parent)


def parse_ablation(data: Any, where: str = "ablation", folder: Path | None = None) -> Ablation:
    """An ablation from plain values, as YAML gives them.

    where: what errors name. folder: of relative paths; None: where the process stands. ConfigError names the place.
    """
    place = Place(where, folder or Path.cwd(), guide="see docs/ablation.md")
    known = [f.name for f in dataclasses.fields(Ablation) if f.name not in ("sections", "train_tokenizer")]
    wanted = ("name",) if "grid" in mapping_at(data, place) else ("name", "arms")
    check_keys(data, [*known, *SECTIONS, "grid"], wanted, place)
    source = path_at(data["input"], place.at("input")) if data.get("input") is not None else ""
    given = dict(mapping_at(data.get("arms") or {}, place.at("arms")))
    for name, arm in (grid_arms(data["grid"], place.at("grid")) if data.get("grid") is not None else {}).items():
        if name in given:
            raise place.at("grid").error(f"the grid has an arm {name!r} too", fix="choose another name for that arm")
        given[name] = arm
    arms = {
        name_at(name, place.at("arms")): _arm(str(name), arm, source, place.at(f"arms.{name}"))
        for name, arm in given.items()
    }
    _check_names(arms, place.at("arms"))
    baseline = str(data.get("baseline") or next(iter(arms)))
    if baseline not in arms:
        raise place.at("baseline").error(f"there is no arm {baseline!r}", why=did_you_mean(baseline, arms))
    preset = _preset(data.get("preset", "smoke"), place.at("preset"))
    tokenizer, trained = _tokenizer(data.get("tokenizer"), arms, place.at("tokenizer"))
    tokens = data.get("tokens")
    lr_check = data.get("lr_check", preset != "smoke")
    return Ablation(
        name=name_at(data["name"], place.at("name")),
        arms=arms,
        input=source,
        tokenizer=tokenizer,
        train_tokenizer=trained,
        preset=preset,
        tokens=None if tokens is None else amount_at(tokens, place.at("tokens")),
        train=_plain_mapping(data.get("train"), place.at("train")),
        seeds=_count(data.get("seeds", 3), place.at("seeds"), "a number of seeds"),
        match=_one_of(data.get("match", "tokens"), MATCHES, place.at("match")),
        baseline=baseline,
        lr_check=_flag(lr_check, place.at("lr_check")),
        evaluate=_evaluation(data.get("evaluate") or {}, place.at("evaluate")),
        margin=_margin(data.get("margin"), place.at("margin")),
        sections={name: data[name] for name in SECTIONS if data.get(name) is not None},
    )


def _check_names(arms: Mapping[str, ArmSpec], place: Place) -> None:
    """Names are folders: two that differ in case are one on some disks."""
    if not arms:
        raise place.error("an ablation has no arms", fix="two or more, such as raw: {recipe: raw}")
    for number, name in enumerate(names := list(arms)):
        if name.lower() in [other.lower() for other in names[:number]]:
            raise place.at(name).error("another arm has this name but for its case", fix="choose another name")


def _arm(name: str, data: Any, source: str, place: Place) -> ArmSpec:
    given = mapping_at(data, place)
    check_keys(data, sorted({key for keys in _OF_KIND.values() for key in keys}), (), place)
    kinds = [kind for kind in KINDS if given.get(kind) is not None]
    kind = "recipe" if kinds == ["recipe", "documents"] else kinds[0] if len(kinds) == 1 else ""
    if not kind:
        raise place.error(
            f"an arm is one of {', '.join(KINDS)}",
            why=f"it has {', '.join(kinds) or 'none of them'}",
            fix="such as {recipe: fineweb}, {run: FOLDER} or {documents: FOLDER}; of two only recipe with documents",
        )
    foreign = [key for key in given if key not in _OF_KIND[kind]]
    if foreign:
        raise place.error(
            f"the setting {foreign[0]!r} does not belong to an arm with `{kind}`",
            why=f"that may have {', '.join(_OF_KIND[kind])}",
        )
    if kind == "recipe" and "documents" not in kinds and not (given.get("input") or source):
        raise place.error("the recipe has no input", fix="give `input` for the whole ablation or for this arm")
    if kind == "recipe" and "documents" not in kinds and {"text_column", "id_column"} & given.keys():
        raise place.error("columns are those of documents", fix="add documents: FOLDER, or leave the columns out")
    if "documents" in kinds and given.get("input") is not None:
        raise place.at("input").error("documents are the input of this arm", fix="leave `input` or `documents` out")
    inline = isinstance(given.get("mixture"), Mapping)
    keys = [key for key in (*KINDS[1:], "input") if not (inline and key == "mixture")]
    paths = {key: path_at(given[key], place.at(key)) for key in keys if given.get(key) is not None}
    if inline:
        found = parse_mixture(given["mixture"], f"{place.file}: {place.key}.mixture", place.folder)
        paths["mixture"] = canonical_json(found.to_json()).decode()
    columns = {k: text_at(given[k], place.at(k)) for k in ("text_column", "id_column") if k in given}
    without = given.get("without") or ()
    if isinstance(without, str) or not isinstance(without, Sequence):
        raise place.at("without").error(f"{without!r} is no list of stages", fix="such as without: [minhash_dedup]")
    return ArmSpec(
        name,
        kind,
        recipe=_recipe(given["recipe"], place.at("recipe")) if kind == "recipe" else "",
        set=_settings(given.get("set"), place.at("set")),
        without=tuple(text_at(label, place.at("without")) for label in without),
        **paths,
        **columns,
        named=tuple(columns),
    )


def _recipe(value: Any, place: Place) -> str:
    """Files of recipes are relative to the ablation's; names are names."""
    text = text_at(value, place)
    file, colon, attribute = text.partition(":")
    return f"{path_at(file, place)}{colon}{attribute}" if file.endswith((".py", ".json", ".yaml", ".yml")) else text


def _settings(data: Any, place: Place) -> dict[str, Any]:
    found = {}
    for key, value in mapping_at(data or {}, place).items():
        if not isinstance(key, str) or not _SETTING.fullmatch(key):
            raise place.error(f"{key!r} is no setting of a stage", fix="such as gopher_quality.min_words: 40")
        found[key] = value
    return found


def _tokenizer(value: Any, arms: Mapping[str, ArmSpec], place: Place) -> tuple[str, dict[str, Any] | None]:
    """(path or name, None) or ("", settings of the training); ("", None) where arms with tokens have it."""
    ready = [arm.name for arm in arms.values() if arm.kind in ("tokens", "mixture")]
    if value is None:
        if not ready:
            raise place.error("there is no tokenizer", fix="a path, a name, or {train: {vocab_size: 4096}}")
        return "", None
    if isinstance(value, Mapping):
        check_keys(value, ("train",), ("train",), place)
        if ready:
            raise place.error(
                "no tokenizer can be trained here",
                why=f"the tokens of {', '.join(ready)} have been made with one",
                fix="leave `tokenizer` out: that one is taken for all arms",
            )
        settings = _plain_mapping(value["train"], place.at("train"))
        check_keys(settings, _BPE, ("vocab_size",), place.at("train"))
        for name in ("vocab_size", "sample_bytes", "min_frequency"):
            if name in settings:
                settings[name] = amount_at(settings[name], place.at(f"train.{name}"), "a number above 0")
        return "", settings
    text = text_at(value, place)
    local = place.folder / Path(text).expanduser()
    return str(local) if local.exists() else text, None


_BPE = ("vocab_size", "pretokenizer", "sample_bytes", "min_frequency", "seed")
"""Settings of the training of a tokenizer."""


def _preset(value: Any, place: Place) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or not value:
        raise place.error(f"{value!r} is no preset", fix="its name, or a number of parameters such as 12M")
    return str(value)


def _evaluation(data: Any, place: Place) -> Evaluation:
    check_keys(data, [f.name for f in dataclasses.fields(Evaluation)], (), place)
    tasks = data.get("tasks") or ()
    if isinstance(tasks, str) or not isinstance(tasks, Sequence):
        raise place.at("tasks").error(f"{tasks!r} is no list of tasks", fix="such as tasks: [sciq, arc_easy]")
    texts = {
        name_at(name, place.at("texts")): path_at(path, place.at(f"texts.{name}"))
        for name, path in mapping_at(data.get("texts") or {}, place.at("texts")).items()
    }
    for name, path in texts.items():
        if not path.endswith(_TEXTS):
            raise place.at(f"texts.{name}").error(f"{path} is no file of text", fix=f"one of {', '.join(_TEXTS)}")
    most = f"a share from 0 to {_HELD_OUT}"
    share = number_at(data.get("held_out", 0.02), place.at("held_out"), most, lambda found: 0 <= found <= _HELD_OUT)
    items = data.get("max_items")
    if tasks and not data.get("kit"):
        raise place.at("tasks").error("tasks need a `kit`", fix="kit: FOLDER with the files of the benchmarks")
    return Evaluation(
        kit=path_at(data["kit"], place.at("kit")) if data.get("kit") else "",
        tasks=tuple(text_at(task, place.at("tasks")) for task in tasks),
        max_items=None if items is None else _count(items, place.at("max_items"), "a number of items"),
        texts=texts,
        text_bytes=None
        if data.get("text_bytes") is None
        else _count(data["text_bytes"], place.at("text_bytes"), "a number of bytes"),
        held_out=float(share),
        held_out_bytes=_count(data.get("held_out_bytes", 200_000), place.at("held_out_bytes"), "a number of bytes"),
        evals=_count(data.get("evals", 10), place.at("evals"), "a number of evaluations"),
    )


def _margin(value: Any, place: Place) -> float | None:
    return None if value is None else float(number_at(value, place, "a share from 0 on", lambda found: found >= 0))


def _count(value: Any, place: Place, what: str) -> int:
    return amount_at(value, place, what)


def _one_of(value: Any, known: Sequence[str], place: Place) -> str:
    if value not in known:
        raise place.error(f"{value!r} is not known", why=did_you_mean(str(value), known))
    return str(value)


def _flag(value: Any, place: Place) -> bool:
    if not isinstance(value, bool):
        raise place.error(f"{value!r} is neither true nor false")
    return value


def _plain_mapping(data: Any, place: Place) -> dict[str, Any]:
    found = dict(mapping_at(data or {}, place))
    wrong = next((key for key in found if not isinstance(key, str)), None)
    if wrong is not None:
        raise place.error(f"{wrong!r} is no name of a setting")
    return found
