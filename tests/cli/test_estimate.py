"""`tokenmill plan --estimate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.support import EXAMPLE, in_process_of_its_own, tokenmill
from tests.executors.support import TRAPS
from tokenmill.cli.estimate import parse_bytes, parse_rates
from tokenmill.core.errors import ConfigError


@pytest.mark.slow
def test_an_estimate_runs_a_sample_and_multiplies_it(tmp_path: Path) -> None:
    arguments = ["plan", "gopher", "--input", EXAMPLE, "--estimate", "--total-bytes", "90TB", "--rate", "core_hour=1"]
    done = in_process_of_its_own(*arguments, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(tmp_path.iterdir()) == []
    factor = 90e12 / found["sample"]["bytes"]
    assert found["documents"]["value"] == pytest.approx(found["sample"]["documents"] * factor)
    assert found["kept"]["value"] < found["documents"]["value"]
    work = found["sample"]["cpu_seconds"] - found["sample"]["startup_seconds"]
    # work of the sample in proportion; starting workers is not multiplied
    assert 0.3 * work * factor < found["core_seconds"]["value"] < 1.5 * work * factor
    assert found["dollars"]["cores"]["value"] == pytest.approx(found["core_seconds"]["value"] / 3600)


@pytest.mark.ci
def test_it_is_printed_as_tables(write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl([f"document {i}" for i in range(500)])
    shown = tokenmill(
        "plan", f"{TRAPS}:trap", "--input", source, "--estimate", "--total-files", "1e6", "--cores", "640"
    )
    assert shown.returncode == 0, shown.stderr
    assert "core-hours" in shown.stdout
    assert "wall clock, 640 cores" in shown.stdout
    assert "one piece only, so there is no interval" in shown.stdout


@pytest.mark.parametrize(
    ("text", "size"), [("90TB", 9e13), ("1.5 GiB", 1.5 * 2**30), ("1e12", 1e12), ("7", 7), ("3 kb", 3000)]
)
def test_sizes(text: str, size: float) -> None:
    assert parse_bytes(text) == size


def test_nonsense_is_a_configuration_error() -> None:
    for text in ("", "TB", "1.2.3TB", "5 apples", "-1"):
        with pytest.raises(ConfigError, match="no number of bytes"):
            parse_bytes(text)
    with pytest.raises(ConfigError, match="core_hour"):
        parse_rates(("core_hours=1",))
    with pytest.raises(ConfigError, match="no number"):
        parse_rates(("core_hour=x",))
    failed = tokenmill("plan", "gopher", "--estimate")
    assert failed.returncode == 2
    assert "needs input" in failed.stderr
