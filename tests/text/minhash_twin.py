"""The readable twin of the MinHash kernels: the same definitions in plain Python, without sharing code with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import category, normalize

from tokenmill.core import segment

MASK = 2**64 - 1
PUNCTUATION = set("!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»") | {
    chr(code) for code in range(160) if code < 9 or 10 < code < 32 or code >= 127
}
UNSPACED = re.compile(f"([{segment.IDEOGRAPHS}{segment.KATAKANA}{segment.DICTIONARY}])")
NUMBER = re.compile(r"\d+([.,،٫⎖⎗⎘]\d+)?")


def words(text: str) -> list[str]:
    text = NUMBER.sub("0", text.lower())
    text = "".join(" " if char in PUNCTUATION or char.isspace() else char for char in text)
    # mark by mark: NFD of the whole would put some marks in another order, as the documented difference says
    text = "".join(part for char in text for part in normalize("NFD", char) if category(part) != "Mn")
    return UNSPACED.sub(r" \1 ", text).split()


def decode(data: bytes) -> str:
    """As in the kernels: each byte that begins no character is U+FFFD."""
    text, at = "", 0
    while at < len(data):
        for size in (1, 2, 3, 4):
            try:
                text += data[at : at + size].decode()
                break
            except UnicodeDecodeError:
                continue
        else:
            text, size = text + "\ufffd", 1
        at += size
    return text


def rotl(x: int, bits: int) -> int:
    return (x << bits | x >> 64 - bits) & MASK


def fmix(x: int) -> int:
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        x = (x ^ x >> 33) * multiplier & MASK
    return x ^ x >> 33


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def word_hash(word: bytes) -> int:
    value = (number(word[:8]) + len(word) * 0x9E3779B97F4A7C15) * 0xD6E8FEB86659FD93 & MASK
    for at in range(8, max(len(word), 9), 8):
        value ^= value >> 32
        value = (value + rotl(number(word[at : at + 8]) * 0xA0761D6478BD642F & MASK, 32)) * 0xE7037ED1A0B428DB & MASK
    return value ^ value >> 29


def xxh64(data: bytes) -> int:
    p1, p2, p3, p4, p5 = (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )

    def step(total: int, word: int) -> int:
        return rotl((total + word * p2) & MASK, 31) * p1 & MASK

    at, total = 0, p5
    if len(data) >= 32:
        lanes = [(p1 + p2) & MASK, p2, 0, -p1 & MASK]
        while at + 32 <= len(data):
            lanes = [step(lane, number(data[at + 8 * i : at + 8 * i + 8])) for i, lane in enumerate(lanes)]
            at += 32
        total = sum(rotl(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            total = ((total ^ step(0, lane)) * p1 + p4) & MASK
    total = (total + len(data)) & MASK
    while at + 8 <= len(data):
        total = (rotl(total ^ step(0, number(data[at : at + 8])), 27) * p1 + p4) & MASK
        at += 8
    if at + 4 <= len(data):
        total = (rotl(total ^ number(data[at : at + 4]) * p1 & MASK, 23) * p2 + p3) & MASK
        at += 4
    for byte in data[at:]:
        total = rotl(total ^ byte * p5 & MASK, 11) * p1 & MASK
    total = (total ^ total >> 33) * p2 & MASK
    total = (total ^ total >> 29) * p3 & MASK
    return total ^ total >> 32


def murmur128(data: bytes, seed: int) -> tuple[int, int]:
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
    h1 = h2 = seed
    whole = len(data) // 16 * 16
    for at in range(0, whole, 16):
        h1 ^= rotl(number(data[at : at + 8]) * c1 & MASK, 31) * c2 & MASK
        h1 = ((rotl(h1, 27) + h2) * 5 + 0x52DCE729) & MASK
        h2 ^= rotl(number(data[at + 8 : at + 16]) * c2 & MASK, 33) * c1 & MASK
        h2 = ((rotl(h2, 31) + h1) * 5 + 0x38495AB5) & MASK
    h2 ^= rotl(number(data[whole + 8 :]) * c2 & MASK, 33) * c1 & MASK
    h1 ^= rotl(number(data[whole : whole + 8]) * c1 & MASK, 31) * c2 & MASK
    h1, h2 = h1 ^ len(data), h2 ^ len(data)
    h1 = (h1 + h2) & MASK
    h2 = (h2 + h1) & MASK
    h1, h2 = fmix(h1), fmix(h2)
    h1 = (h1 + h2) & MASK
    return h1, (h2 + h1) & MASK


def combined(shingle: Sequence[str]) -> int:
    value = 0
    for word in shingle:
        value = (value * 0x9FB21C651E98DF25 + word_hash(word.encode())) & MASK
    return fmix(value)


def shingles(found: Sequence[str], width: int) -> list[Sequence[str]]:
    return [found[i : i + width] for i in range(len(found) - width + 1)]


def splitmix(seed: int, count: int) -> list[int]:
    values = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        z = (seed ^ seed >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        values.append(z ^ z >> 31)
    return values


def affine_signature(found: Sequence[str], width: int, count: int, seed: int) -> list[int]:
    hashes = [combined(shingle) for shingle in shingles(found, width)]
    numbers = splitmix(seed, 2 * count)
    pairs = [(a | 1, b) for a, b in zip(numbers[:count], numbers[count:], strict=True)]
    return [min((a * h + b & MASK for h in hashes), default=0) for a, b in pairs]


def datatrove_signature(found: Sequence[str], width: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    hashes = [xxh64(" ".join(shingle).encode()) for shingle in shingles(found, width)]
    return [min(((a * h + b & MASK) % (2**61 - 1) for h in hashes), default=0) for a, b in pairs]


def band_keys(signature: Sequence[int], rows: int) -> list[int]:
    keys = []
    for band, at in enumerate(range(0, len(signature), rows)):
        key = band + 1
        for value in signature[at : at + rows]:
            key = fmix((key * 0xD1342543DE82EF95 + value) & MASK)
        keys.append(key)
    return keys


def digest(data: bytes, width: int) -> tuple[int, int]:
    found = words(decode(data))
    if len(found) < width:
        return murmur128(data, 0x6D696C6C)
    return murmur128(" ".join(found).encode(), 0x746F6B6E)
