"""The data set card: what it says is so, it reads as YAML and Markdown, and hostile names stay text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.executors.support import run
from tests.properties import examples
from tokenmill.core.pipeline import Pipeline
from tokenmill.filters.pii import RedactPii
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.report import counts as counting
from tokenmill.report.card import counts_of, render_card
from tokenmill.report.card_header import configs, dataset_info, language_codes, size_category
from tokenmill.report.card_sections import changed_settings, optout_section
from tokenmill.report.card_text import code, md, tag
from tokenmill.report.counts import DataCounts, count_data
from tokenmill.report.funnel import Funnel, fold

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://evil.example/track.gif)",
    "http://evil.example/ www.evil.example a@evil.example",
    "| a | b |\n|---|---|",
    "x\n---\nlicense: mit\n---\n# mine",
    "`code` ``` fence",
    "$(rm -rf ~) {{ 7 * 7 }}",
    "# heading\n* list\n> quote",
    "<!-- comment",
    "&lt;b&gt; &#60;b&#62;",
    "\u202eRTL\u2066 \x00\x1b[31mred\x07",
    "yes: [no, &a *a !!python/object:os.system]",
    "<a href=//evil.example>x</a>",
]


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {f"{name}={value}" for name, value in attrs}


def rendered(text: str) -> Elements:
    """What becomes of Markdown with HTML allowed, as on the Hub."""
    found = Elements()
    found.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))
    return found


def parts(card: str) -> tuple[Any, str]:
    found = re.match(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL)
    assert found is not None
    return yaml.safe_load(found.group(1)), found.group(2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run over two files, each of one dump; nothing writes into it."""
    place = tmp_path_factory.mktemp("card")
    (place / "in").mkdir()
    for number, dump in enumerate(["CC-MAIN-2024-10", "CC-MAIN-2024-18"]):
        rows = [
            {
                "text": f"text {number} {i} of a@b{i}.io" if i < 3 else f"text {number} {i}",
                "url": f"http://e.org/{i}",
                "dump": dump,
                "language": "en" if i % 3 else "no",
                "robots": "noindex; gptbot: noai" if i == 0 else "",
                "license": "https://creativecommons.org/licenses/by-sa/4.0/" if i < 2 else "",
            }
            for i in range(10)
        ]
        (place / "in" / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pipeline = Pipeline("mine", [ReadJsonl(), RedactPii(cards=False), WriteParquet()])
    run(pipeline, place / "in", place / "out")
    return RunFolder(str(place / "out"))


@pytest.fixture(scope="module")
def harmless(finished: RunFolder) -> Elements:
    """What the card of that run becomes."""
    return rendered(parts(card_of(finished))[1])


def card_of(folder: RunFolder, **changes: Any) -> str:
    funnel = fold(folder)
    funnel.run = {**funnel.run, **changes}
    return render_card(funnel, counts_of(folder, funnel))


def test_counts_are_exact(finished: RunFolder) -> None:
    found = count_data(finished)
    table = pa.concat_tables([pq.read_table(finished.path(entry["path"])) for entry in found.files])
    assert found.rows == table.num_rows == 20
    assert found.groups["dump"] == {"CC-MAIN-2024-10": 10, "CC-MAIN-2024-18": 10}
    assert found.groups["language"] == {"en": 12, "no": 8}
    assert (found.sums["pii_emails"], found.touched["pii_emails"]) == (6, 6)
    assert found.signals == {"noindex": 2, "gptbot:noai": 2}
    assert found.licenses == {"cc-by-sa": 4}
    assert found.files_by["dump"].keys() == {"CC-MAIN-2024-10", "CC-MAIN-2024-18"}
    assert "language" not in found.files_by


def test_the_header_is_yaml_that_says_what_is_there(finished: RunFolder) -> None:
    header, body = parts(card_of(finished))
    assert header["language"] == ["en", "no"]  # Norwegian, and not the opposite of yes
    assert header["size_categories"] == ["n<1K"]
    assert header["configs"][0] == {
        "config_name": "default",
        "data_files": [{"split": "train", "path": "data/*.parquet"}],
        "default": True,
    }
    assert [config["config_name"] for config in header["configs"][1:]] == ["CC-MAIN-2024-10", "CC-MAIN-2024-18"]
    info = header["dataset_info"]
    assert info["splits"][0]["num_examples"] == 20
    assert {"name": "text", "dtype": "string"} in info["features"]
    assert "| `CC-MAIN-2024-10` | 10 | 50.0 % |" in body
    assert "| `no` | 8 | 40.0 % |" in body
    assert "20 read = 20 kept + 0 dropped" in body


def test_personal_data_and_optout_are_told(finished: RunFolder) -> None:
    _, body = parts(card_of(finished))
    assert "| e-mail addresses | an address at example.com or example.org | 6 | 6 |" in body
    assert "Not replaced: numbers of payment cards, telephone numbers, names" in body
    assert "`cards` = `False`" in body
    assert "| `gptbot:noai` | 2 |" in body
    assert "| licence `cc-by-sa` | 4 |" in body
    assert "no stage of this recipe drops documents for what their pages say" in body


def test_the_policy_and_what_was_forgotten_are_told(finished: RunFolder) -> None:
    funnel = fold(finished)
    config = {"policy": "drop", "blocklist": "/home/somebody/list.txt"}
    policy = {"stage": "opt_out", "class": "tokenmill.filters.optout:OptOut", "config": config}
    funnel.run = {**funnel.run, "stages": [*funnel.run["stages"], policy]}
    forget = type(funnel.stages[0])("forget", into=20, out=17)
    forget.dropped["request"] = 3
    funnel.stages.append(forget)
    text = optout_section(funnel, None)
    assert "stage opt_out (`policy` = `drop`, `blocklist` = `list.txt`)" in text
    assert "(`tokenmill forget`): 3 documents" in text


def test_the_card_is_the_same_every_time_and_names_no_machine(finished: RunFolder) -> None:
    card = card_of(finished)
    assert card == card_of(finished)
    assert finished.location not in card
    assert str(Path(finished.location).parent) not in card


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name: str, finished: RunFolder, harmless: Elements) -> None:
    funnel = fold(finished)
    run = json.loads(json.dumps(funnel.run))
    run |= {"recipe": name, "fingerprint": name, "tokenmill": name, "digests": {name: {name: name}}, "inserted": [name]}
    run["versions"] = {name: name}
    run["columns"] = {**run["columns"], name: name}
    run["stages"] += [{"stage": name, "class": name, "version": name, "config": {name: name, "tokenizer": name}}]
    run["stages"] += [{"stage": name, "class": ":OptOut", "version": 1, "config": {"policy": name}}]
    counts = count_data(finished)
    counts.groups = {"dump": counts.groups["dump"], "language": counts.groups["language"]}
    counts.groups["language"][name] = counts.groups["dump"][name] = 7
    counts.files_by = {"dump": {name: ["data/0.parquet"], "other": ["data/1.parquet"]}}
    for stage in funnel.stages:
        stage.dropped[name] = 1
    funnel.stages[0].stage = name
    header, body = parts(render_card(Funnel(run, funnel.stages, 2, 2), counts))
    assert header["license"] == "other"
    assert set(header["language"]) == {"en", "no"}
    assert [config["config_name"] for config in header["configs"]] == ["default"]
    found = rendered(body)
    assert found.tags <= harmless.tags
    assert found.attributes <= harmless.attributes
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", body)
    prose = re.sub("`[^`]*`", "", body)
    assert re.search(r"(?:https?://|www\.)evil|@evil", prose) is None  # what the Hub would make links of


@pytest.mark.parametrize("text", HOSTILE)
def test_escapes(text: str) -> None:
    for shown in (md(text), code(text)):
        assert "\n" not in shown
        assert "|" not in shown
        assert rendered(f"a {shown} b").tags <= {"p", "code"}
    assert re.fullmatch(r"[a-z0-9._-]*", tag(text))


@examples(20, 500)
@given(text=st.text(max_size=60))
def test_any_text_is_shown_as_it_is(text: str) -> None:
    found = rendered(f"x{md(text)}x {code(text)}")
    assert found.tags <= {"p", "code"}
    assert not found.attributes


@pytest.mark.parametrize(
    ("rows", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**9, "1B<n<10B"), (10**12, "n>1T"), (10**15, "n>1T")],
)
def test_sizes(rows: int, size: str) -> None:
    assert size_category(rows) == size


def test_codes_of_languages() -> None:
    groups = {"language": counting.Counter({"en": 5, "eng_Latn": 4, "de": 9, "<b>": 7, None: 3, "xx-yy": 2, "": 1})}
    assert language_codes(DataCounts(groups=groups)) == ["de", "en", "eng"]


def test_distinct_values_are_bounded(finished: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_VALUES", 1)
    found = count_data(finished)
    assert len(found.groups["dump"]) == 2
    assert found.groups["dump"].total() == 20
    assert found.groups["dump"][counting.OTHERS] == 10


def test_a_dump_that_is_called_default_gets_no_configuration() -> None:
    files = {"default": ["data/a.parquet"], "b": ["data/b.parquet"]}
    assert len(configs(DataCounts(files_by={"dump": files}))) == 1


def test_features_are_left_out_where_a_type_has_no_name() -> None:
    strange = pa.schema([("a", pa.int64()), ("b", pa.map_(pa.string(), pa.int64()))])
    assert "features" not in dataset_info(DataCounts(schema=strange))
    plain = pa.schema([("a", pa.float32()), ("b", pa.list_(pa.string())), ("c", pa.timestamp("us"))])
    assert dataset_info(DataCounts(schema=plain))["features"] == [
        {"name": "a", "dtype": "float32"},
        {"name": "b", "list": "string"},
        {"name": "c", "dtype": "timestamp[us]"},
    ]


def test_settings_that_are_keys_are_masked() -> None:
    entry = {
        "stage": "s",
        "class": ":Mine",
        "config": {"api_key": "canary-1", "api_key_env": "MY_KEY", "base_url": "https://u:canary-2@h/v1?sig=canary-3"},
    }
    shown = str(changed_settings(entry))
    assert "canary" not in shown
    assert "MY_KEY" in shown
