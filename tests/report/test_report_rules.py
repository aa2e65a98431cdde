"""Rules carry their settings' names, and in Chinese what they mean."""

from dataclasses import fields

import pytest

from tongwen.curate.settings import ChineseRules, CodeRules, EnglishRules, TextRules
from tongwen.report.rules import chinese_name, rule_name


@pytest.mark.parametrize("kind", [EnglishRules, ChineseRules, CodeRules, TextRules])
def test_every_rule_of_ours_has_a_chinese_name_of_its_own(kind: type) -> None:
    names = [chinese_name(field.name) for field in fields(kind)]
    assert all(names)
    assert len(set(names)) == len(names)


def test_a_rule_of_a_users_own_keeps_its_name_alone_and_is_escaped() -> None:
    assert rule_name("shouting") == "<code>shouting</code>"
    assert rule_name("<b>") == "<code>&lt;b&gt;</code>"
    assert rule_name("minimum_words") == (
        '<span class="zh" lang="zh-Hans">词数过低 </span><code>minimum_words</code>'
    )
