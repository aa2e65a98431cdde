"""Settings of the curate stage. Every threshold here can be changed and replayed without reading
the crawl again.

The classes ending in `Rules` are the rules themselves: a field `minimum_X` or `maximum_X` drops a
document whose measured value `X` (a column of the attributes) lies outside; `false` in a
recipe turns the rule off. Weak rules for pages (`rules/weak.py`) drop only two kinds together. The
first rule in the order of the fields that drops a document is its reason.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

from tongwen.curate.contamination.settings import ContaminationSettings
from tongwen.curate.mix.settings import MixSettings
from tongwen.curate.names import LANGUAGES, LINE_REASONS, SCORE_RULES
from tongwen.errors import RecipeError
from tongwen.settings import PathText

_COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]*")


class _Rules:
    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if value is not None and value < 0:
                raise RecipeError(
                    f"{item.name} of {type(self).__name__} is {value}",
                    hint="use 0 or more, or false to turn the rule off",
                )


@dataclass(frozen=True, kw_only=True)
class EnglishRules(_Rules):
    """Thresholds for English pages, from Gopher (Rae et al. 2021, arXiv 2112.11446, table A1),
    C4 (Raffel et al. 2020, arXiv 1910.10683) and FineWeb (Penedo et al. 2024, arXiv 2406.17557).
    """

    maximum_replaced_share: float | None = 0.01
    """Share of characters that stand for lost ones: U+FFFD, □, and their known debris."""
    maximum_mojibake_share: float | None = 0.05
    """Share of characters in sequences that are UTF-8 read as another encoding."""
    minimum_words: int | None = 50
    """Words of the document."""
    maximum_words: int | None = 100_000
    """Words of the document."""
    minimum_mean_word_characters: float | None = 3.0
    """Mean characters of a word."""
    maximum_mean_word_characters: float | None = 10.0
    """Mean characters of a word."""
    maximum_symbols_per_word: float | None = 0.1
    """`#` and ellipses for each word."""
    maximum_bullet_line_share: float | None = 0.9
    """Share of lines that begin with a bullet."""
    maximum_ellipsis_line_share: float | None = 0.3
    """Share of lines that end with an ellipsis."""
    minimum_alphabetic_word_share: float | None = 0.8
    """Share of words, numbers and stand-alone signs that have a letter."""
    minimum_function_words: int | None = 2
    """Number of different words out of: the be to of and that have with."""
    maximum_spam_share: float | None = 0.04
    """Share of characters in gambling, loan, pill and ranking-trade terms."""
    maximum_placeholders: int | None = 0
    """Occurrences of "lorem ipsum"."""
    minimum_entropy_bits: float | None = 5.0
    """Entropy of the document's words in bits; a page stuffed with keywords has few different
    words."""
    maximum_link_share: float | None = 0.6
    """Share of the page's text that is links, before extraction; links cut with the host's
    template do not count."""
    maximum_boilerplate_share: float | None = 0.3
    """Share of characters taken out by the line rules."""
    minimum_sentences: int | None = 3
    """Sentences of the document. C4 asks for 5, of text from which every line without a full
    stop was removed before."""
    minimum_terminal_line_share: float | None = 0.12
    """Share of lines that end with sentence punctuation or a colon."""
    maximum_short_line_share: float | None = 0.67
    """Share of lines of at most 30 characters."""
    maximum_newlines_per_word: float | None = 0.3
    """Line breaks for each word."""
    maximum_duplicate_line_share: float | None = 0.3
    """Share of lines that occurred before in the document."""
    maximum_duplicate_line_character_share: float | None = 0.1
    """Share of characters in lines that occurred before in the document. FineWeb uses 0.01,
    FineWeb-2 0.1."""
    maximum_top_2_gram_share: float | None = 0.20
    """Share of characters in the most frequent run of 2 words."""
    maximum_top_3_gram_share: float | None = 0.18
    """Share of characters in the most frequent run of 3 words."""
    maximum_top_4_gram_share: float | None = 0.16
    """Share of characters in the most frequent run of 4 words."""
    maximum_repeated_5_gram_share: float | None = 0.15
    """Share of characters in runs of 5 words that occur more than once."""
    maximum_repeated_6_gram_share: float | None = 0.14
    """Share of characters in runs of 6 words that occur more than once."""
    maximum_repeated_7_gram_share: float | None = 0.13
    """Share of characters in runs of 7 words that occur more than once."""
    maximum_repeated_8_gram_share: float | None = 0.12
    """Share of characters in runs of 8 words that occur more than once."""
    maximum_repeated_9_gram_share: float | None = 0.11
    """Share of characters in runs of 9 words that occur more than once."""
    maximum_repeated_10_gram_share: float | None = 0.6
    """Share of characters in runs of 10 words that occur more than once."""
    maximum_mixed_share: float | None = None
    """Share of characters in paragraphs of another language than the text's."""
    minimum_quality: float | None = None
    """Probability by the quality scorer that the text is good; this and the next four need a
    scorer of their kind."""
    maximum_perplexity_percentile: float | None = None
    """Percentile of the perplexity among reference texts of the same length, 0 to 100."""
    minimum_coherence: float | None = None
    """Probability by the coherence scorer that the sentences are in the order somebody
    wrote."""
    maximum_safety_level: int | None = None
    """Safety level, 0 to 3; 2 drops what is certainly unsafe."""
    maximum_safety_score: float | None = None
    """Probability by the safety scorer that the text is unsafe."""


@dataclass(frozen=True, kw_only=True)
class ChineseRules(_Rules):
    """Thresholds for Chinese pages, counted in characters, so that no word segmentation is needed.
    Start values from FineWeb-2 (Penedo et al. 2025, arXiv 2506.20920), ChineseWebText (Chen et al.
    2023, arXiv 2311.01149) and MAP-NEO (Zhang et al. 2024, arXiv 2405.19327).
    """

    maximum_replaced_share: float | None = 0.01
    """Share of characters that stand for lost ones: U+FFFD, □, and their known debris."""
    maximum_mojibake_share: float | None = 0.05
    """Share of characters in sequences that are UTF-8 read as another encoding."""
    minimum_characters: int | None = 100
    """Characters of the document. ChineseWebText asks for 200; a good
    encyclopedia article can have half of that."""
    minimum_han_share: float | None = 0.2
    """Share of Han characters among the letters of lines that have one; other lines may be code
    that is not marked as such."""
    minimum_punctuation_share: float | None = 0.02
    """Share of characters that are punctuation."""
    maximum_punctuation_share: float | None = 0.25
    """Share of characters that are punctuation."""
    maximum_digit_share: float | None = 0.3
    """Share of characters that are digits."""
    maximum_bracket_share: float | None = 0.1
    """Share of characters in 【】, brackets included."""
    maximum_symbol_share: float | None = 0.1
    """Share of characters that are symbols."""
    minimum_function_words: int | None = 2
    """Number of different characters out of: 的是在和了不有为 (or 為) and the classical
    之其而以."""
    maximum_spam_share: float | None = 0.04
    """Share of characters in gambling, loan, pill and ranking-trade terms."""
    minimum_entropy_bits: float | None = 4.3
    """Entropy of the document's characters in bits: 3 nats."""
    maximum_link_share: float | None = 0.6
    """Share of the page's text that is links, before extraction; links cut with the host's
    template do not count."""
    maximum_boilerplate_share: float | None = 0.3
    """Share of characters taken out by the line rules."""
    minimum_terminal_line_share: float | None = 0.106
    """Share of lines that end with sentence punctuation or a colon."""
    minimum_mean_line_characters: float | None = 10.0
    """Mean characters of a line."""
    maximum_newlines_per_character: float | None = 0.1
    """Line breaks for each character."""
    maximum_ellipsis_line_share: float | None = 0.3
    """Share of lines that end with an ellipsis or with 更多, 展开, 全文."""
    maximum_duplicate_line_share: float | None = 0.287
    """Share of lines that occurred before in the document."""
    maximum_duplicate_line_character_share: float | None = 0.1
    """Share of characters in lines that occurred before in the document."""
    maximum_top_4_gram_share: float | None = 0.20
    """Share of characters in the most frequent run of 4 characters."""
    maximum_top_6_gram_share: float | None = 0.18
    """Share of characters in the most frequent run of 6 characters."""
    maximum_top_8_gram_share: float | None = 0.16
    """Share of characters in the most frequent run of 8 characters."""
    maximum_repeated_10_gram_share: float | None = 0.20
    """Share of characters in runs of 10 characters that occur more than once."""
    maximum_repeated_15_gram_share: float | None = 0.17
    """Share of characters in runs of 15 characters that occur more than once."""
    maximum_repeated_20_gram_share: float | None = 0.6
    """Share of characters in runs of 20 characters that occur more than once."""
    maximum_mixed_share: float | None = None
    """Share of characters in paragraphs of another language than the text's."""
    minimum_quality: float | None = None
    """Probability by the quality scorer that the text is good; this and the next four need a
    scorer of their kind."""
    maximum_perplexity_percentile: float | None = None
    """Percentile of the perplexity among reference texts of the same length, 0 to 100."""
    minimum_coherence: float | None = None
    """Probability by the coherence scorer that the sentences are in the order somebody
    wrote."""
    maximum_safety_level: int | None = None
    """Safety level, 0 to 3; 2 drops what is certainly unsafe."""
    maximum_safety_score: float | None = None
    """Probability by the safety scorer that the text is unsafe."""


@dataclass(frozen=True, kw_only=True)
class CodeRules(_Rules):
    """Thresholds for source code."""

    maximum_replaced_share: float | None = 0.01
    """Share of characters that stand for lost ones: U+FFFD, □, and their known debris."""
    minimum_characters: int | None = 30
    """Characters of the document."""
    maximum_mean_line_characters: float | None = 100.0
    """Mean characters of a line; longer ones are minified or generated (Codex, Chen et al.
    2021, arXiv 2107.03374)."""
    maximum_longest_line_characters: int | None = 10_000
    """Characters of the longest line."""


@dataclass(frozen=True, kw_only=True)
class TextRules(_Rules):
    """Thresholds for plain texts (books, laws, poems, dialogues): damage and stuffing only."""

    maximum_replaced_share: float | None = 0.05
    """Share of characters that stand for lost ones: U+FFFD, □, and their known debris. Editions
    of old texts write □ where a character is lost, so this is laxer than for pages."""
    maximum_mojibake_share: float | None = 0.05
    """Share of characters in sequences that are UTF-8 read as another encoding."""
    minimum_characters: int | None = 2
    """Characters of the document."""
    maximum_spam_share: float | None = 0.1
    """Share of characters in gambling, loan, pill and ranking-trade terms."""
    maximum_symbol_share: float | None = 0.5
    """Share of characters that are symbols."""
    maximum_duplicate_line_character_share: float | None = 0.5
    """Share of characters in lines that occurred before in the document."""


@dataclass(frozen=True, kw_only=True)
class OwnRuleSettings:
    """A value of the user's own, and its thresholds; the table's name is that of the column."""

    path: PathText | None = None
    """A Python file, or for a rule a TOML file; without it an installed package has an entry point
    of this name. A recipe that names Python code runs it."""
    function: str = ""
    """Name of the function or class in the Python file, where it differs from the table's."""
    languages: tuple[str, ...] = ()
    """Documents that are measured; those the code names when empty."""
    minimum: float | None = None
    """Documents with a lower value are dropped."""
    maximum: float | None = None
    """Documents with a higher value are dropped. Without both the value is only a column, for the
    conditions of the mix."""

    def __post_init__(self) -> None:
        _check_languages("languages", self.languages)
        if None not in (self.minimum, self.maximum) and self.minimum > self.maximum:  # type: ignore[operator]
            raise RecipeError(
                f"minimum is {self.minimum}, more than maximum, {self.maximum}",
                hint="no document would stay",
            )


@dataclass(frozen=True, kw_only=True)
class DuplicateSettings:
    """What counts as the same document twice."""

    same_url: bool = True
    """Keep only the newest of the pages with the same address."""
    same_text: bool = True
    """Keep one of the documents that differ only in case, spacing, punctuation or script
    variant."""
    similarity: float | None = 0.7
    """Estimated Jaccard similarity of shingles from which two documents count as the same;
    `false` leaves near duplicates in."""
    shingle_words: int = 5
    """Words of a shingle, in English and code."""
    shingle_characters: int = 4
    """Characters of a shingle, in Chinese; chosen by `bench/shingles.py`."""
    bands: int = 22
    """Bands of the MinHash signature; two documents that agree in all hashes of a band are
    compared."""
    rows: int = 5
    """Hashes of a band. 22 x 5 finds 98 % of the pairs with similarity 0.7, FineWeb's 14 x 8 56
    %. Pairs below the similarity cost time only: whole signatures are compared in the end."""
    seed: int = 1862
    """Seed of the hash functions."""

    def __post_init__(self) -> None:
        if self.similarity is not None and not 0 < self.similarity <= 1:
            raise RecipeError(
                f"curate.duplicates.similarity is {self.similarity}", hint="use a share, 0 to 1"
            )
        for name in ("shingle_words", "shingle_characters", "bands", "rows"):
            if getattr(self, name) < 1:
                raise RecipeError(
                    f"curate.duplicates.{name} is {getattr(self, name)}", hint="use 1 or more"
                )


@dataclass(frozen=True, kw_only=True)
class RepeatSettings:
    """Pieces that occur in many documents: host templates, paragraphs, exact spans."""

    templates: bool = True
    """Cut lines that a host prints around its pages."""
    template_documents: int = 10
    """Pages of a host that a line must be on before it can belong to its template."""
    template_share: float = 0.05
    """Share of the host's pages that the line must also be on."""
    paragraphs: bool = True
    """Cut paragraphs that another kept document has too; the first copy stays."""
    paragraph_letters: int = 60
    """Shortest such paragraph; a Chinese character counts as two letters, spaces and punctuation as
    none."""
    spans: bool = True
    """Cut whole sentences inside longer exact copies of another kept document."""
    span_words: int = 35
    """Shortest such copy in English, in words: about 200 characters."""
    span_characters: int = 50
    """Shortest such copy in Chinese, in characters."""
    maximum_repeated_share: float | None = 0.5
    """Drop a document that loses a larger share to paragraphs and spans."""
    minimum_remaining_characters: int | None = 20
    """Drop a document of which fewer characters are left."""

    def __post_init__(self) -> None:
        for name in (
            "template_documents", "paragraph_letters", "span_words", "span_characters",
        ):  # fmt: skip
            if getattr(self, name) < 2:
                raise RecipeError(
                    f"curate.repeats.{name} is {getattr(self, name)}", hint="use 2 or more"
                )
        for name in ("template_share", "maximum_repeated_share"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise RecipeError(f"curate.repeats.{name} is {value}", hint="use a share, 0 to 1")


@dataclass(frozen=True, kw_only=True)
class CurateSettings:
    """From raw records to clean documents."""

    languages: tuple[str, ...] = LANGUAGES
    """Languages that are kept."""
    minimum_language_confidence: float = 0.65
    """Probability by the language model below which a page's language counts as unknown, and
    the page is dropped."""
    maximum_bad_files: float = 0.1
    """Files that may be unreadable before the run ends: below 1 a share of all files, from 1 on a
    number. They are listed in `bad_files.jsonl`."""
    blocked_domains: tuple[PathText, ...] = ()
    """Files of domains whose pages are dropped without reading them, one domain a line; each
    file is a category. The lists of Université Toulouse Capitole have this form."""
    allowed_domains: tuple[PathText, ...] = ()
    """Files of domains that are exempt from the lists and from the address words."""
    address_words: bool = True
    """Drop addresses with words of gambling and pornography, in English and in pinyin."""
    line_reasons: tuple[str, ...] = LINE_REASONS
    """Why lines are taken out of pages, such as 版权所有 or "Share this page"; plain texts keep
    theirs."""
    replace_personal_data: bool = True
    """Replace personal data in pages and texts by [email], [phone], [resident-id] and the like,
    and secrets by [api-key]."""
    rules_for_texts: Literal["texts", "pages"] = "texts"
    """Rules for JSONL, Parquet and plain text sources: the light ones, or those for web pages."""
    weak_rules: Literal["together", "alone"] = "together"
    """Whether a weak rule for pages, one that good texts also fail (`rules/weak.py`), drops a
    page only together with a weak rule of another kind, or alone as in FineWeb."""
    english: EnglishRules = field(default_factory=EnglishRules)
    chinese: ChineseRules = field(default_factory=ChineseRules)
    code: CodeRules = field(default_factory=CodeRules)
    texts: TextRules = field(default_factory=TextRules)
    duplicates: DuplicateSettings = field(default_factory=DuplicateSettings)
    scorers: tuple[PathText, ...] = ()
    """Folders of `tongwen curate train-scorer`, at most one of each kind."""
    cluster_labels: PathText | None = None
    """The `clusters.jsonl` of the clusters scorer with labels: what is labelled `drop` is dropped,
    a weight multiplies those of the mix."""
    rules: Mapping[str, OwnRuleSettings] = field(default_factory=dict)
    """Rules of your own, `[curate.rules.NAME]`: see docs/en/extend-with-your-code.md."""
    own_scorers: Mapping[str, OwnRuleSettings] = field(default_factory=dict)
    """Scorers of your own, `[curate.own_scorers.NAME]`."""
    allowed_failure_share: float = 0.01
    """Share of a task's documents that a rule or scorer of your own may fail on, rounded up.
    They get no value and are listed; 0 ends the run at the first failure."""
    repeats: RepeatSettings = field(default_factory=RepeatSettings)
    contamination: ContaminationSettings = field(default_factory=ContaminationSettings)
    mix: MixSettings | None = None
    """Weights, shares and a budget of the documents. Without this table every kept document is
    written once, in the order of reading."""
    reject_samples: int = 20
    """Dropped documents shown per reason and language in `rejects.jsonl`."""
    task_bytes: int = 64 << 20
    """Raw bytes that one task reads, approximately; changes no document."""

    def __post_init__(self) -> None:
        _check_languages("curate.languages", self.languages)
        if self.maximum_bad_files < 0:
            raise RecipeError(
                f"curate.maximum_bad_files is {self.maximum_bad_files}",
                hint="use a share such as 0.1, or a number of files; 0 allows none",
            )
        _check_own_names(self.rules, self.own_scorers)
        if not 0 <= self.allowed_failure_share <= 1:
            raise RecipeError(
                f"curate.allowed_failure_share is {self.allowed_failure_share}",
                hint="use a share, 0 to 1",
            )
        for reason in self.line_reasons:
            if reason not in LINE_REASONS:
                raise RecipeError(
                    f"curate.line_reasons has {reason!r}", hint=f"known: {', '.join(LINE_REASONS)}"
                )
        if not 0 <= self.minimum_language_confidence <= 1:
            raise RecipeError(
                f"curate.minimum_language_confidence is {self.minimum_language_confidence}",
                hint="use a share, 0 to 1",
            )
        rules = (self.english, self.chinese)
        wanted = {name for section in rules for name in SCORE_RULES if getattr(section, name)}
        if wanted and not self.scorers:
            raise RecipeError(
                f"{min(wanted)} is set, but curate.scorers names no scorer",
                hint="train one with `tongwen curate train-scorer`, and name its folder",
            )
        if self.task_bytes < 1:
            raise RecipeError(f"curate.task_bytes is {self.task_bytes}", hint="use 1 or more")


def _check_languages(name: str, languages: Sequence[str]) -> None:
    for language in languages:
        if language not in LANGUAGES:
            raise RecipeError(f"{name} has {language!r}", hint=f"known: {', '.join(LANGUAGES)}")


def _check_own_names(
    rules: Mapping[str, OwnRuleSettings], scorers: Mapping[str, OwnRuleSettings]
) -> None:
    for name in (*rules, *scorers):
        if not _COLUMN_NAME.fullmatch(name):
            raise RecipeError(
                f"curate.rules or curate.own_scorers has the name {name!r}",
                hint="it names a column: use small letters, digits and _, and begin with a letter",
            )
        if name in rules and name in scorers:
            raise RecipeError(
                f"curate.rules and curate.own_scorers both have {name!r}",
                hint="they would write the same column",
            )
    for name, item in scorers.items():
        if item.path is not None and not item.path.endswith(".py"):
            raise RecipeError(
                f"curate.own_scorers.{name}.path is {item.path}", hint="name a Python file (.py)"
            )
