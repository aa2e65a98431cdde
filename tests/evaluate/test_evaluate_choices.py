import copy
import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tongwen.errors import InputError
from tongwen.evaluate import trie
from tongwen.evaluate.choices import Fit, choice_requests, score
from tongwen.evaluate.evaluator import Evaluator
from tongwen.evaluate.items import Item
from tongwen.evaluate.records import Questions
from tongwen.evaluate.results import summaries
from tongwen.evaluate.settings import EvaluateSettings
from tongwen.evaluate.spec import TaskSpec, builtin_spec
from tongwen.evaluate.trie import Request
from tongwen.model.llama import Llama
from tongwen.tokenizer.special import EOS_ID
from tongwen.tokenizer.text import Tokenizer


def item_of(context: str, *texts: str, **changes: object) -> Item:
    item = Item(
        id="1", place="data.jsonl:1", language="en", cluster="1", group="", shots=(),
        contexts=(context,), choices=texts, gold=0, accepted=(),
    )  # fmt: skip
    return replace(item, **changes)  # type: ignore[arg-type]


@pytest.fixture
def spec() -> TaskSpec:
    return builtin_spec("piqa")


def requests_of(
    spec: TaskSpec, item: Item, tokenizer: Tokenizer, window: int = 160
) -> list[Request]:
    return choice_requests(spec, item, tokenizer, chat=False, window_tokens=window)[0]


def one_by_one(model: Llama, request: Request) -> tuple[float, bool]:
    """The whole softmax of one sequence, token by token."""
    with torch.inference_mode():
        logits_TV = model.logits(model(torch.tensor([request.token_ids])))[0]
    table = torch.log_softmax(logits_TV.double(), dim=-1)
    total, is_greedy = 0.0, True
    for position in range(request.context_tokens, len(request.token_ids)):
        token = request.token_ids[position]
        total += table[position - 1, token].item()
        is_greedy &= int(table[position - 1].argmax()) == token
    return total, is_greedy


QUESTIONS = [
    item_of(
        "Goal: how do you carry water uphill?\nAnswer:", " yes", " in the old market", " 1,350"
    ),
    item_of("问题：他们说什么？\n答案：", "读书要多想。", "三十元！", "翻"),
    item_of("The town sells", " apples", " apples and bells", " 苹果🍎"),
    item_of("A", "B", "C"),
    item_of("x" * 90, " yes", " no"),
]


def test_scores_equal_those_of_one_sequence_at_a_time(
    model: Llama, tokenizer: Tokenizer, spec: TaskSpec
) -> None:
    requests = [request for item in QUESTIONS for request in requests_of(spec, item, tokenizer)]
    for request, result in zip(requests, score(model, requests, batch_tokens=256), strict=True):
        total, is_greedy = one_by_one(model, request)
        assert result.log_probability == pytest.approx(total, abs=1e-4)
        assert result.is_greedy == is_greedy


def test_scores_do_not_depend_on_the_batch(
    model: Llama, tokenizer: Tokenizer, spec: TaskSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [request for item in QUESTIONS for request in requests_of(spec, item, tokenizer)]
    whole = score(model, requests, batch_tokens=100_000)
    monkeypatch.setattr(trie, "LOGITS_AT_ONCE", model.config.vocabulary_size * 3)
    for batch_tokens in (1, 64, 200):
        parts = score(model, requests, batch_tokens=batch_tokens)
        for one, other in zip(whole, parts, strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)
            assert one.is_greedy == other.is_greedy


def test_the_greedy_continuation_is_recognised(model: Llama, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("The river town")
    context_tokens = len(ids)
    for _ in range(4):
        with torch.inference_mode():
            ids.append(int(model.logits(model(torch.tensor([ids]))[0, -1]).argmax()))
    assert score(model, [Request(tuple(ids), context_tokens)], batch_tokens=64)[0].is_greedy


def test_a_task_reads_no_padding_and_its_examples_once(
    model: Llama, tokenizer: Tokenizer, spec: TaskSpec
) -> None:
    spec = replace(spec, unconditional="")
    shot = ("Goal: how do you carry water uphill?\nAnswer:", " in the old market")
    items = [
        item_of(
            "Goal:" + " bells" * (n % 7 + 1), " yes", " no, " + "not " * n, "翻译", shots=[shot]
        )
        for n in range(10)
    ]
    read = [
        request.token_ids[:-1] for item in items for request in requests_of(spec, item, tokenizer)
    ]
    least = len({ids[:end] for ids in read for end in range(1, len(ids) + 1)})
    assert sum(map(len, read)) > 4 * least  # what is read one by one, without padding
    tokens: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, given: tokens.append(given[0].numel()))
    try:
        settings = EvaluateSettings(device="cpu", precision="fp32")
        evaluator = Evaluator.of(model, tokenizer, settings)
        evaluator.choice_records([Questions(spec, items, chat=False)], report=lambda *_: None)
    finally:
        handle.remove()
    assert sum(tokens) == least


def test_choices_of_one_token_cost_one_reading_of_the_question(
    model: Llama, tokenizer: Tokenizer, spec: TaskSpec
) -> None:
    requests = requests_of(spec, item_of("Goal:", "A", "B", "C", "D"), tokenizer)
    tokens: list[int] = []
    score(model, requests, batch_tokens=64, report=lambda done, total: tokens.append(total))
    assert tokens == [requests[0].context_tokens]


@hypothesis_settings(deadline=None, max_examples=150)
@given(
    context=st.text(st.sampled_from("aAnswer:\n 问题答案：翻译，。12🍎"), min_size=1, max_size=12),
    texts=st.lists(
        st.text(st.sampled_from(" yesno翻译三十元，1350🍎"), min_size=1, max_size=6).filter(
            lambda text: text.strip() != ""
        ),
        min_size=2,
        max_size=4,
    ),
)
def test_every_byte_of_a_choice_is_scored_and_all_choices_from_the_same_place(
    tokenizer: Tokenizer, context: str, texts: list[str]
) -> None:
    requests = requests_of(builtin_spec("piqa"), item_of(context, *texts), tokenizer)
    assert len({request.token_ids[: request.context_tokens] for request in requests}) == 1
    for request, text in zip(requests, texts, strict=True):
        scored = b"".join(
            tokenizer.token_bytes[token] for token in request.token_ids[request.context_tokens :]
        )
        assert scored.endswith(text.encode())
        assert len(scored) >= len(text.encode())
        assert 0 < request.context_tokens < len(request.token_ids)


def test_a_first_token_is_predicted_from_the_end_of_a_document(
    tokenizer: Tokenizer, spec: TaskSpec
) -> None:
    request = requests_of(spec, item_of("", "yes", "no"), tokenizer)[0]
    assert request.token_ids[0] == EOS_ID
    assert request.context_tokens == 1


def test_contexts_of_their_own_are_scored_from_their_own_ends(
    tokenizer: Tokenizer, spec: TaskSpec
) -> None:
    item = item_of("", " ring.", " ring.", contexts=("before the bells", "The river town"))
    for request, context in zip(requests_of(spec, item, tokenizer), item.contexts, strict=True):
        assert tokenizer.decode(request.token_ids[: request.context_tokens]) == context


def test_a_prompt_longer_than_the_window_loses_its_beginning_and_says_so(
    tokenizer: Tokenizer, spec: TaskSpec
) -> None:
    item = item_of("问" * 50 + "答案：", "翻译", "三十元")
    whole, was_cut = choice_requests(spec, item, tokenizer, chat=False, window_tokens=500)
    cut, is_cut = choice_requests(spec, item, tokenizer, chat=False, window_tokens=12)
    assert (was_cut, is_cut) == (False, True)
    for before, after in zip(whole, cut, strict=True):
        assert len(after.token_ids) <= 13  # the last token is predicted, not read
        scored = len(before.token_ids) - before.context_tokens
        assert len(after.token_ids) - after.context_tokens == scored
        assert before.token_ids[-len(after.token_ids) :] == after.token_ids


@hypothesis_settings(deadline=None, max_examples=100)
@given(
    context=st.text(st.sampled_from("aAnswer: 问题答案："), min_size=1, max_size=30),
    texts=st.lists(
        st.text(st.sampled_from(" yesno翻译三十元"), min_size=1, max_size=12).filter(
            lambda text: text.strip() != ""
        ),
        min_size=2,
        max_size=4,
    ),
    window=st.integers(2, 20),
)
def test_all_choices_of_a_question_are_cut_alike_or_counted(
    tokenizer: Tokenizer, context: str, texts: list[str], window: int
) -> None:
    requests, fit = choice_requests(
        builtin_spec("piqa"), item_of(context, *texts), tokenizer, chat=False, window_tokens=window
    )
    assert len({request.token_ids[: request.context_tokens] for request in requests}) == 1
    is_inside = all(len(request.token_ids) - 1 <= window for request in requests)
    assert is_inside == (fit is not Fit.TOO_LONG)


def test_a_choice_longer_than_the_window_is_counted_and_not_scored(
    model: Llama, tokenizer: Tokenizer, spec: TaskSpec
) -> None:
    items = [item_of("Goal:", " yes" * 300, " no"), item_of("Goal:", " yes", " no")]
    records = records_of(model, tokenizer, spec, items)
    assert [record["not_scored"] for record in records] == ["too_long", None]
    (result,) = summaries("piqa", spec, records)
    assert (result["n"], result["not_scored"]) == (
        1,
        {"not_finite": 0, "too_long": 1, "refused": 0},
    )
    assert "1 of 2 items are not scored" in result["warnings"][0]
    with pytest.raises(InputError, match="none of 1 items fits"):
        summaries("piqa", spec, records[:1])


def test_an_item_whose_logits_are_not_finite_is_counted_and_not_scored(
    model: Llama, tokenizer: Tokenizer, spec: TaskSpec
) -> None:
    broken = copy.deepcopy(model)
    (number,) = set(tokenizer.encode("🍎")[-1:])
    with torch.no_grad():
        broken.model.embed_tokens.weight[number] = math.nan
    items = [item_of("🍎 Goal:", " yes", " no"), item_of("Goal:", " yes", " no")]
    free = builtin_spec("sample_answer")
    asked = [replace(item, choices=(), gold=None, accepted=("yes",)) for item in items]
    for task, questions in ((spec, items), (free, asked)):
        records = records_of(broken, tokenizer, task, questions)
        assert [record["not_scored"] for record in records] == ["not_finite", None]
        json.dumps(records, allow_nan=False)
        (result,) = summaries("x", task, records)
        assert (result["n"], result["not_scored"]["not_finite"]) == (1, 1)
        with pytest.raises(InputError, match="NaN or infinite for all of 1 items"):
            summaries("x", task, records[:1])


def test_a_window_smaller_than_the_answer_asks_nothing(model: Llama, tokenizer: Tokenizer) -> None:
    spec = builtin_spec("sample_answer")
    item = replace(item_of("Goal:"), choices=(), gold=None, accepted=("yes",))
    (record,) = records_of(model, tokenizer, spec, [item], max_new_tokens=160)
    assert record["not_scored"] == "too_long"
    (record,) = records_of(model, tokenizer, spec, [item], max_new_tokens=159)
    assert (record["not_scored"], record["truncated"]) == (None, True)


def records_of(
    model: Llama,
    tokenizer: Tokenizer,
    spec: TaskSpec,
    items: list[Item],
    max_new_tokens: int = 2,
) -> list[dict[str, Any]]:
    return list(
        Evaluator(model, tokenizer, 256).records(
            spec, items, chat=False, max_new_tokens=max_new_tokens, report=lambda done, total: None
        )
    )


def test_chat_puts_examples_and_question_into_turns(tokenizer: Tokenizer, spec: TaskSpec) -> None:
    item = item_of("第二问？", " 好", " 不好", shots=(("第一问？", " 是"),))
    requests, _ = choice_requests(spec, item, tokenizer, chat=True, window_tokens=160)
    shown = tokenizer.decode(requests[0].token_ids, show_special=True)
    assert shown == (
        "<|im_start|>user\n第一问？<|im_end|>\n<|im_start|>assistant\n是<|im_end|>\n"
        "<|im_start|>user\n第二问？<|im_end|>\n<|im_start|>assistant\n好"
    )


def test_a_marker_inside_a_question_stays_text(tokenizer: Tokenizer, spec: TaskSpec) -> None:
    requests = requests_of(spec, item_of("<|im_end|>", " a", " b"), tokenizer)
    assert not {2, 6, 7} & set(requests[0].token_ids)


def test_gold_probability_and_bits_follow_from_the_log_probabilities(
    model: Llama, tokenizer: Tokenizer, spec: TaskSpec
) -> None:
    evaluator = Evaluator(model, tokenizer, 256)
    item = replace(QUESTIONS[1], gold=1)
    (record,) = evaluator.records(
        spec, [item], chat=False, max_new_tokens=1, report=lambda done, total: None
    )
    sums = [choice["log_probability"] for choice in record["choices"]]
    assert [choice["bytes"] for choice in record["choices"]] == [18, 12, 3]
    shares = [math.exp(total) for total in sums]
    assert record["scores"]["gold_probability"] == pytest.approx(shares[1] / sum(shares), rel=1e-3)
    assert record["scores"]["gold_bits_per_byte"] == pytest.approx(
        -sums[1] / math.log(2) / 12, rel=1e-4
    )
    assert record["scores"]["acc"] == float(sums.index(max(sums)) == 1)
