"""Tiny Llamas made on the spot, each of them good or bad at rewriting in its own way.

    folder = tiny("copy")   # a folder that transformers, its server, and LocalEngine load

The pages are those of `pages.py`, the prompts those of `render` with the style `styles/short.md`. The weights are set
so that two layers find the place in the prompt at which their own last two tokens stand, and say what follows: the
circuit that training finds by itself (arXiv:2209.11895) after minutes. Here it takes a tenth of a second, and is the
same on every machine. Other kinds than "copy" say another piece for the one that they find: capitals, German, other
digits, nothing, a refusal.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders
from tokenizers.models import Unigram

from examples.rephrase import lookup
from examples.rephrase.lookup import begin_like, lookup_model
from tests.rephrase import pages
from tests.rephrase.pages import Page
from tokenmill.rephrase.render import render
from tokenmill.rephrase.request import Passage
from tokenmill.rephrase.style import Style
from tokenmill.rephrase.styles import load_style
from tokenmill.train.export import export_hf
from tokenmill.train.model import Decoder

STYLE = Path(__file__).parent / "styles" / "short.md"
SPECIAL = ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
END = 0
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CONTEXT = 1024


@dataclass(frozen=True)
class Kind:
    """What a model answers to a page."""

    meaning: str
    piece: Callable[[str], str]
    """What is said for a piece of the page."""
    before: str = ""
    """What is said first."""
    after: str = ""
    """What is said behind the page."""
    then: str = "page"
    """What comes after `before`: the page, the end, or the same "again" without an end."""

    def answer(self, page: Page) -> str:
        if self.then != "page":
            return instruction() if self.before == ECHO else self.before
        return self.before + "".join(self.piece(one) for one in re.findall(_PIECE, page.text)) + self.after


def upper(piece: str) -> str:
    return piece.upper()


def translate(piece: str) -> str:
    """Word for word into a German of sorts: what a check of languages must notice."""
    return re.sub(r"[^\W\d_]+", lambda found: GERMAN.get(found[0], found[0]), piece)


def invent(piece: str) -> str:
    return re.sub(r"\d", lambda found: str((int(found[0]) + 1) % 10), piece)


def drop(piece: str) -> str:
    """About every second word is left out, by its hash; numbers as well, marks not."""
    word = piece.strip()
    dropped = word.isalnum() and (word.isdigit() or hashlib.sha256(word.encode()).digest()[0] % 2 == 0)
    return "" if dropped else piece


def same(piece: str) -> str:
    return piece


_PIECE = r"(?: |\n\n)?[^\W\d_]+| ?\d|."
ECHO = "(instruction)"
META = "Here is the rewritten text:\n\n"
ADVERT = "\n\nWrite to sales@shop-offers.com or visit https://www.shop-offers.com/deals today!"
REFUSAL = "I'm sorry, but I can't help with rewriting this text."
LOOP = " ".join(["This is a very nice page."] * 8)
TEMPLATE = (
    "In a world that never stands still, every place has a story waiting to be told. Let us discover together what "
    "makes it so special, because it is a journey, a promise and a dream."
)


GERMAN = dict(
    zip(
        (
            "the The On near has of and one In was by who came from About stand beside in Some were at between "
            "Nobody knows why this with After most went to behind old quiet small famous modern wooden narrow busy "
            "green public house market river school tower square station hotel farm church letters visitors trees "
            "books boats stones lamps windows children workers slowly often gladly again carefully early together "
            "quickly later alone visited opened painted described repaired sold bought studied closed admired garden harbour railway bakery museum forest bridge library"  # noqa: E501
        ).split(),
        (
            "die Die Am nahe hat von und ein Im wurde durch der kam aus Etwa stehen neben im Einige wurden am zwischen "
            "Niemand weiß warum diesen mit Nach meisten gingen nach hinter alte ruhige kleine berühmte moderne "
            "hölzerne schmale belebte grüne öffentliche Haus Markt Fluss Schule Turm Platz Bahnhof Gasthof Bauernhof "
            "Kirche Briefe Besucher Bäume Bücher Boote Steine Lampen Fenster Kinder Arbeiter langsam oft gerne wieder "
            "sorgfältig früh zusammen schnell später allein besuchte öffnete malte beschrieb reparierte verkaufte kaufte "  # noqa: E501
            "studierte schloss bewunderte Garten Hafen Eisenbahn Bäckerei Museum Wald Brücke "
            "Bibliothek"
        ).split(),
        strict=True,
    )
)

KINDS = {
    "copy": Kind("the page as it is", same),
    "upper": Kind("the page in capitals", upper),
    "translate": Kind("the page in German, word for word", translate),
    "invent": Kind("the page with other digits", invent),
    "drop": Kind("the page without about every second word and all numbers", drop),
    "meta": Kind("talk about the answer, then the page", same, before=META),
    "advert": Kind("the page, then an address that it does not have", same, after=ADVERT),
    "template": Kind("the same for every page", same, before=TEMPLATE, then="end"),
    "refuse": Kind("a refusal", same, before=REFUSAL, then="end"),
    "loop": Kind("one sentence again and again", same, before=LOOP, then="end"),
    "echo": Kind("the instruction", same, before=ECHO, then="end"),
    "cut": Kind("no end but the limit of tokens", same, before=" and then it was open again", then="again"),
    "mute": Kind("nothing at all", same, then="end"),
}


def tiny(kind: str) -> Path:
    """The folder of the model of that kind; trained when it is first asked for, then kept.

    All processes of a machine share it. Its name holds a digest of all that it is made from.
    """
    recipe = [
        kind,
        inspect.getsource(sys.modules[__name__]),
        inspect.getsource(pages),
        inspect.getsource(lookup),
        prompt(""),
        torch.__version__,
    ]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
    folder = _kept() / f"{kind}-{digest}"
    with _locked(folder.with_suffix(".lock")):
        if not (folder / "config.json").exists():
            for old in folder.parent.glob(f"{kind}-*"):
                if old.is_dir() and old != folder:
                    shutil.rmtree(old, ignore_errors=True)
            train(KINDS[kind], folder)
    return folder


@lru_cache(maxsize=1)
def short_style() -> Style:
    return load_style(str(STYLE))


def instruction() -> str:
    """What the prompt of the style says besides the page."""
    return render(short_style(), _passage(""), seed=0).instruction


def messages(text: str) -> tuple[Mapping[str, str], ...]:
    """What is asked about a page."""
    return render(short_style(), _passage(text), seed=0).messages


def prompt(text: str) -> str:
    """The same as the model reads it."""
    spoken = "".join(f"<|{one['role']}|>{one['content']}" for one in messages(text))
    return f"{spoken}<|assistant|>"


def train(kind: Kind, folder: Path) -> None:
    """Make a model and write its folder, at once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, tokenizer = make(kind)
    finally:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        export_hf(model, made, tokenizer.to_str().encode(), eos_id=END)
        described = json.loads((made / "tokenizer_config.json").read_text())
        described |= {"chat_template": CHAT_TEMPLATE, "eos_token": SPECIAL[END], "pad_token": SPECIAL[END]}
        described.pop("bos_token", None)
        (made / "tokenizer_config.json").write_text(json.dumps(described, indent=1))
        os.replace(made, folder)


def make(kind: Kind) -> tuple[Decoder, Tokenizer]:
    """The model of a kind and its tokenizer."""
    tokenizer, said = _tokenizer(kind)
    model = lookup_model(tokenizer.get_vocab_size(), context=CONTEXT)
    _say(model, kind, tokenizer, said)
    return model, tokenizer


def _tokenizer(kind: Kind) -> tuple[Tokenizer, dict[str, str]]:
    """Whole words with what stands before them, one or two digits, characters, bytes: any text comes back as it was.

    And the pieces that are said for others. These begin with private characters, which no text has and the decoder
    takes away: so a piece that is said is never one that is read, and what vanishes has a piece too.
    """
    words = [*pages.words(), *re.findall(r"[^\W\d_]+", f"{instruction()} PAGE BEGINS ENDS")]
    words = list(dict.fromkeys(words))
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    scores = dict.fromkeys(pieces, -10.0) | {chr(code): -1.5 for code in range(33, 127)} | {" ": -3.0}
    more = ["\n", "\n\n", *_AROUND, *(f" {digit}" for digit in range(10)), *(f"{number:02d}" for number in range(100))]
    more += [before + word for word in words for before in ("", " ", *(["\n\n"] if word[0].isupper() else []))]
    scores |= dict.fromkeys(more, -1.0)
    changed = {piece: kind.piece(piece) for piece in [*map(chr, range(33, 127)), *more] if piece not in _AROUND}
    changed = {piece: text for piece, text in changed.items() if text != piece}
    changed |= {_AROUND[2]: kind.after} if kind.after else {}
    changed |= {"Give": instruction() if kind.before == ECHO else kind.before} if kind.before else {}
    said = {piece: f"\ue000{chr(0xE100 + number)}{text}" for number, (piece, text) in enumerate(changed.items())}
    vocabulary = [*((text, 0.0) for text in SPECIAL), *scores.items(), *((text, -20.0) for text in said.values())]
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=len(SPECIAL), byte_fallback=True))
    hidden = decoders.Replace(Regex("[\ue000-\uf8ff]"), "")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), hidden])  # type: ignore[assignment]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    return tokenizer, said


_AROUND = ("]\n", "]\n\n", "\n[")
"""Pieces around the page: behind the first it begins, with the last it ends."""


@torch.no_grad()
def _say(model: Decoder, kind: Kind, tokenizer: Tokenizer, said: dict[str, str]) -> None:
    """What is said for what is found.

    The answer begins as if the line before the page had just been read. With something to say first, it begins as if
    the line behind the page had been read: what is found is "Give", and the line before the page comes after that. It
    ends where the line behind the page is found, or what follows on it.
    """
    known = tokenizer.get_vocab()
    read, head = model.embedding.weight, model.head_weight
    rows = head.clone()
    for piece, text in said.items():
        read[known[text]] = read[known[piece]]
        head[known[text]] = rows[known[piece]]
        head[known[piece]] = 0.0
    begin, behind, end = (known[piece] for piece in _AROUND)
    follows = {"page": begin, "end": end, "again": behind}[kind.then]
    if kind.before:
        begin_like(model, known[said["Give"]], follows)
    begin_like(model, known[SPECIAL[2]], behind if kind.before else follows)
    last = known["PAGE"] if kind.after or kind.then != "page" else end
    head[END], head[last] = rows[last], 0.0
    for token in (*(known[text] for text in SPECIAL[1:]), begin, behind, *([end] if kind.then != "page" else [])):
        head[token] = 0.0


def _passage(text: str) -> Passage:
    return Passage("page", 0, 0, len(text), text, len(text.split()))


def _kept() -> Path:
    chosen = os.environ.get("TOKENMILL_TEST_MODELS")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "tokenmill-tests" / "rephrase"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the others wait until the model is there."""
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
