"""What `tokenmill export` prints, where MosaicML streaming is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tokens.support import make_set
from tokenmill.cli.export_tokens import export_command
from tokenmill.core.errors import ConfigError


@pytest.mark.filterwarnings("ignore")
def test_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("streaming")
    make_set(tmp_path / "set", [[[1, 2, 3], [4]], [[5]]])
    capsys.readouterr()
    export_command(str(tmp_path / "set"), str(tmp_path / "out"), format="mds")
    assert f"{tmp_path}/out: 8 tokens in 3 samples of one document, 2 files (mds)\n" in capsys.readouterr().out
    export_command(str(tmp_path / "set"), str(tmp_path / "cut"), format="mds", sequence_length=3, file_size="1MB")
    out = capsys.readouterr().out
    assert "6 tokens in 2 samples of 3 tokens, 2 files (mds)" in out
    assert "2 tokens at the end fill no sample and are left out" in out


def test_sizes_are_checked(tmp_path: Path) -> None:
    make_set(tmp_path / "set", [[[1]]])
    with pytest.raises(ConfigError):
        export_command(str(tmp_path / "set"), str(tmp_path / "out"), format="mds", file_size="5GB")
