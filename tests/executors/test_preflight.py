"""Is there room for a run?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tokenmill.core.errors import ConfigError
from tokenmill.core.phases import data_phases
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.core.stage import InputShard
from tokenmill.executors.preflight import MARGIN, check_space, estimate_bytes
from tokenmill.executors.runspec import RUN_JSON, Options, RunSpec
from tokenmill.io.runfolder import RunFolder
from tokenmill.pipelines import recipe


def _spec(size: int, annotation: Annotation | None = None, files: int = 10) -> RunSpec:
    inputs = [InputShard(f"/in/{i}.warc.gz", f"{i}.warc.gz", size // files, "") for i in range(files)]
    return RunSpec.of(make_plan(recipe("fineweb"), inputs, annotation), Options(), "/in")


def test_the_estimate_grows_with_the_input_and_with_annotation() -> None:
    small, large = estimate_bytes(_spec(10**9)), estimate_bytes(_spec(10**12))
    assert large == pytest.approx(1000 * small, rel=1e-6)
    assert 0.05e9 < small < 1e9
    assert estimate_bytes(_spec(10**9, Annotation())) > 2 * small
    assert estimate_bytes(_spec(0)) == 0


def test_little_room_is_a_warning_with_numbers_and_none_is_an_error(tmp_path: Path) -> None:
    spec, folder = _spec(10**12), RunFolder(str(tmp_path / "not" / "yet"))
    needed = int(estimate_bytes(spec) * MARGIN)
    assert check_space(spec, folder, free=lambda path: needed + 1) == []
    [warning] = check_space(spec, folder, free=lambda path: needed // 2)
    assert str(tmp_path) in warning
    assert f"{needed / 1e9:,.0f} GB are needed" in warning
    with pytest.raises(ConfigError, match="--no-preflight"):
        check_space(spec, folder, free=lambda path: needed // 20)


def test_what_an_earlier_session_has_written_needs_no_room(tmp_path: Path) -> None:
    spec, folder = _spec(10**6), RunFolder(str(tmp_path))
    needed = int(estimate_bytes(spec) * MARGIN)
    (tmp_path / "data").write_bytes(b"x" * (needed - 100))
    assert check_space(spec, folder, free=lambda path: 200) == []


def test_on_an_object_store_the_temporary_folder_counts() -> None:
    spec, folder = _spec(10**13), RunFolder("memory://run")
    assert check_space(spec, folder, workers=2, free=lambda path: 2 * 10**12) == []
    [warning] = check_space(spec, folder, workers=64, free=lambda path: 10**12)
    assert "TMPDIR" in warning


def _begin(spec: RunSpec, folder: RunFolder, committed: int) -> None:
    content: dict[str, Any] = {}
    folder.write_json(RUN_JSON, content)
    for phase in data_phases(spec.plan.phases):
        for slug in spec.slugs[:committed]:
            folder.write_json(f"phases/{phase.directory}/manifests/{slug}.json", content)


@pytest.mark.parametrize("place", ["disk", "store"])
def test_a_run_that_has_begun_is_judged_by_what_is_left_and_never_refused(tmp_path: Path, place: str) -> None:
    spec = _spec(10**12)
    folder = RunFolder(str(tmp_path / "out") if place == "disk" else f"memory://{tmp_path.name}")
    with pytest.raises(ConfigError):
        check_space(spec, folder, workers=100, free=lambda path: 10**6)
    _begin(spec, folder, 9)
    [warning] = check_space(spec, folder, workers=100, free=lambda path: 10**6)
    needed = estimate_bytes(spec) * MARGIN
    if place == "disk":  # a tenth
        assert f"{needed / 1e10:,.3g} GB are needed" in warning
        assert check_space(spec, folder, free=lambda path: int(needed / 9)) == []
    assert "--no-preflight" not in warning
    _begin(spec, folder, 10)
    assert check_space(spec, folder, workers=100, free=lambda path: 0) == []
