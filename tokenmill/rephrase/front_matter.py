"""Files with front matter: settings in YAML between two lines `---`, then text. Errors name file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenmill.core.errors import ConfigError

FENCE = "---"
_SYSTEM, _USER = "# System", "# User"


@dataclass(frozen=True)
class FrontMatter:
    """A file of settings and text."""

    path: str
    fields: Mapping[str, Any]
    lines: Mapping[str, int]
    """Line of each key, from 1; keys of mappings with dots between: `format.kind`."""
    body: str
    body_line: int
    """Line of the first character of the body."""

    def error(self, what: str, key: str = "", *, why: str = "", fix: str = "") -> ConfigError:
        """An error about a key, at the line where it, or the nearest key around it, stands."""
        at = key
        while at and at not in self.lines:
            at = at.rpartition(".")[0]
        line = f" line {self.lines[at]}" if at else ""
        where = f"{self.path}{line}" + (f": {key}" if key else "")
        return ConfigError(what, where=where, why=why, fix=fix or "docs/rephrase-styles.md has the keys and an example")

    def body_error(self, what: str, found: str = "", *, why: str = "", fix: str = "") -> ConfigError:
        """An error about the text, at the first line that holds `found`."""
        before = self.body.partition(found)[0] if found and found in self.body else ""
        return ConfigError(what, where=f"{self.path} line {self.body_line + before.count(chr(10))}", why=why, fix=fix)


def read_front_matter(path: Path) -> FrontMatter:
    """The settings and the text of a file. ConfigError where it cannot be read or has no front matter."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}", fix="the path of a prompt file that ends in .md") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder", fix="the path of one prompt file in it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}", why=str(error), fix="a text file in UTF-8") from error
    if not text.strip():
        raise ConfigError(f"{path}: the file is empty", fix="docs/rephrase-styles.md has the keys and an example")
    return parse_front_matter(text, str(path))


def parse_front_matter(text: str, path: str) -> FrontMatter:
    """As `read_front_matter`, of a text that `path` holds."""
    lines = text.replace("\r\n", "\n").split("\n")
    ends = [number for number, line in enumerate(lines) if line.rstrip() == FENCE]
    if len(ends) < 2 or ends[0] != 0:
        raise ConfigError(
            f"{path} has no front matter",
            where=f"{path} line 1",
            why=f"the first line is {lines[0][:40]!r}" if not ends or ends[0] else f"no second line {FENCE!r} ends it",
            fix=f"begin with {FENCE}, settings in YAML, {FENCE}; then the prompt",
        )
    fields, places = _settings("\n".join(lines[1 : ends[1]]), path)
    body = "\n".join(lines[ends[1] + 1 :])
    blank = len(body) - len(body.lstrip("\n"))
    return FrontMatter(path, fields, places, body.strip(), ends[1] + 2 + blank)


def system_and_prompt(found: FrontMatter) -> tuple[str, str]:
    """The parts of a body: behind `# System` and behind `# User`; ("", all of it) where it does not begin so."""
    lines = found.body.split("\n")
    if lines[0].strip() != _SYSTEM:
        return "", found.body
    ends = [number for number, line in enumerate(lines) if line.strip() == _USER]
    if len(ends) != 1:
        why = f"it begins with {_SYSTEM!r}; {len(ends)} lines {_USER!r} follow"
        raise found.body_error("which part is the prompt cannot be told", _SYSTEM, why=why, fix=f"one line {_USER!r}")
    return "\n".join(lines[1 : ends[0]]).strip(), "\n".join(lines[ends[0] + 1 :]).strip()


def _settings(raw: str, path: str) -> tuple[Mapping[str, Any], Mapping[str, int]]:
    import yaml

    loader = yaml.SafeLoader(raw)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            fix = "`key: value` on each line"
            raise ConfigError("front matter is a mapping of keys to values", where=f"{path} line 2", fix=fix)
        lines: dict[str, int] = {}
        _note_lines(node, "", lines, path)
        fields = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path} line {mark.line + 2}" if mark is not None else path
        why = str(getattr(error, "problem", None) or error)
        raise ConfigError(
            "the front matter is no YAML", where=where, why=why, fix="quote values with colons"
        ) from error
    finally:
        loader.dispose()
    return fields, lines


def _note_lines(node: Any, above: str, lines: dict[str, int], path: str) -> None:
    """Where each key stands. ConfigError for one that is given twice: the last would win in silence."""
    import yaml

    for key, value in node.value:
        name = f"{above}{key.value}"
        line = key.start_mark.line + 2
        if name in lines:
            why = f"it stands in line {lines[name]} already"
            raise ConfigError(f"{name!r} is given twice", where=f"{path} line {line}", why=why, fix="leave one out")
        lines[name] = line
        if isinstance(value, yaml.MappingNode):
            _note_lines(value, f"{name}.", lines, path)
