"""The loss against torch's own, the schedule against hand calculation."""

import pytest
import torch

from tongwen.errors import RecipeError
from tongwen.model.config import ModelConfig
from tongwen.model.llama import Llama
from tongwen.train.data.sequences import Batch
from tongwen.train.loss import cross_entropy as loss_module
from tongwen.train.loss import softmax
from tongwen.train.loss.cross_entropy import cross_entropy_sum
from tongwen.train.loss.softmax import IGNORED
from tongwen.train.optim.build import build_optimizer
from tongwen.train.optim.schedule import learning_rate
from tongwen.train.passes import mean_loss
from tongwen.train.settings import TrainSettings


@pytest.mark.parametrize("chunk_tokens", [1, 7, 1000])
def test_chunked_loss_and_gradients_equal_those_of_torch(
    chunk_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_module, "CHUNK_BYTES", 0)
    monkeypatch.setattr(loss_module, "CHUNK_TOKENS", chunk_tokens)
    monkeypatch.setattr(softmax, "SOFTMAX_BYTES", 3 * 4 * 50)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 10, 16, generator=generator, requires_grad=True)
    head = torch.randn(50, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 50, (3, 10), generator=generator)
    targets[0, 3:] = IGNORED
    ours = cross_entropy_sum(hidden, head, targets)
    (ours / 7).backward()
    got = hidden.grad, head.grad
    hidden.grad = head.grad = None
    theirs = torch.nn.functional.cross_entropy(
        (hidden @ head.t()).flatten(0, 1), targets.flatten(), reduction="sum"
    )
    (theirs / 7).backward()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(got[0], hidden.grad)
    torch.testing.assert_close(got[1], head.grad)
    with torch.no_grad():
        torch.testing.assert_close(cross_entropy_sum(hidden, head, targets), theirs)


def test_a_bfloat16_loss_adds_up_its_chunks_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "CHUNK_BYTES", 0)
    monkeypatch.setattr(loss_module, "CHUNK_TOKENS", 7)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(30, 16, generator=generator).bfloat16().requires_grad_()
    head = torch.randn(50, 16, generator=generator).bfloat16().float().requires_grad_()
    targets = torch.randint(0, 50, (30,), generator=generator)
    cross_entropy_sum(hidden, head, targets).backward()
    exact = hidden.detach().float().requires_grad_(), head.detach().clone().requires_grad_()
    torch.nn.functional.cross_entropy(exact[0] @ exact[1].t(), targets, reduction="sum").backward()
    assert head.grad.dtype == torch.float32
    torch.testing.assert_close(hidden.grad.float(), exact[0].grad, rtol=0.05, atol=0.05)
    torch.testing.assert_close(head.grad, exact[1].grad, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_target_whose_probability_vanishes_has_its_loss(dtype: torch.dtype) -> None:
    hidden = torch.full((3, 4), 8.0, dtype=dtype, requires_grad=True)
    head = torch.tensor([[2.0] * 4, [1.0] * 4, [-4.0] * 4], requires_grad=True)
    targets = torch.tensor([0, 1, 2])
    loss = cross_entropy_sum(hidden, head, targets)
    loss.backward()
    torch.testing.assert_close(loss, torch.tensor(32.0 + 192.0))
    assert head.grad.tolist() == [[16.0] * 4, [-8.0] * 4, [-8.0] * 4]


def test_a_loss_computed_twice_is_the_same_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1100, 32, generator=generator, requires_grad=True)
    head = torch.randn(3000, 32, generator=generator, requires_grad=True)
    targets = torch.randint(0, 3000, (1100,), generator=generator)
    runs = []
    for _ in range(2):
        loss = cross_entropy_sum(hidden, head, targets)
        runs.append((loss, *torch.autograd.grad(loss, (hidden, head))))
    for one, two in zip(*runs, strict=True):
        assert torch.equal(one, two)


def test_a_target_without_any_probability_gives_a_finite_loss() -> None:
    hidden = torch.ones(1, 1, 1, requires_grad=True)
    head = torch.tensor([[1000.0], [0.0], [-1000.0]], requires_grad=True)
    loss = cross_entropy_sum(hidden, head, torch.tensor([[2]]))
    assert loss.item() == pytest.approx(2000)


def test_a_batch_without_targets_gives_zero_loss_and_zero_gradients() -> None:
    hidden = torch.randn(2, 3, 4, requires_grad=True)
    head = torch.randn(5, 4, requires_grad=True)
    loss = cross_entropy_sum(hidden, head, torch.full((2, 3), IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert head.grad is not None
    assert not head.grad.any()


def small_model(*, hidden_size: int, layers: int = 1) -> Llama:
    return Llama(
        ModelConfig(
            hidden_size=hidden_size,
            intermediate_size=2 * hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=hidden_size // 2,
            vocabulary_size=50,
        )
    )


def test_micro_batches_give_the_gradient_of_the_whole_batch() -> None:
    model = small_model(hidden_size=16, layers=2)
    model.initialize(0)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 50, (4, 12), generator=generator)
    targets = ids.roll(-1, 1)
    targets[:, 5:] = IGNORED
    targets[3] = IGNORED
    batch = Batch(ids, targets, torch.arange(12).expand(4, 12), torch.zeros_like(ids), 15)
    gradients = []
    for sequences in (4, 2, 1):
        model.zero_grad()
        for micro_batch in batch.split(sequences):
            mean_loss(model, micro_batch, torch.float32).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for other in gradients[1:]:
        for one, two in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-7)


def settings_of(**values: object) -> TrainSettings:
    base = {"max_tokens": 1000, "sequence_tokens": 10, "batch_tokens": 10, "warmup_share": 0.1}
    return TrainSettings(**(base | values))


@pytest.mark.parametrize(
    ("decay", "middle"), [("cosine", 0.55), ("linear", 0.55), ("constant", 1.0)]
)
def test_the_rate_rises_linearly_and_then_decays_to_its_share(decay: str, middle: float) -> None:
    settings = settings_of(decay=decay, peak_learning_rate=2.0, final_learning_rate_share=0.1)
    assert learning_rate(settings, 50) == pytest.approx(1.0)
    assert learning_rate(settings, 100) == pytest.approx(2.0)
    assert learning_rate(settings, 550) == pytest.approx(2.0 * middle)
    assert learning_rate(settings, 1000) == pytest.approx(2.0 if decay == "constant" else 0.2)


def test_warm_up_stable_decay_holds_the_peak_and_falls_at_the_end() -> None:
    settings = settings_of(
        decay="wsd", decay_share=0.2, peak_learning_rate=2.0, final_learning_rate_share=0.0
    )
    rates = [learning_rate(settings, tokens) for tokens in (50, 100, 800, 850, 1000)]
    assert rates == pytest.approx([1.0, 2.0, 2.0, 1.0, 0.0])  # 1 - sqrt(1/4) after a quarter


def test_the_batch_doubles_over_its_ramp_and_no_token_is_counted_twice() -> None:
    settings = settings_of(
        max_tokens=10_000, batch_tokens=80, initial_batch_tokens=10, batch_ramp_share=0.03
    )
    plan = settings.batches
    sizes = [plan.batch_tokens_of(step) for step in range(plan.steps)]
    assert sizes[:10] == [10] * 10
    assert sizes[10:17] == [20] * 5 + [40] * 2  # 100 tokens for each size
    assert set(sizes[17:]) == {80}
    for step in range(plan.steps + 1):
        assert plan.tokens_before(step) == sum(sizes[:step])
    assert sum(sizes) - 80 < 10_000 <= sum(sizes) == plan.tokens_before(settings.steps)
    assert settings_of().batches.steps == 100


def test_z_loss_adds_its_gradient_and_leaves_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(6, 8, generator=generator, requires_grad=True)
    head = torch.randn(20, 8, generator=generator, requires_grad=True)
    targets = torch.randint(0, 20, (6,), generator=generator)
    loss = cross_entropy_sum(hidden, head, targets, 0.01)
    loss.backward()
    got = hidden.grad, head.grad
    hidden.grad = head.grad = None
    logits = hidden @ head.t()
    plain = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    (plain + 0.01 * logits.logsumexp(-1).square().sum()).backward()
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(got[0], hidden.grad)
    torch.testing.assert_close(got[1], head.grad)


def test_cosine_at_a_quarter_is_what_the_paper_says() -> None:
    settings = settings_of(peak_learning_rate=1.0, final_learning_rate_share=0.0)
    assert learning_rate(settings, 325) == pytest.approx(0.8535533905932737)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_matrices_decay_norms_do_not_and_every_parameter_moves_once(name: str) -> None:
    model = small_model(hidden_size=16)
    settings = settings_of(optimizer=name, weight_decay=0.5)
    optimizer = build_optimizer(model, model.config, settings)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer.step(0.1)
    for key, value in model.state_dict().items():
        # Without a gradient only the decay moves a weight: by rate x decay.
        expected = before[key] * (0.95 if value.dim() == 2 else 1.0)
        torch.testing.assert_close(value, expected, msg=key)


def test_muon_moves_a_layers_matrix_by_the_same_root_mean_square_as_adam() -> None:
    """Moonlight, arXiv:2502.16982, section 2.2: an update of root mean square 0.2 x rate."""
    model = small_model(hidden_size=64)
    matrix = model.model.layers[0].mlp.up_proj.weight
    before = matrix.detach().clone()
    optimizer = build_optimizer(
        model, model.config, settings_of(optimizer="muon", weight_decay=0.0)
    )
    generator = torch.Generator().manual_seed(1)
    matrix.grad = torch.randn(matrix.shape, generator=generator)
    optimizer.step(0.1)
    moved = (matrix.detach() - before).square().mean().sqrt().item()
    assert moved == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_tokens": 25}, "batch_tokens is 25, not a multiple of sequence_tokens, 10"),
        ({"batch_tokens": 50, "micro_batch_tokens": 20}, "not a multiple of micro_batch_tokens"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        (
            {"batch_tokens": 40, "initial_batch_tokens": 15},
            "initial_batch_tokens is 15, not a multiple of sequence_tokens",
        ),
        (
            {"batch_tokens": 40, "initial_batch_tokens": 30, "micro_batch_tokens": 20},
            "initial_batch_tokens is 30",
        ),
        ({"initial_batch_tokens": 20}, "initial_batch_tokens is 20"),
        ({"warmup_share": 2.0}, "warmup_share is 2.0"),
        ({"adam_betas": (0.9, 1.0)}, "adam_betas are"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        settings_of(**values)
