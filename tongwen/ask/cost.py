"""What questions will cost, before they are asked and after the first few."""

from collections.abc import Sequence
from dataclasses import dataclass

from tongwen.ask.questions import Question
from tongwen.ask.server import Answer

_HAN_TOKENS = 0.7
_OTHER_TOKENS = 0.25
"""Tokens a character: about what the tokenizers of 2024 and later need for Chinese and English."""


@dataclass(frozen=True)
class Prices:
    """Of a million tokens, in the user's currency; None when not given."""

    prompt: float | None = None
    answer: float | None = None


@dataclass(frozen=True)
class Estimate:
    """What a number of questions needs.

    Attributes:
        questions: to be asked.
        known: answered before.
        prompt_tokens: to be read.
        answer_tokens: to be written, at most when nothing is known of the answers yet.
        is_measured: whether the tokens follow from answers.
    """

    questions: int
    known: int
    prompt_tokens: int
    answer_tokens: int
    is_measured: bool

    def text(self, prices: Prices) -> str:
        """As one readable line."""
        most = "" if self.is_measured else "at most "
        line = f"{self.questions:,} questions"
        if self.known:
            line += f" ({self.known:,} more are answered already)"
        line += f", about {self.prompt_tokens:,} tokens in, {most}{self.answer_tokens:,} out"
        cost = self.cost(prices)
        if cost is None:
            return f"{line}; --price-in and --price-out (a million tokens) would show the cost"
        return (
            f"{line}: {most or 'about '}{cost:,.2f} at {prices.prompt or 0:g} and "
            f"{prices.answer or 0:g} a million"
        )

    def cost(self, prices: Prices) -> float | None:
        """In the currency of the prices; None without any."""
        if prices.prompt is None and prices.answer is None:
            return None
        parts = ((self.prompt_tokens, prices.prompt), (self.answer_tokens, prices.answer))
        return sum(tokens * (price or 0.0) for tokens, price in parts) / 1e6


def estimate(questions: Sequence[Question], answers: dict[str, Answer]) -> Estimate:
    """What the questions that have no answer yet need: by the answers that are known, where the
    server counts tokens, else by characters and `max_tokens`.
    """
    open_ = [question for question in questions if question.name not in answers]
    seen = [(question, answers[question.name]) for question in questions
            if question.name in answers]  # fmt: skip
    counted = [(question, answer) for question, answer in seen if answer.answer_tokens]
    prompt = sum(prompt_tokens(question) for question in open_)
    written = sum(question.max_tokens for question in open_)
    if counted:
        guessed = sum(prompt_tokens(question) for question, _ in counted)
        read = sum(answer.prompt_tokens for _, answer in counted)
        prompt = round(prompt * read / guessed) if read else prompt
        total = sum(answer.answer_tokens for _, answer in counted)
        written = round(len(open_) * total / len(counted))
    return Estimate(len(open_), len(seen), prompt, written, bool(counted))


def prompt_tokens(question: Question) -> int:
    """Tokens of a question, estimated from its characters."""
    text = "".join(message["content"] for message in question.messages)
    han = sum("\u2e80" <= character <= "\uffef" for character in text)
    return round(han * _HAN_TOKENS + (len(text) - han) * _OTHER_TOKENS) + 8
