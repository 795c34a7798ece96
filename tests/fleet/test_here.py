"""What a director says when it looks at itself."""

import pytest

from fleet.here import _told


@pytest.mark.process
def test_words_in_another_encoding_are_no_end() -> None:
    assert _told("printf 'f\\374r\\n'; echo on") == ["f\N{REPLACEMENT CHARACTER}r", "on"]
