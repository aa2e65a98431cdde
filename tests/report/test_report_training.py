"""What the report says of a run that did not go smoothly."""

from tongwen.report.training import build_phase

STEP = {"kind": "train", "tokens": 512, "loss": 2.0, "tokens_per_second": 100.0}


def test_damaged_checkpoints_and_rollbacks_are_told_and_are_no_steps() -> None:
    rows = [
        {**STEP, "step": 1},
        {"kind": "damaged_checkpoint", "step": 1, "checkpoint": "step-2", "problem": "changed"},
        {**STEP, "step": 2, "tokens": 1024},
        {"kind": "rollback", "step": 1, "from_step": 2, "samples": 8},
    ]
    phase = build_phase("pretrain", rows)
    assert (phase.damaged, phase.rollbacks, phase.not_finite, phase.steps) == (1, 1, 0, 2)
    smooth = build_phase("pretrain", [rows[0]])
    assert (smooth.damaged, smooth.rollbacks) == (0, 0)
