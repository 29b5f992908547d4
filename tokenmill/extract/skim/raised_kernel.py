"""Compiled part of `assemble`: what raised and lowered characters consist of."""

from __future__ import annotations

from typing import Any

from tokenmill.text.compiled import lean, lean_forced


@lean_forced
def is_digit(c: Any) -> Any:
    return 48 <= c <= 57


@lean_forced
def is_letter(c: Any) -> Any:
    return 97 <= (c | 32) <= 122


@lean
def count(text: Any, start: int, end: int) -> Any:
    """Digits, letters (Greek among them), other characters of formulas, whether there are any others, and all."""
    digits = letters = others = characters = 0
    i = start
    while i < end:
        c = text[i]
        characters += 1
        if is_digit(c):
            digits += 1
        elif is_letter(c):
            letters += 1
        elif (c == 0xCE or c == 0xCF) and i + 1 < end:
            letters += 1
            i += 1
        elif c == 0xE2 and i + 2 < end and text[i + 1] == 0x88 and (text[i + 2] == 0x92 or text[i + 2] == 0x9E):
            others += 1  # minus, infinity
            i += 2
        elif c == 43 or c == 45 or c == 44 or c == 46 or c == 47 or c == 40 or c == 41 or c == 61 or c == 39:
            others += 1
        else:
            return digits, letters, others, True, characters
        i += 1
    return digits, letters, others, False, characters


@lean
def commas(text: Any, start: int, end: int) -> Any:
    """Commas and hyphens between numbers."""
    found = 0
    for i in range(start + 1, end):
        if text[i] == 44 or text[i] == 45:
            found += 1
    return found


@lean
def ends_clause(text: Any, at: int) -> Any:
    """Whether punctuation of prose stands before the place."""
    c = text[at - 1]
    if c == 46 or c == 44 or c == 59 or c == 58 or c == 33 or c == 63 or c == 34:
        return True
    if at < 3:
        return False
    a, b = text[at - 3], text[at - 2]
    return (a == 0xE2 and b == 0x80 and 0x98 <= c <= 0x9F) or (a == 0xE3 and b == 0x80) or (b == 0xC2 and c == 0xBB)


@lean
def is_abbreviation(text: Any, start: int, end: int, before: Any) -> Any:
    """Letters that are raised for style: 1st, 1er, Mme, Dr, TM."""
    if before == 41 or before == 93:
        return False
    if end - start >= 2:
        for i in range(start, end):
            if text[i] >= 128:
                return False
        return True
    c = text[start] | 32
    if is_digit(before):
        return c == 97 or c == 101 or c == 111 or c == 100
    return c == 111 or (c == 114 and (before == 68 or before == 77))
