"""Digests of all files of a run; imported by processes that must start fast."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def tree(out: Path) -> dict[str, str]:
    """SHA-256 of every file, besides the lock and what the coordinator has said."""
    skipped = {"phases/.lock", "phases/coordinator.json"}
    files = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if name not in skipped}


def in_the_end(out: Path) -> dict[str, str]:
    """The same, for comparing removals with one another: attempts have random names, which manifests repeat."""
    found = {}
    for name, digest in tree(out).items():
        path = out / name
        if "/manifests/" in name:
            content = json.loads(path.read_text())
            content.pop("attempt")
            digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        found[name] = digest
    return found
