"""Steps as a user of datatrove writes them; the tests run them as stages."""

from __future__ import annotations

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LambdaFilter,
)
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.formatters.base import BaseFormatter
from datatrove.utils.word_tokenizers import WordTokenizer


class Plain(WordTokenizer):
    """Cuts at white space and after full stops: needs no library."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.replace(".", " . ").replace(",", " , ").split()

    def sent_tokenize(self, text: str) -> list[str]:
        return [text[start:end] for start, end in self.span_tokenize(text)]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        ends = [*(i + 1 for i, char in enumerate(text) if char in ".!?"), len(text)]
        return [(a, b) for a, b in zip([0, *ends], ends, strict=False) if text[a:b].strip()]


PLAIN = Plain("plain")


class Quality(GopherQualityFilter):
    def __init__(self, min_doc_words: int = 50) -> None:
        super().__init__(min_doc_words=min_doc_words, language=PLAIN)


class Repetition(GopherRepetitionFilter):
    def __init__(self) -> None:
        super().__init__(language=PLAIN)


class C4(C4QualityFilter):
    def __init__(self, filter_no_terminal_punct: bool = True) -> None:
        super().__init__(filter_no_terminal_punct=filter_no_terminal_punct, language=PLAIN)


class FineWeb(FineWebQualityFilter):
    def __init__(self, line_punct_thr: float = 0.12) -> None:
        super().__init__(line_punct_thr=line_punct_thr, language=PLAIN)


class Secure(LambdaFilter):
    """Keeps pages whose address has a scheme, and notes how long the address is."""

    def __init__(self, scheme: str = "https") -> None:
        super().__init__(lambda doc: doc.metadata["url"].startswith(scheme + ":"))

    def filter(self, doc: Document) -> bool:
        doc.metadata["url_length"] = len(doc.metadata["url"])
        doc.metadata["columns"] = " ".join(doc.metadata)
        return super().filter(doc)


class Batched(BaseFilter):
    """Overrides only what judges a batch."""

    def filter(self, doc: Document) -> bool:
        raise NotImplementedError

    def filter_batch(self, batch: list[Document]) -> list[tuple[bool, str]]:
        return [(len(doc.text) % 2 == 0, "odd length") for doc in batch]


class Shout(BaseFormatter):
    def format(self, text: str) -> str:
        return text.upper()


class Sly(BaseFilter):
    """A filter that nobody would expect to change texts."""

    def filter(self, doc: Document) -> bool:
        doc.text += "!"
        return True


class Twice(PipelineStep):
    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        for doc in data:
            yield doc
            yield doc


class Writing(GopherQualityFilter):
    def __init__(self) -> None:
        super().__init__(exclusion_writer=object())


class Needy(BaseFilter):
    """Needs a library, and finds out late."""

    def filter(self, doc: Document) -> bool:
        raise ImportError("Please install `sudachi` to use it (`pip install sudachi`).")


class Careful(BaseFilter):
    """Fails on a document without the metadata that it wants."""

    def filter(self, doc: Document) -> bool:
        return doc.metadata["number"] > 1
