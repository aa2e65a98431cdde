"""Choices without log-probabilities: the model writes the letter of its choice.

The score is another one than that of the choices' probabilities, and is called `letters`.
"""

from collections.abc import Sequence
from dataclasses import replace

from tongwen.evaluate.items import Item, letters
from tongwen.evaluate.spec import TaskSpec

_ASKED = frozenset({"acc", "acc_norm", "acc_char", "acc_pmi"})
"""Metrics of one right choice; the others need probabilities."""
_MOST_CHOICES = 7
"""Letters that `read_letters` knows."""
_PLAIN_TOKENS = 16
_CHAT_TOKENS = 512
_WORDS = {
    "en": ("Which of these texts is right?", "Answer with the letter of the right choice.",
           "Answer:"),
    "zh": ("下面哪一段文字是正确的？", "请回答正确选项的字母。", "答案："),
}  # fmt: skip


def can_be_written(spec: TaskSpec, items: Sequence[Item]) -> bool:
    """Whether a letter can answer every item of a task of the kind `choice`."""
    return spec.metric in _ASKED and all(len(item.choices) <= _MOST_CHOICES for item in items)


def as_letters(spec: TaskSpec, items: Sequence[Item], *, chat: bool) -> tuple[TaskSpec, list[Item]]:
    """The task and its items with letters for answers.

    A task that shows lettered choices keeps its prompt and its examples. Another one shows its
    choices below the question, without examples, whose other choices nobody knows.
    """
    chance = sum(1 / len(item.choices) for item in items) / max(1, len(items))
    how = "" if spec.lettered else ", choices shown below the question, without examples"
    written = replace(
        spec,
        kind="generate",
        metric="letters",
        accepted=("letter",),
        chance=chance if spec.chance is None else spec.chance,
        stop=("\n",),
        max_new_tokens=_CHAT_TOKENS if chat else _PLAIN_TOKENS,
        protocol=f"{spec.protocol + '; ' if spec.protocol else ''}the letter is written, for want "
        f"of log-probabilities{how}",
    )
    return written, [_with_letter(spec, item) for item in items]


def _with_letter(spec: TaskSpec, item: Item) -> Item:
    assert item.gold is not None
    names = letters(len(item.choices))
    right = names[item.gold]
    if not spec.lettered:
        which, ask, answer = _WORDS["zh" if item.language.startswith("zh") else "en"]
        if len(item.contexts) == 1:
            texts, question = item.choices, item.contexts[0].rstrip()
        else:
            pairs = zip(item.contexts, item.choices, strict=True)
            texts, question = tuple(context + choice for context, choice in pairs), which
        shown = "\n".join(f"{n}. {text.strip()}" for n, text in zip(names, texts, strict=True))
        item = replace(item, contexts=(f"{question}\n{shown}\n{ask}\n{answer}",), shots=())
    return replace(item, choices=(), gold=None, accepted=(right,))
