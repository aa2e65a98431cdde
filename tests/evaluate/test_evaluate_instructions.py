"""Each kind of instruction of IFEval is checked as its authors check it."""

from typing import Any

import pytest

from tongwen.errors import InputError
from tongwen.evaluate.instructions import CHECKS, instruction_scores, is_followed, refuse_unknown

WORDS = "the mill of the town burnt and nobody knew why it had been so dry"
CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("change_case:capital_word_frequency",
     {"capital_frequency": 2, "capital_relation": "at least"},
     ["The MILL is OLD."], ["The MILL is old."]),
    ("change_case:english_capital", {}, [WORDS.upper()], [WORDS, "同文馆"]),
    ("change_case:english_lowercase", {}, [WORDS], [WORDS.upper(), WORDS.capitalize()]),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, ["say it.\nYes"], ["Yes. Say"]),
    ("combination:two_responses", {}, ["One.\n******\nTwo."],
     ["One.", "One.******One.", "a******b******c"]),
    ("detectable_content:number_placeholders", {"num_placeholders": 2},
     ["[name] of [town]"], ["[name]"]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."},
     ["Bye.\nP.S. Write!", "Bye.\np. s. Write"], ["Bye. PS"]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["P.P.S. More"], ["P.S. No"]),
    ("detectable_format:constrained_response", {}, ["My answer is yes."], ["yes"]),
    ("detectable_format:json_format", {}, ['```json\n{"a": [1]}\n```', "[1]"], ["{a: 1}", "a"]),
    ("detectable_format:multiple_sections", {"section_spliter": "SECTION", "num_sections": 2},
     ["SECTION 1\nx\nSECTION 2\ny"], ["SECTION 1\nx", "section 1 section 2"]),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2},
     ["* a\n* b", "- a\n- b"], ["* a", "* a\n* b\n- c"]),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2},
     ["*a* and *b*", "**a** **b**"], ["*a*", "a b"]),
    ("detectable_format:title", {}, ["<<Mill>>\nText"], ["<< >> x", "Mill"]),
    ("keywords:existence", {"keywords": ["mill", "river"]}, ["Mill by the River"], ["Mill"]),
    ("keywords:forbidden_words", {"forbidden_words": ["mill"]}, ["The miller"], ["A Mill."]),
    ("keywords:frequency", {"keyword": "mill", "frequency": 2, "relation": "at least"},
     ["mill, Mill"], ["mill"]),
    ("keywords:frequency", {"keyword": "mill", "frequency": 2, "relation": "less than"},
     ["mill"], ["mill mill"]),
    ("keywords:letter_frequency",
     {"letter": "l", "let_frequency": 3, "let_relation": "at least"}, ["Lall"], ["all"]),
    ("language:response_language", {"language": "zh-cn"}, ["今天天气很好，我们去河边。"], [WORDS]),
    ("language:response_language", {"language": "de"},
     ["Die Mühle am Fluss ist gestern abgebrannt."], [WORDS]),
    ("length_constraints:nth_paragraph_first_word",
     {"first_word": "mill", "num_paragraphs": 2, "nth_paragraph": 2},
     ["One.\n\nMill, two.", 'One.\n\n"mill two'], ["One.\n\nTwo.", "Mill."]),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2},
     ["One.\n***\nTwo.", "***\nOne.\n***\nTwo.\n***"], ["One.", "One.\n***\n***\nTwo."]),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "at least"},
     ["One. Two! Three?", "一。二！三？"], ["Mr. Lee saw it. So what", "One. Two."]),
    ("length_constraints:number_words", {"num_words": 4, "relation": "less than"},
     ["one two three"], ["one two three four"]),
    ("punctuation:no_comma", {}, ["No comma here; none."], ["One, two"]),
    ("startend:end_checker", {"end_phrase": "That is all."}, ['x that is all.', '"That is all."'],
     ["That is all. Bye"]),
    ("startend:quotation", {}, ['"All of it."'], ['"Part" of it', '"']),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "arguments", "follows", "fails"), CASES)
def test_an_instruction_is_followed_or_not(
    kind: str, arguments: dict[str, Any], follows: list[str], fails: list[str]
) -> None:
    for text in follows:
        assert is_followed(text, kind, arguments), text
    for text in (*fails, "", " ", ".", "。"):
        assert not is_followed(text, kind, arguments), text


def test_every_kind_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(CHECKS)
    assert len(CHECKS) == 25


def test_loose_takes_away_the_first_or_last_line_and_asterisks() -> None:
    instructions = (
        '[["startend:end_checker", {"end_phrase": "done."}], ["punctuation:no_comma", {}]]'
    )
    scores = instruction_scores("Sure, here:\nIt is *done.*", instructions)
    assert scores == {
        "instructions": 0.0,
        "instructions_loose": 1.0,
        "instruction_share": 0.0,
        "instruction_share_loose": 1.0,
    }


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="length_constraints:words"):
        refuse_unknown(["punctuation:no_comma", "length_constraints:words"])
