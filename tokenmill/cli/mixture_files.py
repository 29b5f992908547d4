"""Telling mixtures and ablations from recipes."""

from __future__ import annotations

from pathlib import Path

from tokenmill.core.errors import ConfigError

_ENDINGS = (".yaml", ".yml", ".json")


def is_ablation(path: str) -> bool:
    """Whether a file describes an ablation."""
    return path.endswith(_ENDINGS) and "arms" in (keys := _keys(path)) and "recipe" not in keys


def _keys(path: str) -> set[str]:
    """The keys of a file, none where it is no mapping."""
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return set()  # whoever reads it says what is wrong
    return set(data) if isinstance(data, dict) else set()


def is_mixture(path: str) -> bool:
    """Whether a file describes a mixture, so that `tokenmill plan` knows it from a recipe."""
    if path.endswith(_ENDINGS):
        return "sources" in (keys := _keys(path)) and "recipe" not in keys
    if ".py" not in path or not Path(path.partition(":")[0]).is_file():
        return False
    from tokenmill.tokens.mix.spec import load_mixture

    try:
        load_mixture(path)
    except ConfigError:
        return False
    return True
