"""Families of licences."""

from __future__ import annotations

import pytest

from tokenmill.report.licenses import license_family


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("https://creativecommons.org/licenses/BY-NC-SA/4.0/", "cc-by-nc-sa"),
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/deed.de", "cc-by-nc-sa"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "cc0"),
        ("/licence.html", "other licence"),
        ("/legal.html", "other licence"),
        ("https://evil.example/creativecommons.orgx/licenses/by/", "other licence"),
        ("", ""),
    ],
)
def test_families_of_licences(value: str, found: str) -> None:
    assert license_family(value) == found
