"""Settings of the extend stage."""

from dataclasses import dataclass

from tongwen.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class ExtendSettings(TrainSettings):
    """Continue on longer sequences with a larger RoPE base (Xiong et al. 2023, arXiv:2309.16039)."""

    rope_theta: float = 10_000_000.0
