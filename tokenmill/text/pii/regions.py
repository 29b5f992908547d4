"""The countries whose national telephone numbers a page may have, from its address and language."""

from __future__ import annotations

_GENERIC = frozenset(
    {"ai", "cc", "co", "fm", "gg", "im", "io", "is", "la", "ly", "me", "sh", "so", "st", "to", "tv", "ws"}
)
"""Top-level domains of countries that are mostly used from elsewhere."""
_REGION_OF_TLD = {"uk": "GB", "su": "RU"}

_REGIONS_OF_LANGUAGE: dict[str, tuple[str, ...]] = {
    "ar": ("EG", "SA"),
    "bg": ("BG",),
    "cs": ("CZ",),
    "da": ("DK",),
    "de": ("DE", "AT", "CH"),
    "el": ("GR",),
    "en": ("US", "GB"),
    "es": ("ES", "MX", "AR"),
    "et": ("EE",),
    "fa": ("IR",),
    "fi": ("FI",),
    "fr": ("FR", "BE", "CH"),
    "he": ("IL",),
    "hi": ("IN",),
    "hr": ("HR",),
    "hu": ("HU",),
    "id": ("ID",),
    "it": ("IT", "CH"),
    "ja": ("JP",),
    "ko": ("KR",),
    "lt": ("LT",),
    "lv": ("LV",),
    "nl": ("NL", "BE"),
    "no": ("NO",),
    "pl": ("PL",),
    "pt": ("BR", "PT"),
    "ro": ("RO",),
    "ru": ("RU",),
    "sk": ("SK",),
    "sl": ("SI",),
    "sr": ("RS",),
    "sv": ("SE",),
    "th": ("TH",),
    "tr": ("TR",),
    "uk": ("UA",),
    "vi": ("VN",),
    "zh": ("CN", "TW", "HK"),
}
"""ISO 639-1 -> where most pages of the language come from."""


def regions_of(url: str, language: str) -> tuple[str, ...]:
    """Regions (ISO 3166), likeliest first: that of the top-level domain, else those of the language."""
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0].lower()
    tld = host.rstrip(".").rpartition(".")[2]
    if len(tld) == 2 and tld.isascii() and tld.isalpha() and tld not in _GENERIC and tld != "eu":
        return (_REGION_OF_TLD.get(tld, tld.upper()),)
    return _REGIONS_OF_LANGUAGE.get(language[:2], ())
