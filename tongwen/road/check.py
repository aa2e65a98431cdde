"""What is certain to fail by the recipe alone, rejected before the first stage runs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tongwen.errors import InputError, RecipeError
from tongwen.flow.stage import Stage
from tongwen.model.config import ModelConfig
from tongwen.plan.settings import check_windows
from tongwen.road.needed import check_packages
from tongwen.road.recipe import Recipe
from tongwen.road.stages import planned_run
from tongwen.stages import TRAINING_STAGES
from tongwen.train.settings import TrainSettings
from tongwen.train.trackers import check_trackers

_SAMPLE_FILES = "{crawl}/gold/"
"""Where the sample web's questions and dialogues are."""


def check_road(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Check that the stages of a recipe fit together.

    Args:
        recipe: the whole recipe.
        stages: those that shall run.

    Raises:
        RecipeError: sequences do not fit the window, or a stage reads files of the sample web,
            which is not written.
        InputError: Python packages are not installed, the base model cannot be read, its tokenizer
            is not there or cannot write the dialogues to tune on, or a file of the user's that
            tuning reads holds no dialogues.
    """
    names = {stage.name for stage in stages}
    check_packages(recipe, [stage.name for stage in stages], reports=True)
    for section in TRAINING_STAGES:
        if section in names:
            check_trackers(getattr(recipe, section).trackers)
    if recipe.pretrain is None or recipe.pretrain.base is None:
        check_windows(
            ModelConfig.from_settings(recipe.model, recipe.tokenizer.vocabulary_size),
            _training(recipe, names),
        )
    elif "pretrain" in names:
        _check_base(recipe, Path(recipe.pretrain.base), trains=names)
    if "tokenizer" in names and recipe.tokenizer.model is not None:
        _check_tokenizer(recipe, Path(recipe.tokenizer.model))
    if "tune" in names and recipe.tune is not None:
        from tongwen.tune.check import check_files  # its readers take a second to load

        check_files(recipe.tune)
    if recipe.crawl.sample is None:
        for section, key, path in _named_files(recipe):
            if section in names and path.startswith(_SAMPLE_FILES):
                raise RecipeError(
                    f"{section}.{key} names {path}, a file of the sample web, which this recipe "
                    "leaves out",
                    hint=f"name a file of your own, leave the stage out with {section} = false, or "
                    "take the sample web too with [crawl.sample]",
                )


def _check_tokenizer(recipe: Recipe, path: Path) -> None:
    from tongwen.tokenizer.folder import find_tokenizer_folder
    from tongwen.tokenizer.text import Tokenizer

    base = recipe.pretrain.base if recipe.pretrain is not None else None
    key = "pretrain.base" if base == recipe.tokenizer.model else "tokenizer.model"
    try:
        tokenizer = Tokenizer.load(find_tokenizer_folder(path))
        _ = tokenizer.end_id
    except InputError as error:
        raise InputError(f"{key} is {path}: {error.message}", hint=error.hint) from error
    has_dialogues = recipe.tune is not None and recipe.tune.has_dialogues
    if has_dialogues and not tokenizer.has_chat:
        raise InputError(
            f"{key} is {path}, whose tokenizer cannot write the dialogues of [tune]: it has "
            "neither a chat template nor <|im_start|> and <|im_end|>",
            hint=f"tongwen tokenizer grow {path} --out NEW adds them; name NEW as pretrain.base",
        )


def _check_base(recipe: Recipe, path: Path, *, trains: set[str]) -> None:
    """The base model's shape, tensors and window, without reading a weight."""
    from tongwen.model.folder import check_folder
    from tongwen.stages import find_model_folder

    config = check_folder(find_model_folder(path))
    check_windows(config, _training(recipe, trains))


def _training(recipe: Recipe, names: set[str]) -> dict[str, TrainSettings]:
    """Runs of the stages that are to run."""
    planned = planned_run(recipe).stages
    return {key: value for key, value in planned.items() if key.partition(".")[0] in names}


def _named_files(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """Section, key and path of the files that tune and evaluate read."""
    if recipe.tune is not None:
        yield from (("tune", "dialogues", path) for path in recipe.tune.dialogues)
        yield from (("tune", "pairs", pair.path) for pair in recipe.tune.pairs)
    if recipe.evaluate is not None:
        yield from (("evaluate", "tasks", task.path or "") for task in recipe.evaluate.tasks)
