"""`forget`: nothing of a document is left in a run, everything else is as it was, and it stays that way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.executors.removal import both, check_digests, copied, finished_run, mentions, near, pipeline, table
from tests.executors.support import run
from tests.executors.trees import in_the_end, tree
from tokenmill.core.errors import ConfigError
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.executors.adopt import adopt
from tokenmill.executors.forget import ForgetRequest, Forgotten, forget
from tokenmill.executors.forget_find import Wanted
from tokenmill.executors.forget_marks import tombstones
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.refilter import refilter_spec
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec, load_run
from tokenmill.filters.optout import OptOut
from tokenmill.filters.optout_list import OptOutList, parse_request, url_digest
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.runfolder import RunFolder
from tokenmill.io.units import split
from tokenmill.text.hosts import host_of

TIME = "2026-03-01"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def made_both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With more phases; for CI."""
    return finished_run(tmp_path_factory.mktemp("both"), both())


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    return copied(made, tmp_path)


def ask(out: Path, **wanted: Any) -> Forgotten:
    return forget(RunFolder(str(out)), ForgetRequest(**{"time": TIME, **wanted}))


def again(out: Path, made: Path, **options: Any) -> None:
    """The same run once more."""
    assert not run(near(), made.parent / "in", out, **options).failures


def fragment(text: str) -> str:
    """A piece of a text that no other page has."""
    return text[len(text) // 2 :][:80]


def test_nothing_of_a_kept_document_is_left_and_all_else_stays(made: Path, tmp_path: Path) -> None:
    check_removal(made, copied(made, tmp_path))


@pytest.mark.ci
def test_nothing_is_left_between_more_phases(made_both: Path, tmp_path: Path) -> None:
    check_removal(made_both, copied(made_both, tmp_path))


def check_removal(made: Path, out: Path) -> None:
    before = table(out, "data")
    row = before[1]
    needles = (row["url"], row["id"], fragment(row["text"]))
    assert len(mentions(out, *needles)) >= 2
    variant = row["url"].replace("https://", "HTTP://").rstrip("/") + "/?utm_source=x"
    found = ask(out, urls=(variant,), reason="asked")
    assert [(grave.shard, grave.was) for grave in found.documents] == [(row["shard"], "kept")]
    assert mentions(out, *needles) == []
    funnel = check_digests(out)
    assert funnel.dropped["write_parquet.forgotten"] == 1
    assert table(out, "data") == [other for other in before if other["id"] != row["id"]]
    (listed,) = [one for one in table(out, "dropped") if one["reason"] == "forgotten"]
    assert listed["doc_id"] == found.documents[0].doc_id
    assert {listed[name] for name in ("id", "url", "text", "detail")} == {None}
    touched = {name for name, digest in tree(out).items() if tree(made).get(name) != digest}
    others = {one["shard"] for one in before} - {row["shard"]}
    assert not [name for name in touched for other in others if name.endswith(f"{other}.parquet")]
    tombstone = (out / "tombstones" / f"{found.tombstones[0]}.json").read_text()
    assert json.loads(tombstone)["documents"][0]["url_sha256"] == url_digest(row["url"])
    assert host_of(row["url"]) not in tombstone


@pytest.mark.parametrize(("kind", "was"), [("dropped", "dropped"), ("quarantine", "quarantined")])
def test_documents_that_were_not_kept(out: Path, kind: str, was: str) -> None:
    before = table(out, kind)
    urls = [one["url"] for name in ("data", "dropped", "quarantine") for one in table(out, name)]
    row = next(one for one in before if one["url"] and urls.count(one["url"]) == 1)
    found = ask(out, ids=(row["doc_id"],))
    assert [grave.was for grave in found.documents] == [was]
    assert mentions(out, row["url"], row["id"]) == []
    check_digests(out)
    (left,) = [one for one in table(out, kind) if one["doc_id"] == row["doc_id"]]
    name = "reason" if kind == "dropped" else "cause"
    assert (left["stage"], left[name]) == (row["stage"], row[name])  # the books stay as they are
    assert len(table(out, kind)) == len(before)


def test_an_id_may_be_bare(out: Path) -> None:
    row = table(out, "data")[0]
    bare = row["id"].removeprefix("<urn:uuid:").removesuffix(">")
    assert bare != row["id"]
    found = ask(out, ids=(bare,), dry_run=True)
    assert [grave.was for grave in found.documents] == ["kept"]


def test_a_domain_and_a_list(out: Path, tmp_path: Path) -> None:
    rows = [row for kind in ("data", "dropped", "quarantine") for row in table(out, kind)]
    hosts = [host_of(row["url"]) for row in rows if row["url"]]
    domain = max(set(hosts), key=hosts.count)
    chosen = [row for row in rows if row["url"] and f".{host_of(row['url'])}".endswith(f".{domain}")]
    rest = [row for row in table(out, "data") if row not in chosen]
    others = [row for row in rows if row["url"] == rest[0]["url"]]
    path = tmp_path / "list.txt"
    path.write_text(f"# mail\nsha256:{url_digest(rest[0]['url'])} 2026-01-02 by mail\n")
    found = ask(out, domains=(domain,), list=str(path))
    assert {grave.was for grave in found.documents} >= {"kept", "dropped"}
    assert len(found.documents) == len(chosen) + len(others)
    assert mentions(out, f"//{domain}/") == []
    assert table(out, "data") == [row for row in rest if row not in others]
    check_digests(out)
    assert found.block_list[0] == f"{domain} {TIME}"
    assert [line for line in found.block_list if line.startswith("sha256:")]


def test_it_is_idempotent_and_a_dry_run_changes_nothing(out: Path) -> None:
    before = tree(out)
    row = table(out, "data")[0]
    shown = ask(out, ids=(row["id"].strip("<>"),), dry_run=True)
    assert [grave.was for grave in shown.documents] == ["kept"]
    assert tree(out) == before
    done = ask(out, ids=(row["id"],))
    assert done.documents == shown.documents
    after = tree(out)
    assert not ask(out, ids=(row["id"],)).documents
    assert not ask(out, ids=(str(done.documents[0].doc_id),)).documents
    assert not ask(out, urls=(row["url"],)).documents
    assert tree(out) == after
    ask(out, ids=(table(out, "data")[0]["id"],))  # another one
    assert check_digests(out).dropped["write_parquet.forgotten"] == 2


def test_the_same_run_again_brings_nothing_back(made: Path, out: Path) -> None:
    row = table(out, "data")[0]
    ask(out, urls=(row["url"],))
    before = tree(out)
    again(out, made)
    assert tree(out) == before
    for lost in (out / "data" / f"{row['shard']}.parquet", next(out.glob("phases/01-*/data/*.parquet"))):
        kept = lost.read_bytes()
        lost.unlink()
        without = tree(out)
        with pytest.raises(ConfigError, match="is gone and cannot be made again here"):
            again(out, made)
        assert tree(out) == without  # not even the manifest is withdrawn
        lost.write_bytes(kept)
    again(out, made)
    assert tree(out) == before


def test_what_is_not_finished_must_be_finished_first(made: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, other = table(out, "data")[:2]
    with monkeypatch.context() as patch:
        patch.setattr("tokenmill.executors.forget.rewrite_steps", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ask(out, urls=(row["url"],))
    with pytest.raises(ConfigError, match="is not finished"):
        again(out, made)
    found = ask(out, urls=(other["url"],))  # finishes the first one too
    assert found.resumed
    assert len(found.documents) == 2
    assert all(tombstone.done for tombstone in tombstones(RunFolder(str(out))))
    assert mentions(out, row["url"], other["url"], fragment(row["text"])) == []
    check_digests(out)


@pytest.mark.ci
def test_an_index_forgets_too(made: Path, tmp_path: Path) -> None:
    """A new crawl of the same pages: what the index has forgotten is new again."""
    recipe = near()
    source = made.parent / "in"
    run(recipe, source, tmp_path / "first")
    row = table(tmp_path / "first", "data")[0]
    newer = pipeline("near", MinHashDedup(index=(str(tmp_path / "first"),)))
    run(newer, source, tmp_path / "second")
    assert table(tmp_path / "second", "data") == []
    found = ask(tmp_path / "first", urls=(row["url"],))
    check_digests(tmp_path / "first")
    third = pipeline("near", MinHashDedup(index=(str(tmp_path / "first"),)))
    run(third, source, tmp_path / "third")
    names = [one["id"] for one in table(tmp_path / "third", "data")]
    assert row["id"] in names
    assert len(names) == len(found.documents)


@pytest.mark.ci
def test_the_printed_lines_keep_it_out_of_another_run(made: Path, out: Path, tmp_path: Path) -> None:
    by_address, by_id = table(out, "data")[0], table(out, "data")[-1]
    found = ask(out, urls=(by_address["url"],), ids=(by_id["id"],))
    path = tmp_path / "list.txt"
    path.write_text("\n".join(found.block_list))
    listed = pipeline("listed", OptOut(blocklist=str(path)), MinHashDedup())
    assert not run(listed, made.parent / "in", tmp_path / "listed").failures
    urls = {row["url"] for row in table(tmp_path / "listed", "data")}
    assert urls == {row["url"] for row in table(out, "data")} - {by_id["url"]}
    reasons = [row["reason"] for row in table(tmp_path / "listed", "dropped") if row["stage"] == "opt_out"]
    assert set(reasons) == {"blocklist"}


@pytest.mark.ci
def test_spans_of_files_stay_joined(made: Path, tmp_path: Path) -> None:
    """Phases say what they were made from, and a run of spans compares that."""
    source = made.parent / "in"
    inputs = split(list_inputs(str(source), (".warc.gz",), sizes=True), 65_536)
    spec = RunSpec.of(make_plan(both(), inputs), Options(split_bytes=65_536), str(source))
    out = tmp_path / "out"
    folder = RunFolder(str(out))
    assert not execute(spec, folder, InlineExecutor()).failures
    row = table(out, "data")[0]
    ask(out, urls=(row["url"],))
    check_digests(out)
    before = tree(out)
    assert not execute(spec, folder, InlineExecutor()).failures
    assert tree(out) == before


def test_a_run_of_one_phase(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(pipeline("plain"), made.parent / "in", out)
    rows = table(out, "data")
    found = ask(out, urls=(rows[0]["url"],), ids=(f"{rows[3]['file_path']}#{rows[3]['warc_offset']}",))
    assert {grave.doc_id for grave in found.documents} >= {f"{rows[3]['file_path']}#{rows[3]['warc_offset']}"}
    left = [row for row in rows if row["id"] not in (rows[0]["id"], rows[3]["id"]) and row["url"] != rows[0]["url"]]
    assert table(out, "data") == left
    assert check_digests(out).dropped["write_parquet.forgotten"] == len(rows) - len(left)


@pytest.mark.ci
def test_refiltered_from_an_annotated_run(made: Path, tmp_path: Path) -> None:
    source = made.parent / "in"
    recipe = near()
    plan = make_plan(recipe, list_inputs(str(source), (".warc.gz",)), Annotation(()))
    out = tmp_path / "annotated"
    assert not execute(RunSpec.of(plan, Options(), str(source)), RunFolder(str(out)), InlineExecutor()).failures
    row = table(out, "data")[0]
    ask(out, urls=(row["url"],))
    check_digests(out)
    spec = refilter_spec(str(out), [("minhash_dedup", "min_similarity", 0.9)])
    assert not execute(spec, RunFolder(str(tmp_path / "new")), InlineExecutor()).failures
    assert mentions(tmp_path / "new", row["url"], row["id"]) == []
    assert table(tmp_path / "new", "data")


def test_another_run_does_not_take_its_phases_over(made: Path, out: Path, tmp_path: Path) -> None:
    spec = RunSpec.from_json(load_run(RunFolder(str(out))))
    assert adopt(spec, RunFolder(str(tmp_path / "one")), spec, RunFolder(str(out)))
    ask(out, urls=(table(out, "data")[0]["url"],))
    assert adopt(spec, RunFolder(str(tmp_path / "two")), spec, RunFolder(str(out))) == []


def test_what_is_refused(made: Path, out: Path, tmp_path: Path) -> None:
    folder = RunFolder(str(out))
    for wanted, words in (
        ({}, "nothing is asked"),
        ({"domains": ("com",)}, "no domain of somebody"),
        ({"urls": ("::",)}, "no address"),
        ({"ids": ("a",), "time": "yesterday"}, "no time"),
        ({"list": str(tmp_path / "none")}, "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=words):
            forget(folder, ForgetRequest(**wanted))
    one = ForgetRequest(ids=("a",))
    with folder.locked(), pytest.raises(ConfigError, match="another tokenmill is running"):
        forget(folder, one)
    with pytest.raises(ConfigError, match="object store"):
        forget(RunFolder("memory://forget"), one)
    with pytest.raises(ConfigError, match="holds no run"):
        forget(RunFolder(str(tmp_path)), one)
    run_json = json.loads((out / "run.json").read_text())
    run_json["stages"][-1]["class"] = "tokenmill.rephrase.stage:WriteRephrased"
    (out / "run.json").write_text(json.dumps(run_json))
    with pytest.raises(ConfigError, match="make it again"):
        forget(folder, one)
    seal = sorted(made.glob("phases/*/_SUCCESS.json"))[-1]
    unfinished = copied(made, tmp_path / "more")
    (unfinished / seal.relative_to(made)).unlink()
    with pytest.raises(ConfigError, match="not finished"):
        forget(RunFolder(str(unfinished)), one)
    assert not (unfinished / "tombstones").exists()


@pytest.mark.ci
def test_samples_of_removed_sentences_go(made_both: Path, tmp_path: Path) -> None:
    out = copied(made_both, tmp_path)
    samples = [row for path in out.glob("dedup/line_dedup/spans/*") for row in pq.read_table(path).to_pylist()]
    assert samples  # the recipe has some, or this tests nothing
    doc_id = samples[0]["doc_id"]
    ask(out, ids=(doc_id,))
    left = [row for path in out.glob("dedup/line_dedup/spans/*") for row in pq.read_table(path).to_pylist()]
    assert left == [row for row in samples if row["doc_id"] != doc_id]
    check_digests(out)


@pytest.mark.parametrize(
    ("line", "url", "expected"),
    [
        ("example.org", "HTTP://WWW.EXAMPLE.ORG/", True),
        ("example.org", "http://exam\tple.org/x", True),  # as browsers read it
        ("xn--bcher-kva.de", "http://bücher.de/", True),
        ("https://example.org/a", "http://%65xample.org/a", True),
        ("https://example.org/a%7Eb", "https://example.org:443/a~b", True),
        ("https://example.org/a", "https://example.org/%61b", False),
        ("example.org", "https://a.net/?q=example.org", False),
        ("example.org", None, False),
    ],
)
def test_addresses_that_need_not_be_looked_at_are_left_out(line: str, url: str | None, expected: bool) -> None:
    request = parse_request(line)
    assert request is not None
    urls = pa.table({"url": pa.array(["http://b.net/", url, None], pa.string())})
    wanted = Wanted(OptOutList([request]))
    assert wanted.rows(urls) == ([1] if expected else [])
    assert (wanted.addresses.find(url) is not None) is expected


def kill_and_go_on(made: Path, folder: Path, *numbers: int) -> list[dict[str, Any]]:
    """What `forget_kills.py` has found after a SIGKILL before each of these calls on files."""
    script = Path(__file__).with_name("forget_kills.py")
    row = table(made, "data")[0]
    command = [sys.executable, str(script), str(made), str(folder), row["url"], *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_kills(made: Path, tmp_path: Path, results: list[dict[str, Any]]) -> None:
    golden = copied(made, tmp_path)
    ask(golden, urls=(table(made, "data")[0]["url"],))
    wanted = in_the_end(golden)
    for result in results:
        differ = {name for name in {*wanted, *result["tree"]} if wanted.get(name) != result["tree"].get(name)}
        assert differ == set(), f"killed before call {result['number']}: {result['call']}"


def test_killed_at_some_calls(made: Path, tmp_path: Path) -> None:
    results = kill_and_go_on(made, tmp_path, 19, 33)
    assert [result["killed"] for result in results] == [True] * 2
    check_kills(made, tmp_path, results)


@pytest.mark.slow
def test_killed_at_every_second_call(made_both: Path, tmp_path: Path) -> None:
    results = kill_and_go_on(made_both, tmp_path, *range(1, 1000, 2))
    assert len(results) > 30
    assert not results[-1]["killed"]  # it went on to the end
    check_kills(made_both, tmp_path, results)
