"""Recipes of synthetic data: pages are filtered as usual, and a model writes new texts from them.

    tokenmill run wrap --input warcs/ --output out/ --set write_rephrased.base_url=http://localhost:8000/v1 \\
        --set write_rephrased.model=mistralai/Mistral-7B-Instruct-v0.3

For documents that are there already, `tokenmill rephrase DOCUMENTS --recipe wrap` takes the last stage alone.

- `nemotron-cc` (arXiv:2412.02595): pages of low quality are paraphrased as an encyclopedia would put it; of those of
  high quality come question-answer pairs, distilled passages, extracted knowledge and lists. Levels between are left as
  they are. The bins of quality want their edges first, as `nemotron-cc-quality` says.
- `wrap` (arXiv:2401.16380): C4, each page in four manners; trained 1:1 with the pages themselves.
- `finephrase` (arXiv:2604.13977): educational pages as FAQ, mathematics, table and tutorial, by a model of 1 to 2B.
- `cosmopedia`: textbooks for four audiences, blog posts and stories inspired by pages; personas for variety.
- `prox` (arXiv:2409.17115): a model writes which lines of a page to remove or mend, and the page stays the author's.
"""

from __future__ import annotations

from tokenmill.core.pipeline import Pipeline
from tokenmill.pipelines.c4 import c4
from tokenmill.pipelines.fineweb import fineweb
from tokenmill.pipelines.fineweb_edu import fineweb_edu
from tokenmill.pipelines.nemotron_cc_quality import nemotron_cc_quality
from tokenmill.rephrase.stage import WriteRephrased

HIGH = ("diverse_qa", "distill", "extract_knowledge", "knowledge_list")
"""What Nemotron-CC makes of pages of high quality."""


def nemotron_cc() -> Pipeline:
    """WARC to pages with a level of quality, and what a model makes of the worst and the best."""
    routes = {"low": ["wikipedia"], "medium_low": [], "medium": [], "medium_high": [], "high": list(HIGH)}
    return _with(nemotron_cc_quality(), "nemotron-cc", WriteRephrased(by="quality_level", routes=routes))


def wrap() -> Pipeline:
    """C4 and its pages in four manners."""
    return _with(c4(), "wrap", WriteRephrased(styles=("child", "wikipedia", "scholarly", "question_answer")))


def finephrase() -> Pipeline:
    """FineWeb-Edu and its pages in four formats."""
    return _with(fineweb_edu(), "finephrase", WriteRephrased(styles=("faq", "math", "table", "tutorial")))


def cosmopedia() -> Pipeline:
    """FineWeb and texts that its pages inspire."""
    books = tuple(f"textbook_{audience}" for audience in ("child", "school", "college", "expert"))
    return _with(fineweb(), "cosmopedia", WriteRephrased(styles=(*books, "blog", "story", "persona")))


def prox() -> Pipeline:
    """FineWeb, and its pages as edited line by line."""
    return _with(fineweb(), "prox", WriteRephrased(styles=("prox_lines",)))


def _with(pages: Pipeline, name: str, sink: WriteRephrased) -> Pipeline:
    return Pipeline(name, [*pages.stages[:-1], sink])
