"""Telling mixtures from recipes."""

from __future__ import annotations

from pathlib import Path

from tokenmill.core.errors import ConfigError


def is_mixture(path: str) -> bool:
    """Whether a file describes a mixture, so that `tokenmill plan` knows it from a recipe."""
    if path.endswith((".yaml", ".yml", ".json")):
        import yaml

        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return False  # whoever reads it says what is wrong
        return isinstance(data, dict) and "sources" in data and "recipe" not in data
    if ".py" not in path or not Path(path.partition(":")[0]).is_file():
        return False
    from tokenmill.tokens.mix.spec import load_mixture

    try:
        load_mixture(path)
    except ConfigError:
        return False
    return True
