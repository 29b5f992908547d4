"""Families of licences, and of what is said to robots."""

from __future__ import annotations

import pytest

from tokenmill.report.licenses import license_family, signal_families


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("https://creativecommons.org/licenses/BY-NC-SA/4.0/", "cc-by-nc-sa"),
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/deed.de", "cc-by-nc-sa"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "cc0"),
        ("/licence.html", "other licence"),
        ("/legal.html", "other licence"),
        ("https://evil.example/creativecommons.orgx/licenses/by/", "other licence"),
        ("https://creativecommons.org/licenses/invented-by-somebody/4.0/", "other licence"),
        ("", ""),
    ],
)
def test_families_of_licences(value: str, found: str) -> None:
    assert license_family(value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("noai; tdm-reservation: 1", {"noai", "tdm-reservation"}),
        ("gptbot: noindex", {"gptbot:noindex"}),
        ("; ".join(f"robot{number}: noindex" for number in range(50)), {"(other robot):noindex"}),
        ("", set()),
    ],
)
def test_robots_that_anybody_invents_are_one(value: str, found: set[str]) -> None:
    assert set(signal_families(value)) == found
    assert len(signal_families(value)) == len(found)
