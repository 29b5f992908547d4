"""The YAML header of a data set card, as the Hugging Face Hub and `datasets` read it.

Format: huggingface.co/docs/hub/datasets-cards and .../datasets-manual-configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import yaml

from tokenmill.report.card_text import plain, tag
from tokenmill.report.counts import DataCounts
from tokenmill.report.funnel import Funnel

MAX_LANGUAGES = 300
MAX_CONFIGS = 200
"""More dumps than this get no configuration of their own."""
MAX_CONFIG_FILES = 1_000
"""Files are named one by one only up to so many: the Hub reads this header with every page."""
_CODE = re.compile(r"([a-z]{2,3})(?:_[A-Z][a-z]{3})?")
_CONFIG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SIZES = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"]
_SIZES += ["1B<n<10B", "10B<n<100B", "100B<n<1T", "n>1T"]
_DTYPES = {
    "string",
    "large_string",
    "binary",
    "bool",
    *(f"{kind}int{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)),
}
_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}


def header(funnel: Funnel, counts: DataCounts | None, extra_tags: Iterable[str] = ()) -> str:
    """The header between its `---` lines. Deterministic; strings from data cannot end it."""
    run = funnel.run
    content: dict[str, Any] = {"pretty_name": plain(run["recipe"], 100) or "tokenmill"}
    languages = language_codes(counts)
    if languages:
        content["language"] = languages
    # the texts are their publishers': no licence of one's own covers them
    content["license"] = "other"
    content["license_name"] = "texts-remain-with-their-publishers"
    if "text" in run["columns"]:
        content["task_categories"] = ["text-generation"]
        content["task_ids"] = ["language-modeling"]
    rows = counts.rows if counts is not None else funnel.kept
    content["size_categories"] = [size_category(rows)]
    content["tags"] = list(dict.fromkeys(word for word in ("tokenmill", *extra_tags, tag(run["recipe"])) if word))
    if counts is not None and counts.files:
        content["configs"] = configs(counts)
        content["dataset_info"] = dataset_info(counts)
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1 << 20, default_flow_style=False)
    return "---\n" + str(text) + "---\n"


def language_codes(counts: DataCounts | None) -> list[str]:
    """Codes of ISO 639 among the values of `language`, the most frequent first; `eng_Latn` is `eng`."""
    if counts is None or "language" not in counts.groups:
        return []
    ordered = sorted(counts.groups["language"].items(), key=lambda item: (-item[1], str(item[0])))
    matches = (_CODE.fullmatch(value) for value, _ in ordered if value)
    return list(dict.fromkeys(match.group(1) for match in matches if match))[:MAX_LANGUAGES]


def size_category(rows: int) -> str:
    """The Hub's name for so many rows."""
    limits = [int(10**power) for power in range(3, 13)]
    return _SIZES[sum(rows >= limit for limit in limits)]


def configs(counts: DataCounts) -> list[dict[str, Any]]:
    """`default` with all files; one for each dump and language, where every file has one only and there are several."""
    found = [_config("default", "data/*.parquet", default=True)]
    for column in sorted(counts.files_by):
        files = counts.files_by[column]
        named = [value for value in sorted(files) if _CONFIG.fullmatch(value) and value != "default"]
        several = 1 < len(files) <= MAX_CONFIGS and sum(map(len, files.values())) <= MAX_CONFIG_FILES
        taken = {config["config_name"] for config in found}
        if several and len(named) == len(files) and not taken.intersection(named):
            found += [_config(value, sorted(files[value])) for value in named]
    return found


def _config(name: str, path: str | list[str], default: bool = False) -> dict[str, Any]:
    config: dict[str, Any] = {"config_name": name, "data_files": [{"split": "train", "path": path}]}
    return {**config, "default": True} if default else config


def dataset_info(counts: DataCounts) -> dict[str, Any]:
    """Features and splits of the default configuration; features only where every type has a name in `datasets`."""
    info: dict[str, Any] = {"config_name": "default"}
    features = [feature(field) for field in counts.schema] if counts.schema is not None else []
    if features and all(one is not None for one in features):
        info["features"] = features
    info["splits"] = [{"name": "train", "num_bytes": counts.uncompressed, "num_examples": counts.rows}]
    return {**info, "download_size": counts.stored, "dataset_size": counts.uncompressed}


def feature(field: pa.Field) -> Mapping[str, Any] | None:
    """A column as `datasets` names it; None for types that are left for it to find out."""
    kind = field.type
    if pa.types.is_list(kind):
        inner = _dtype(kind.value_type)
        return None if inner is None else {"name": field.name, "list": inner}
    found = _dtype(kind)
    return None if found is None else {"name": field.name, "dtype": found}


def _dtype(kind: pa.DataType) -> str | None:
    name = str(kind)
    if name in _FLOATS:
        return _FLOATS[name]
    if pa.types.is_timestamp(kind):
        return name
    return name if name in _DTYPES else None
