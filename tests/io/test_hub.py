"""Models of a hub: the cache first, a download that is told, one error."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tokenmill.core.errors import ConfigError
from tokenmill.io.hub import from_hub

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """A hub that has owner/there, of which the cache has owner/cached; it notes what is asked of it."""
    asked: list[dict[str, Any]] = []

    def fetch(repository: str, file: str, **settings: Any) -> str:
        asked.append(settings)
        if repository == "owner/there" and not settings.get("local_files_only"):
            return str(tmp_path / file)
        if repository == "owner/cached":
            return str(tmp_path / "cached" / file)
        raise OSError(f"{repository} cannot be reached\nmore of the same")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return asked


def test_what_the_cache_has_needs_no_hub(calls: list[dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    found = from_hub("a model", "hf_hub_download", "owner/cached", "m.bin", revision="v1")
    assert found.name == "m.bin"
    assert calls == [{"revision": "v1", "local_files_only": True}]
    assert not caplog.records


def test_a_copy_that_lacks_files_is_fetched_again(calls: list[dict[str, Any]]) -> None:
    from_hub("a model", "hf_hub_download", "owner/cached", "m.bin", complete=lambda path: False)
    assert calls == [{"revision": None, "local_files_only": True}, {"revision": None}]


def test_a_download_is_told(calls: list[dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert from_hub("a model", "hf_hub_download", "owner/there", "m.bin").name == "m.bin"
    assert "downloading the model a model (revision main)" in caplog.text


def test_a_hub_without_it_is_one_error(calls: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match="cannot be had from the hub") as caught:
        from_hub("a model", "hf_hub_download", "owner/none", "m.bin")
    assert "OSError: owner/none cannot be reached" in caught.value.why
    assert "more of the same" not in caught.value.why
    assert "train-classifier" in caught.value.fix


def test_messages_name_what_is_wanted(calls: list[dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="the tokenizer 'a name' is nothing") as caught, caplog.at_level("WARNING"):
        from_hub("a name", "hf_hub_download", "owner/none", "t.json", noun="tokenizer", instead="give a file")
    assert caught.value.fix.startswith("give a file; ")
    assert "downloading the tokenizer a name" in caplog.text
