from __future__ import annotations

from tests.support.settings_table import README, replace_table


def test_the_readme_lists_every_setting_as_it_is():
    text = README.read_text()
    assert replace_table(text) == text, "run `python -m tests.support.settings_table`"
