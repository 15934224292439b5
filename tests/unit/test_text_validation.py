from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.domain.errors import Invalid
from delivery.domain.validation import check_text, validating_field


@given(st.text(max_size=20))
def test_a_text_that_passes_can_be_stored(text: str):
    try:
        passed = check_text(text, min_length=1, max_length=10)
    except ValueError:
        assert not text.strip() or len(text) > 10 or "\0" in text
    else:
        assert passed == text
        assert b"\0" not in passed.encode()


@pytest.mark.parametrize("text", ["a\0", "\0", "\ud800", "a\udfffb"])
def test_what_postgresql_cannot_hold_is_refused(text: str):
    with pytest.raises(ValueError, match="must not contain"):
        check_text(text, max_length=10)


def test_a_fault_is_given_the_name_of_its_field():
    with pytest.raises(Invalid) as refused, validating_field("name"):
        check_text("", min_length=1, max_length=10)
    assert refused.value.field == "name"
    assert "1 to 10" in refused.value.why
