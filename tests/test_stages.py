from pathlib import Path

import pytest

from tongwen.errors import InputError
from tongwen.road.stages import ROAD
from tongwen.stages import STAGES, find_model_folder


def made(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")


def test_lower_floors_know_the_stages_in_the_order_of_the_road() -> None:
    assert tuple(stage.name for stage in ROAD) == STAGES


def test_a_stage_folder_stands_for_the_model_in_it(tmp_path: Path) -> None:
    made(tmp_path / "tuned" / "model")
    assert find_model_folder(tmp_path / "tuned") == tmp_path / "tuned" / "model"
    assert find_model_folder(tmp_path / "tuned" / "model") == tmp_path / "tuned" / "model"


def test_of_a_run_the_latest_model_is_taken(tmp_path: Path) -> None:
    stages = tmp_path / "stages"
    made(stages / "pretrain" / "model")
    assert find_model_folder(tmp_path) == stages / "pretrain" / "model"
    made(stages / "extend" / "model", stages / "quantize" / "model")
    assert find_model_folder(tmp_path) == stages / "extend" / "model"
    assert find_model_folder(tmp_path, is_quantized=True) == stages / "quantize" / "model"
    made(stages / "export/model")
    assert find_model_folder(tmp_path) == stages / "export/model"


def test_a_folder_without_a_model_is_refused_with_the_places_looked_at(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json in it or in model, stages/export/model"):
        find_model_folder(tmp_path)
    with pytest.raises(InputError, match="holds no quantized model"):
        find_model_folder(tmp_path, is_quantized=True)
    with pytest.raises(InputError, match="there is no model folder"):
        find_model_folder(tmp_path / "nowhere")
