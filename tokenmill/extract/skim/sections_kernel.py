"""Which elements are comment sections or bodies of articles, by the words of their class, id, role and itemprop.

Weights of single names are learned too; this short list says the same of rare names and other languages, and where
the section begins, so that a blog's comments (prose stands before them) differ from a forum's posts (none does).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.extract.skim.scan_tables import HASH_START, HASH_STEP, SPREAD

TOKEN_BITS = 14
COMMENT, BODY = 1, 2
COMMENT_NAMES = (
    "comment comments commentlist commentlisting commentbody commenttext commentarea disqus respond replies "
    "kommentar kommentare kommentarer commentaire commentaires comentario comentarios comentário comentários commenti "
    "yorum yorumlar komentarz komentarze komentář komentáře комментарии комментарий комментариев коментарі reacties "
    "guestbook"
).split()
BODY_NAMES = (
    "article-body entry-content post-content article-content story-body post-body articlebody postbody entrycontent "
    "storybody article-text post-text"
).split()

_MASK = (1 << 64) - 1


def _word(text: str) -> int:
    found = HASH_START
    for byte in text.encode():
        found = ((found ^ byte) * HASH_STEP) & _MASK
    return found


def token_of(name: str) -> int:
    """The scanner's token of a word in lower case, or of a pair of words joined by "-"."""
    words = [_word(part) for part in name.split("-")]
    value = words[0] if len(words) == 1 else ((words[0] << 1) & _MASK) ^ words[1]
    return (value * SPREAD & _MASK) >> (64 - TOKEN_BITS)


def _kinds() -> Any:
    found = np.zeros(1 << TOKEN_BITS, np.uint8)
    for names, kind in ((COMMENT_NAMES, COMMENT), (BODY_NAMES, BODY)):
        for name in names:
            found[token_of(name)] |= np.uint8(kind)
    return found


KINDS = _kinds()
"""uint8 [2^14]: COMMENT and BODY by token."""
