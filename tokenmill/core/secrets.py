"""What must not be shown or published: passwords and signatures in addresses, keys in settings and variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

MASK = "..."

_USERINFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31}://)[^\s/?#'\"<>]*@")
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://([A-Za-z0-9._~!$&()*+,;=:%-]*)@")
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31}://[^\s?#'\"<>]*)(?:([?#])[^\s'\"<>]+)?")
"""The query is optional so that an address without one is passed over as a whole, and no text takes quadratic time."""
_KEY_NAME = re.compile(
    r"(?:^|[_.-])(?:secret|password|passwd|passphrase|credentials?|authorization|cookie|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|bearer|signature)(?:$|[_.-])|(?:^|[_.-])token$",
    re.IGNORECASE,
)
_HARMLESS_NAME = re.compile(r"_env$", re.IGNORECASE)
"""`api_key_env` names a variable, which is what settings should do."""
_ENVIRONMENT = re.compile(r"(?:^|_)(?:env|headers|storage_options)$", re.IGNORECASE)
"""Mappings whose every value may be a secret; `$NAME` stands for a variable and tells nothing."""
_KEY_OPTION = re.compile(
    r"((?<![A-Za-z-])--?[A-Za-z-]*(?:api-key|token|password|secret)[= ]\s*)(?!\$)[^\s'\"]+", re.IGNORECASE
)
_SECRET_VARIABLE = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|TOKENS?|SECRETS?|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|COOKIE|SIGNATURE)(?:_|$)|APIKEY",
    re.IGNORECASE,
)
_SHORTEST = 8
"""Fewest characters of a value that is hidden: shorter ones are words, numbers and switches."""
_WORDY_NAME = re.compile(r"(?:token|cookie|signature)(?:$|[_.-])", re.IGNORECASE)
"""Names that settings of texts have, too: `eos_token`, `cookie`. They hold a secret where the value looks like one."""
_RANDOM = re.compile(r"(?=.*[0-9])\S{16,}")
_BEARER = re.compile(
    r"\b(Bearer|Basic|AWS4-HMAC-SHA256)\s+(?=[A-Za-z._~+/-]{0,500}[0-9=])[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE
)
_KNOWN_KEY = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|github_pat_[A-Za-z0-9_]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[A-Za-z0-9_-]{35})"
)
"""Keys whose services gave them a form: Hugging Face, OpenAI, AWS, GitHub, Slack, Google."""


def redact(text: str) -> str:
    """A text without passwords and queries of the addresses in it, nor keys of well-known forms."""
    if "://" in text:
        text = _QUERY.sub(_without_query, _USERINFO.sub(r"\1", text))
    text = _KEY_OPTION.sub(rf"\1{MASK}", _BEARER.sub(rf"\1 {MASK}", text))
    return _KNOWN_KEY.sub(MASK, text)


def _without_query(match: re.Match[str]) -> str:
    return f"{match[1]}{match[2]}{MASK}" if match[2] else match[1]


def hide(text: str) -> str:
    """The text of an error as it may be stored: as `redact` makes it, and without the secrets of the environment.

    The value of every variable whose name says that it is one (KEY, TOKEN, SECRET, PASSWORD, ...) is replaced by the
    variable's name, wherever a library or a stage has put it into a message.
    """
    return redact(hide_environment(text))


def hide_environment(text: str) -> str:
    """The text with the names of variables in place of their values, where those are secrets."""
    for name, value in sorted(os.environ.items(), key=lambda item: (-len(item[1]), item[0])):
        if len(value) < _SHORTEST:
            break
        if value in text and value[0] != "/" and _SECRET_VARIABLE.search(name):  # a path is where a secret lies
            text = text.replace(value, f"${name}")
    return text


def is_secret_name(name: str) -> bool:
    """Whether a setting of this name holds a key rather than its place: `api_key`, not `api_key_env`."""
    return bool(_KEY_NAME.search(name)) and not _HARMLESS_NAME.search(name)


def redact_settings(value: Any, name: str = "") -> Any:
    """Plain values (JSON) with everything masked that is, or may hold, a secret. name: the key that holds them."""
    if isinstance(value, Mapping):
        hidden = bool(_ENVIRONMENT.search(name))
        return {key: _hide(item) if hidden else redact_settings(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_settings(item, name) for item in value]
    if isinstance(value, str):
        return _hide(value) if is_secret_name(name) else redact(value)
    return value


def refuse_secrets(settings: Mapping[str, Any], where: str) -> None:
    """ConfigError for settings that hold a secret, which would be written into the run. where: the stage.

    Passwords in addresses, keys of well-known forms, and texts under a name such as `api_key` or `password`.
    """
    from tokenmill.core.errors import ConfigError

    for name, value in settings.items():
        if secret_in(value, name):
            raise ConfigError(
                f"{where}.{name} holds a secret, which would be written into the run",
                fix="let the stage read it from the environment, and give the name of the variable as its setting",
            )


def secret_in(value: Any, name: str = "", *, variable: bool = False) -> bool:
    """Whether a plain value (JSON) holds a secret; name: the key that holds it; variable: that is an environment's."""
    if isinstance(value, Mapping):
        variables = bool(_ENVIRONMENT.search(name))
        return any(secret_in(item, str(key), variable=variables) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(secret_in(item, name, variable=variable) for item in value)
    if not isinstance(value, str) or not value or value.startswith("$"):
        return False
    wordy = not variable and _WORDY_NAME.search(name) is not None
    named = is_secret_name(name) and (not wordy or _RANDOM.fullmatch(value) is not None)
    if named or _KNOWN_KEY.search(value):
        return True
    return any(":" in user or scheme.lower() in ("http", "https") for scheme, user in _USER.findall(value))


def _hide(value: Any) -> Any:
    return value if not isinstance(value, str) or not value or value.startswith("$") else MASK
