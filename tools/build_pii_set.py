"""Build `tests/data/pii/made.jsonl`: texts with personal data that belongs to nobody, and where it stands.

    python tools/build_pii_set.py tests/data/pii/made.jsonl

Nothing here knows how tokenmill finds anything: forms are written out by hand from the documents of issuers,
registries and services, digits are random (seeded), check digits are computed on their own. Some forms are known to be
missed. Numbers that are reserved for fiction are used where a country has them.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import string
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

RNG = random.Random(1)
FORMS = tomllib.loads(Path(__file__).with_name("pii_forms.toml").read_text(encoding="utf-8"))
COUNTS = {"email": 440, "ip": 240, "card": 220, "iban": 190, "key": 230, "ssn": 90, "phone": 330}


FIELDS = {
    "d": string.digits,
    "n": "123456789",
    "A": string.ascii_uppercase,
    "U": string.ascii_uppercase + string.digits,
    "a": string.ascii_letters + string.digits,
    "h": "0123456789abcdef",
}


def fill(form: str) -> str:
    """The form with random characters in its fields (see `pii_forms.toml`)."""

    def drawn(field: re.Match[str]) -> str:
        return "".join(RNG.choice(FIELDS[field[1]]) for _ in range(int(field[2] or 1)))

    return re.sub(r"\{([dnAUah])([0-9]*)\}", drawn, form)


def email() -> tuple[str, str, str]:
    """An address in one of many forms, and nothing about its page."""
    first, last = RNG.choice(FORMS["people"])
    locals_ = [f"{first}.{last}", f"{first[0]}{last}", f"{last}_{first}", f"{first}{RNG.randint(1, 99)}"]
    locals_ += [f"{first}+news", f"{first}-{last}", first, f"{last}.{first}.{RNG.randint(1960, 2009)}"]
    local = RNG.choice([*locals_, f"o'{last}", f"{first.upper()}"])
    domain = RNG.choice(FORMS["domains"])
    roll = RNG.random()
    if roll < 0.05:
        return (
            RNG.choice(
                [f"{local} (at) {domain}", f"{local}[at]{domain}", f"{local} [at] " + domain.replace(".", " [dot] ")]
            ),
            "",
            "",
        )
    if roll < 0.055:
        return f"{local} at {domain.replace('.', ' dot ')}", "", ""  # known to be missed
    if roll < 0.08:
        return f"{local}@{domain.upper()}", "", ""
    return f"{local}@{domain}", "", ""


def ip() -> tuple[str, str, str]:
    """A public address, of version 6 once in four times."""
    if RNG.random() < 0.25:
        groups = [
            RNG.choice(["2a01", "2001", "2600", "2a02", "240e", "2804"]),
            *(f"{RNG.randint(0x500, 0xFFFF):x}" for _ in range(7)),
        ]
        form = RNG.choice(["full", "short", "upper", "tail"])
        if form == "short":
            return ":".join(groups[:3]) + "::" + groups[7], "", ""
        if form == "tail":
            return ":".join(groups[:4]) + "::", "", ""
        full = ":".join(groups)
        return full.upper() if form == "upper" else full, "", ""
    first = RNG.choice([n for n in range(11, 223) if n not in (100, 127, 169, 172, 192, 198, 203)])
    parts = [first, *(RNG.randint(0, 255) for _ in range(2)), RNG.randint(1, 254)]
    if RNG.random() < 0.02:
        return "[.]".join(map(str, parts)), "", ""  # known to be missed
    return ".".join(map(str, parts)), "", ""


def card() -> tuple[str, str, str]:
    """A number with the prefix of an issuer and a right check digit, in a usual layout."""
    prefix, length, layout = RNG.choice(FORMS["cards"])
    body = prefix + "".join(RNG.choice(string.digits) for _ in range(length - len(prefix) - 1))
    doubled = [int(d) * (2 if i % 2 == 0 else 1) for i, d in enumerate(reversed(body))]
    number = body + str(-sum(d // 10 + d % 10 for d in doubled) % 10)
    separator = RNG.choices([" ", "-", "", "\u00a0", "."], [45, 20, 30, 4, 1])[0]  # dots are known to be missed
    groups, done = [], 0
    for size in layout:
        groups.append(number[done : done + size])
        done += size
    return separator.join(groups), "", ""


def iban() -> tuple[str, str, str]:
    """A number of a country's form with right check digits."""
    country, form = RNG.choice(sorted(FORMS["bban"].items()))
    bban = fill(form)
    digits = "".join(str(int(c, 36)) for c in bban + country + "00")
    number = f"{country}{98 - int(digits) % 97:02d}{bban}"
    groups = [number[i : i + 4] for i in range(0, len(number), 4)]
    form = RNG.choices(["grouped", "compact", "dashes", "lower", "nbsp"], [50, 36, 5, 5, 4])[0]
    separator = {"grouped": " ", "dashes": "-", "nbsp": "\u00a0"}.get(form, "")
    text = separator.join(groups)
    return text.lower() if form == "lower" else text, "", ""


def key() -> tuple[str, str, str]:
    """A key as a service makes it, or an armoured private key."""
    pattern = RNG.choices([p for p, _ in FORMS["keys"]], [w for _, w in FORMS["keys"]])[0]
    if pattern.startswith("PEM"):
        label = pattern[4:]
        lines = [fill("{a64}") for _ in range(RNG.randint(3, 7))] + [fill("{a30}") + "=="]
        joint = RNG.choice(["\n", "\n", " ", "\\n"])
        return joint.join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"]), "", ""
    return fill(pattern), "", ""


def ssn() -> tuple[str, str, str]:
    """Three, two and four digits that may have been issued."""
    area = RNG.choice([n for n in range(1, 899) if n != 666])
    return (
        RNG.choice(FORMS["ssns"]).format(
            a=f"{area:03d}", g=f"{RNG.randint(1, 99):02d}", s=f"{RNG.randint(1, 9999):04d}"
        ),
        "",
        "",
    )


def phone() -> tuple[str, str, str]:
    """A number of a country's plan, with the address and language of a page there."""
    pattern, tld, language = RNG.choice(FORMS["phones"])
    return fill(pattern), f"https://www.site.{tld}/contact", language


MAKERS: dict[str, Callable[[], tuple[str, str, str]]] = {
    "email": email, "ip": ip, "card": card, "iban": iban, "key": key, "ssn": ssn, "phone": phone,
}  # fmt: skip


def row(kind: str, number: int) -> dict[str, object]:
    """One text: a context for the kind, often with prose around it; in its language."""
    value, url, language = MAKERS[kind]()
    contexts = FORMS["contexts"][kind] if kind != "phone" else FORMS["contexts"][f"phone:{language}"]
    template = RNG.choice(contexts)
    before, _, after = template.partition("{}")
    lead = RNG.choice(FORMS["prose"]) + RNG.choice([" ", "\n", "\n\n"]) if RNG.random() < 0.5 else ""
    tail = RNG.choice([" ", "\n"]) + RNG.choice(FORMS["prose"]) if RNG.random() < 0.5 else ""
    start = len(lead + before)
    text = lead + before + value + after + tail
    spans = [[start, start + len(value), kind]]
    return {
        "id": f"{kind}-{number}",
        "url": url,
        "language": language or "en",
        "text": apart(text, spans),
        "spans": spans,
    }


def apart(text: str, spans: list[list[object]]) -> str | list[str]:
    """A text with keys is cut in each key, so that scanners of repositories do not take them for lost ones."""
    cuts = [
        int(str(start)) + (8 if text.startswith("-----", int(str(start))) else 2)
        for start, _, kind in spans
        if kind == "key"
    ]
    if not cuts:
        return text
    bounds = [0, *cuts, len(text)]
    return [text[a:b] for a, b in itertools.pairwise(bounds)]


def main(target: Path) -> None:
    """Write positives of every kind and made-up negatives."""
    rows = [row(kind, number) for kind, count in COUNTS.items() for number in range(count)]
    for number, (template, times) in enumerate(FORMS["negatives"]):
        for repeat in range(times):
            text = apart(fill(template), [[0, 0, "key"]] if "_" in template or "BEGIN" in template else [])
            rows.append({"id": f"none-{number}-{repeat}", "url": "", "language": "en", "text": text, "spans": []})
    with open(target, "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
