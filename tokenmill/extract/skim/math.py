"""Formulas of a page, in whatever form, turned into `<script type="math/tex">`, which the scanner takes as text.

Forms: MathML with a TeX annotation, an alternative text, or nothing but its elements; the output of KaTeX and of
MathJax 2, 3 and 4 (rendered, assistive, previews before a script); MediaWiki's hidden MathML with a picture; pictures
whose alternative text or address is TeX. A rendering is removed where its source was found, and stays where none was.

A page keeps its length, and so the offsets of its bytes, wherever the script is not longer than what it replaces. TeX
in delimiters within text needs nothing. Searches move forward only or are bounded, so time is linear.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_left, bisect_right
from typing import NamedTuple
from urllib.parse import unquote_plus

from tokenmill.extract.charset import attributes
from tokenmill.extract.skim.mathml import find_tags, to_tex

MOST_TEX = 20_000
"""Bytes of the source of one formula; longer ones are no formulas."""
_ANNOTATIONS = 8  # annotations of one formula that are looked at
_URL_BYTES = 4000
_PICTURES = 50  # pictures of a page that are read before all tags are

_WRAPPERS = frozenset(
    b"katex katex-display katex-mathml katex-html MathJax MathJax_Preview MathJax_Display MathJax_SVG"
    b" MathJax_SVG_Display MathJax_CHTML MathJax_PHTML MathJax_PlainSource MathJax_MathML MathJax_MathContainer"
    b" MathJax_NativeMML MathJax_Processing MathJax_Processed MathJax_Error MJX_Assistive_MathML mjx-chtml"
    b" mjx-full-width MJXc-display MJXp-math MJXp-display mwe-math-element mwe-math-element-inline"
    b" mwe-math-element-block mwe-math-mathml-inline mwe-math-mathml-display mwe-math-mathml-a11y".split()
)
"""Classes of elements that hold a formula and nothing else."""
_DISPLAY_MARKS = (b"-display", b"_Display", b'display="true"', b"display='true'", b'display="block"', b"element-block")
_RENDERERS = (b"latex.php", b"codecogs.com", b"mimetex", b"mathtex", b"equation?tex=", b"latex.artofproblemsolving")
_RENDERED = re.compile(rb"(?:[?&](?:latex|tex|chl)=)([^&\"']{1,4000})")
_TEX_CLASSES = frozenset(b"latex tex math mathtex eqn equation inline-formula formula displaymath".split())
_TEX_SIGN = re.compile(r"\\[A-Za-z]{2}|\\[,;!:{}|]|[\^_](?:\{|[A-Za-z0-9])|^\$.*\$$")
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,} +[A-Za-z]{2,}")
_DELIMITERS = (("$$", "$$", True), ("\\[", "\\]", True), ("\\(", "\\)", False), ("$", "$", False))
_TEX_HINT = re.compile(rb"latex|(?<![a-z])tex(?![a-z])", re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]+")


class Formula(NamedTuple):
    """The source of a formula."""

    tex: str
    display: bool


class Edit(NamedTuple):
    """What takes the place of page[start:end]; None: nothing does."""

    start: int
    end: int
    formula: Formula | None


def rewrite(page: bytes) -> bytes:
    """The page (UTF-8) with its formulas as scripts of TeX; the very same object where it has none."""
    if not _may_hold_formulas(page):
        return page
    edits = _Formulas(page).edits()
    if not edits:
        return page
    pieces: list[bytes] = []
    at = 0
    for edit in edits:
        pieces += page[at : edit.start], _replacement(edit)
        at = edit.end
    return b"".join([*pieces, page[at:]])


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache."""
    rewrite(b"<p><math><mi>x</mi></math></p>")


def _may_hold_formulas(page: bytes) -> bool:
    """Whether a page has a tag that may be a formula; of pictures it may, some are read."""
    import numpy as np

    from tokenmill.extract.skim import math_kernel

    array = np.frombuffer(page, np.uint8)
    at = 0
    for _ in range(_PICTURES):
        at, end = math_kernel.may_hold_formulas(array, at)
        if at == len(page):
            return False
        if end == 0 or end - at > MOST_TEX or _picture(attributes(page[at + 4 : end])) is not None:
            return True
        at += 1
    return True


def _replacement(edit: Edit) -> bytes:
    room = edit.end - edit.start
    if edit.formula is None:
        return b"<!--" + b" " * (room - 7) + b"-->"
    start = b'<script type="math/tex' + (b'; mode=display"' if edit.formula.display else b'"')
    end = b">" + edit.formula.tex.encode() + b"</script>"
    return start + b" " * (room - len(start) - len(end)) + end


def clean_tex(source: str, display: bool = False) -> Formula | None:
    """The formula without delimiters around it, and safe within a script; None for an empty or endless one."""
    tex = _CONTROLS.sub(" ", source).strip()
    for opening, closing, is_display in _DELIMITERS:
        inner = tex[len(opening) : -len(closing)]
        if len(tex) > 2 * len(opening) and tex.startswith(opening) and tex.endswith(closing) and closing not in inner:
            tex, display = inner.strip(), display or is_display
            break
    if not tex or len(tex) > MOST_TEX:
        return None
    # a raw element ends at the first thing that looks like its end, and may not begin a comment
    return Formula(tex.replace("</", "< /").replace("<!--", "< !--"), display)


def looks_like_tex(text: str) -> bool:
    """Whether an alternative text is TeX rather than a description: it has a command, a script or dollars."""
    return _TEX_SIGN.search(text.strip()[:MOST_TEX]) is not None


def _is_description(text: str) -> bool:
    """Whether a text with no sign of TeX has two words side by side."""
    return not looks_like_tex(text) and _PROSE.search(text[:MOST_TEX]) is not None


class _Formulas:
    """The search for formulas in one page."""

    def __init__(self, page: bytes) -> None:
        import numpy as np

        from tokenmill.extract.skim import math_kernel as k

        tags = find_tags(page)
        self.page = page
        self.found: list[Edit] = []
        self.sources: dict[int, Formula | None] = {}
        """Number of a `<math>` tag -> its source, looked for once."""
        self.followed: dict[int, bool] = {}
        """Number of a wrapper of MathJax -> whether a script with its source comes next, looked for once."""
        self.starts, self.names, self.ends = tags.starts.tolist(), tags.names.tolist(), tags.ends.tolist()
        self.kinds, self.partners = tags.kinds.tolist(), tags.partners.tolist()
        self.formulas = np.flatnonzero(tags.kinds == k.MATH).tolist()
        self.annotations = np.flatnonzero(tags.kinds == k.ANNOTATION).tolist()
        self.prose = np.flatnonzero(tags.kinds == k.PROSE).tolist()
        self.finders = {k.MATH: self.math, k.WRAPPER: self.wrapper, k.SOURCE: self.script, k.IMAGE: self.image}
        self.numbers = np.flatnonzero(np.isin(tags.kinds, list(self.finders))).tolist()

    def edits(self) -> list[Edit]:
        """What to change, in page order, without overlaps."""
        for number in self.numbers:
            if self.starts[number] >= self.done:
                edit = self.finders[self.kinds[number]](number)
                if edit is not None:
                    self.found.append(edit)
        return self.found

    @property
    def done(self) -> int:
        return int(self.found[-1].end) if self.found else 0

    def attributes(self, number: int) -> dict[bytes, bytes]:
        return attributes(self.page[self.names[number] : self.ends[number]])

    def math(self, number: int) -> Edit | None:
        formula = self.source(number)
        return None if formula is None else Edit(self.starts[number], self.ends[self.partners[number]], formula)

    def source(self, number: int) -> Formula | None:
        """Source of the `<math>` element of this tag; None for one without end or content."""
        if number not in self.sources:
            self.sources[number] = self._source(number) if self.partners[number] > number else None
        return self.sources[number]

    def _source(self, number: int) -> Formula | None:
        attrs = self.attributes(number)
        display = attrs.get(b"display", b"").strip() == b"block" or attrs.get(b"mode", b"").strip() == b"display"
        end = self.starts[self.partners[number]]
        first = bisect_right(self.annotations, number)
        for annotation in self.annotations[first : first + _ANNOTATIONS]:
            if self.starts[annotation] > end:
                break
            if b"tex" in self.attributes(annotation).get(b"encoding", b"").lower():
                formula = clean_tex(
                    _text(self.page[self.ends[annotation] : self._annotation_end(annotation, end)]), display
                )
                if formula is not None:
                    return formula
        for name in (b"alttext", b"data-latex"):
            text = _text(attrs.get(name, b""))
            formula = None if _is_description(text) else clean_tex(text, display)
            if formula is not None:
                return formula
        return clean_tex(to_tex(self.page[self.starts[number] : end]), display)

    def _annotation_end(self, annotation: int, limit: int) -> int:
        partner = self.partners[annotation]
        if partner > annotation:
            return min(int(self.starts[partner]), limit)
        end = self.page.find(b"</annotation", self.ends[annotation], limit)  # `a<b` in it hides the end tag
        return end if end >= 0 else limit

    def wrapper(self, number: int) -> Edit | None:
        """The whole of an element that renderers make, where its source is in it or follows it."""
        partner = self.partners[number]
        attrs = self.attributes(number)
        is_container = self.page.startswith(b"mjx-container", self.starts[number] + 1)
        classes = attrs.get(b"class", b"").split()
        if partner <= number or not (is_container or _WRAPPERS.intersection(classes)):
            return None
        if bisect_right(self.prose, number) < bisect_left(self.prose, partner):
            return None  # somebody's own use of the name, around text
        start, end = self.starts[number], self.ends[partner]
        if b"katex-html" in classes and self.found and self._apart(self.done, start, ()):
            return Edit(start, end, None)
        if self._script_follows(number):
            return Edit(start, end, None)
        first = bisect_right(self.formulas, number)
        if first < len(self.formulas) and self.formulas[first] < partner:
            inside = self.formulas[first]
            others = bisect_right(self.formulas, max(self.partners[inside], inside))
            if others < len(self.formulas) and self.formulas[others] < partner:
                return None  # several: each by itself
            formula = self.source(inside)
            head = self.page[start : min(self.starts[inside], start + _URL_BYTES)]
        else:
            formula = self._from_attributes(number, partner)
            head = self.page[start : min(self.ends[number + 1], start + _URL_BYTES)]
        if formula is None:
            return None
        return Edit(start, end, formula._replace(display=formula.display or any(m in head for m in _DISPLAY_MARKS)))

    def _from_attributes(self, number: int, partner: int) -> Formula | None:
        """Source that MathJax leaves in the attributes of a frame or of the first element in it."""
        for tag in range(number, min(number + 2, partner)):
            attrs = self.attributes(tag)
            if attrs.get(b"data-latex"):
                return clean_tex(_text(attrs[b"data-latex"]))
            if attrs.get(b"data-mathml"):
                inner = _Formulas(_text(attrs[b"data-mathml"]).encode("utf-8", "replace"))
                return inner.source(inner.formulas[0]) if inner.formulas else None
        return None

    def _script_follows(self, number: int) -> bool:
        """Whether only blanks and further wrappers are between this one and a script with its source."""
        from tokenmill.extract.skim import math_kernel as k

        if number not in self.followed:
            chain, verdict, at = [], False, number
            while at < len(self.starts) and at not in self.followed:
                if self.kinds[at] == k.WRAPPER and self.partners[at] > at:
                    chain.append(at)
                    after = self.partners[at] + 1
                    if after >= len(self.starts) or not self._apart(self.ends[after - 1], self.starts[after], ()):
                        break
                    at = after
                else:
                    verdict = self.kinds[at] == k.SOURCE
                    break
            else:
                verdict = self.followed.get(at, False)
            self.followed |= dict.fromkeys(chain or [number], verdict)
        return self.followed[number]

    def _apart(self, end: int, start: int, allowed: tuple[bytes, ...]) -> bool:
        """Whether nothing but white space, or one of the allowed pieces, is between two places."""
        between = self.page[end : min(start, end + 200)].strip() if start - end <= 200 else b"..."
        return not between or between in allowed

    def script(self, number: int) -> Edit | None:
        """A script of TeX is what we want; one of MathML becomes one."""
        kind = self.attributes(number).get(b"type", b"").strip().lower()
        if kind.startswith(b"math/tex") or not kind.startswith((b"math/mml", b"math/asciimath")):
            return None
        after = number + 1
        if after >= len(self.starts):
            return None
        content = self.page[self.ends[number] : self.starts[after]]
        tex = to_tex(content) if kind.startswith(b"math/mml") else _text(content)
        formula = clean_tex(tex, b"display" in kind or b'display="block"' in content[:200])
        return None if formula is None else Edit(self.starts[number], self.ends[after], formula)

    def image(self, number: int) -> Edit | None:
        attrs = self.attributes(number)
        start, end = self.starts[number], self.ends[number]
        if self.found and self.found[-1].formula is not None:
            before = self.found[-1].formula
            is_wiki = b"mwe-math" in attrs.get(b"class", b"")
            if is_wiki and self._apart(self.done, start, (b"</span>", b"<noscript>", b"</span><noscript>")):
                return Edit(start, end, None)
            if before.tex == _text(attrs.get(b"alt", b"")).strip() and self._apart(self.done, start, (b"<noscript>",)):
                return Edit(start, end, None)  # the picture for readers without scripts
        formula = _picture(attrs)
        return None if formula is None else Edit(start, end, formula)


def _picture(attrs: dict[bytes, bytes]) -> Formula | None:
    """The formula that the picture with these attributes shows."""
    alt = _text(attrs.get(b"alt", b"")).strip()
    classes, source = attrs.get(b"class", b""), attrs.get(b"src", b"")[:_URL_BYTES]
    is_wiki = b"mwe-math" in classes
    rendered = any(name in source for name in _RENDERERS)
    if not alt and rendered:
        alt = _from_address(source)
    sure = is_wiki or rendered or not _TEX_CLASSES.isdisjoint(classes.lower().split())
    if not (looks_like_tex(alt) or (sure and alt and not _is_description(alt) and (is_wiki or len(alt) < 200))):
        return None
    if not sure and not alt.startswith(("$", "\\(", "\\[", "{\\")) and not _TEX_HINT.search(classes + b" " + source):
        return None
    return clean_tex(alt, b"display" in classes)


def _from_address(source: bytes) -> str:
    """TeX in the address of a picture that a server makes of it."""
    address = html.unescape(source.decode("utf-8", "replace"))
    match = _RENDERED.search(address.encode())
    query = match[1] if match else address.encode().partition(b"?")[2]
    return unquote_plus(query.decode("utf-8", "replace"), errors="replace")


def _text(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return html.unescape(text) if "&" in text else text
