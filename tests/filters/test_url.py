"""Rules over addresses, and the compiled lists."""

from __future__ import annotations

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.filters import blocklist
from tokenmill.filters.url import UrlFilter

DOMAINS = ["# comment", "bad.com", "Mixed.org", "sub.fine.co.uk", "10.1.2.3", "", "xn--bad-9qa.net"]
URLS = ["fine.com/~Bad/page", "http://fine.com/with-scheme"]


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("lists")
    (folder / "domains").write_text("\n".join(DOMAINS))
    (folder / "urls").write_text("\n".join(URLS) + "\n")
    (folder / "banned_words.txt").write_text("#x\nHardword\n")
    (folder / "soft_banned_words.txt").write_text("soft\nsofter\nsoftest")
    (folder / "banned_subwords.txt").write_text("un wanted\n")
    return str(folder)


@pytest.fixture(scope="module")
def stage(lists: str, tmp_path_factory: pytest.TempPathFactory) -> UrlFilter:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENMILL_CACHE", str(tmp_path_factory.mktemp("cache")))
        stage = UrlFilter(lists=lists, extra_domains=("Extra.io",), extra_urls=("https://fine.com/extra",))
        stage.setup()
    return stage


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://fine.com/", None),
        ("http://bad.com/x", "domain"),
        ("HTTPS://WWW.BAD.COM:8080/x", "domain"),
        ("http://user:pass@bad.com./", "domain"),
        ("http://notbad.com/", None),
        ("http://bad.com.fine.net/", None),
        ("http://a.mixed.org/", "domain"),
        ("http://fine.co.uk/", None),
        ("http://sub.fine.co.uk/", "subdomain"),
        ("http://other.sub.fine.co.uk/", None),
        ("http://10.1.2.3/", "subdomain"),
        ("http://extra.io/", "domain"),
        ("http://fine.com/~bad/page", "url"),
        ("https://FINE.com/~Bad/page", "url"),
        ("http://fine.com/~bad/page2", None),
        ("https://fine.com/with-scheme", "url"),
        ("http://fine.com/extra", "url"),
        ("http://fine.com/a-hardword-b", "hard_word"),
        ("http://fine.com/HardWord/", "hard_word"),
        ("http://fine.com/hardwords", None),
        ("http://fine.com/soft/", None),
        ("http://fine.com/soft/soft/", None),
        ("http://fine.com/soft/Softest", "soft_words"),
        ("http://fine.com/xUN-wantedx", "subword"),
        ("http://fine.com/un/wan/ted", "subword"),
        ("http://[::1", "bad_url"),
        ("http://[abc]/", "bad_url"),
        ("http://ex\u2100mple.com/", "bad_url"),
        ("http://fine.com:99999/", "bad_url"),
        ("http://fine.com:b/", "bad_url"),
        ("http://[2001:db8::1]/", None),
        ("no address", "bad_url"),
        ("", "bad_url"),
        ("http:///path", "bad_url"),
    ],
)
def test_rules(stage: UrlFilter, url: str, reason: str | None) -> None:
    assert stage.judge(Doc(text="", url=url)) == reason


def test_missing_address_is_bad(stage: UrlFilter) -> None:
    assert stage.judge(Doc(url=None)) == "bad_url"


def test_soft_words_setting(lists: str, stage: UrlFilter) -> None:
    assert UrlFilter(lists=lists, min_soft_words=1).judge(Doc(url="http://fine.com/soft")) == "soft_words"
    assert UrlFilter(lists=lists, min_soft_words=None).judge(Doc(url="http://fine.com/soft/softer")) is None


@given(
    st.one_of(
        st.text(),
        st.text().map("http://{}".format),
        st.text(alphabet="a./:@[]%#?\\\x00é\ud800").map("http://a{}".format),
    )
)
def test_never_raises(url: str) -> None:
    stage = UrlFilter(lists="none", extra_domains=("b.com",))
    assert stage.judge(Doc(url=url)) in {None, "bad_url", "domain"}


def test_no_lists() -> None:
    stage = UrlFilter(lists="none")
    assert stage.digests() == {"lists": "none"}
    assert stage.judge(Doc(url="http://bad.com/hardword")) is None


def test_datatrove_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocklist.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        UrlFilter().digests()
    assert "pip install 'tokenmill[datatrove]'" in str(caught.value)
    assert "--set url_filter.lists=none" in str(caught.value)


def test_folder_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no lists"):
        UrlFilter(lists=str(tmp_path / "none")).digests()


def test_digest_follows_the_content(tmp_path: Path) -> None:
    digests = []
    for number, domain in enumerate(["a.com", "a.com", "b.com"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "domains").write_text(domain)
        digests.append(UrlFilter(lists=str(folder)).digests()["lists"])
    assert digests[0] == digests[1] != digests[2]


@given(st.lists(st.text(), max_size=30), st.text())
def test_hash_set_equals_a_set(lines: list[str], other: str) -> None:
    hashes = blocklist.HashSet(blocklist.compile_hashes(lines))
    assert len(hashes) == len(set(lines))
    assert all(line in hashes for line in lines)
    assert (other in hashes) == (other in lines)


def _archive(folder: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(folder / blocklist._ARCHIVE, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_archive_is_read_without_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "assets", tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("TOKENMILL_CACHE", str(cache))
    _archive(folder, {"../evil": b"x", "urls": b"fine.com/bad\n", "domains": b"bad.com\n\xff.com\n"})
    stage = UrlFilter(lists=str(folder))
    assert stage.judge(Doc(url="http://bad.com")) == "domain"
    assert stage.judge(Doc(url="http://fine.com/bad")) == "url"
    assert not (tmp_path / "evil").exists()
    assert sorted(path.suffix for path in (cache / "lists").iterdir()) == [".npy", ".npy"]


def test_processes_may_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "domains").write_text("\n".join(f"{i}.com" for i in range(2000)))
    with ThreadPoolExecutor(8) as pool:
        arrays = list(pool.map(lambda _: blocklist._compiled(tmp_path, "domains", "f" * 64), range(16)))
    assert all(np.array_equal(array, arrays[0]) for array in arrays)
    assert len(arrays[0]) == 2000
    assert [path.name for path in (tmp_path / "cache" / "lists").iterdir()] == [f"{'f' * 32}-domains-v1.npy"]


def test_broken_cache_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "domains").write_text("a.com")
    first = blocklist._compiled(tmp_path, "domains", "e" * 64).copy()  # the test writes below the mapping
    (path,) = (tmp_path / "cache" / "lists").iterdir()
    whole = path.read_bytes()
    for broken in (b"", b"garbage", whole[:-3]):
        path.write_bytes(broken)
        assert np.array_equal(blocklist._compiled(tmp_path, "domains", "e" * 64), first)
        assert path.read_bytes() == whole


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "domains").write_text("a.com")
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="TOKENMILL_CACHE"):
        blocklist._compiled(tmp_path, "domains", "d" * 64)
