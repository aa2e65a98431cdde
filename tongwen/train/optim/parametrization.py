"""How weights start and how fast they learn, so that settings found on a small model hold for a
large one.

CompleteP (Dey et al. 2025, arXiv:2505.01618, table 1, alpha = 1) on AdamW. With m the width and l
the depth in units of a base model's, it multiplies each residual branch by 1/l and the logits by
1/m, and gives matrices of the layers an initial deviation of 1/sqrt(m), a rate of 1/m and an
epsilon of 1/(m l). We keep the model plain: a constant factor in front of a weight is the same as
starting the weight that much smaller and moving it that much slower (Yang et al. 2022,
arXiv:2203.03466, lemma J.1). So the factor 1/l goes into the two projections that end a branch, and
1/m into the last norm, and what is saved is a Llama like any other.
"""

from dataclasses import dataclass

from tongwen.model.config import ModelConfig
from tongwen.train.settings import TrainSettings

BRANCH_ENDS = ("o_proj.weight", "down_proj.weight")
LAST_NORM = "model.norm.weight"


@dataclass(frozen=True)
class Scale:
    """Factors of one parameter.

    Attributes:
        initial: of its initial deviation, or of its first value where that is one.
        rate: of the learning rate; weight decay a step is not scaled with it.
        epsilon: of Adam's epsilon.
    """

    initial: float = 1.0
    rate: float = 1.0
    epsilon: float = 1.0


def scale_of(name: str, config: ModelConfig, settings: TrainSettings) -> Scale:
    """The factors of the parameter `name`; all one without a base model."""
    base = settings.complete_p
    if base is None:
        return Scale()
    width = config.hidden_size / base.base_hidden_size
    depth = config.num_hidden_layers / base.base_layers
    if name == LAST_NORM:
        return Scale(1 / width, 1 / width)
    if not name.startswith("model.layers."):
        return Scale(epsilon=1 / width)
    if name.endswith(("norm.weight", ".bias")):
        return Scale(epsilon=1 / depth)
    # Adam divides by the gradient's size: 1/depth in the weight makes the gradient depth times
    # larger, so that the epsilon of 1/(width depth) becomes 1/width where the factor is in it.
    # `initial_weights` divides them by the root of the depth already; that is taken back here.
    is_end = name.endswith(BRANCH_ENDS)
    branch = 1 / depth if is_end else 1.0
    return Scale(
        initial=branch * (depth if is_end else 1.0) ** 0.5 / width**0.5,
        rate=branch / width,
        epsilon=1 / (width * depth * branch),
    )
