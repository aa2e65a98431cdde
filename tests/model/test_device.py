import pytest
import torch

from tongwen.errors import InputError
from tongwen.model import device
from tongwen.model.device import Arithmetic, choose_device


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_is_not_there_is_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match="torch sees no GPU") as caught:
        choose_device("cuda")
    assert '"auto"' in str(caught.value.hint)
    for choose in (Arithmetic.for_training, Arithmetic.for_answers):
        with pytest.raises(InputError, match="torch sees no GPU"):
            choose("cuda", "auto")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("has_bf16", [True, False])
def test_auto_trains_in_bfloat16_where_the_cpu_multiplies_it_and_answers_in_float32(
    has_bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "cpu_multiplies_bf16", lambda: has_bf16)
    trained = Arithmetic.for_training("auto", "auto")
    assert trained.device == torch.device("cpu")
    assert trained.dtype == (torch.bfloat16 if has_bf16 else torch.float32)
    assert Arithmetic.for_answers("auto", "auto").dtype == torch.float32


@pytest.mark.usefixtures("no_gpu")
def test_a_precision_that_is_named_holds_everywhere() -> None:
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        assert Arithmetic.for_training("cpu", precision).dtype == dtype  # type: ignore[arg-type]
        assert Arithmetic.for_answers("cpu", precision).dtype == dtype  # type: ignore[arg-type]
