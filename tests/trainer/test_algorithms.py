"""Each algorithm through the same round: small and real, by the same gateway, to a checkpoint that is better."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support.tiny_policy import ANIMALS, COLOURS, prompt

from trainer.loop import FAILED, PUBLISHED, claim, work_on

FAR = {"gate_max_kl": 50.0, "gate_max_repetition": 1.0, "gate_max_length_ratio": 4.0}  # one word of ten for everything
LEARNS = {
    "ppo": {"steps": 14, "prompts_per_step": 6, "group_size": 8, "micro_batch": 24, "learning_rate": 1e-2},
    "dpo": {"steps": 12, "prompts_per_step": 8, "group_size": 8, "micro_batch": 16, "learning_rate": 1e-2},
}


@pytest.mark.parametrize("algorithm", ["ppo", "dpo"])
def test_a_round_learns_what_is_rewarded(site, algorithm):
    round_id = site.request(algorithm=algorithm, **LEARNS[algorithm], **FAR)
    house = site.open()
    assert work_on(house, claim(house)) == PUBLISHED, site.round(round_id).verdict or site.round(round_id).error
    row, figures = site.round(round_id), site.metrics(round_id)
    assert row.step == LEARNS[algorithm]["steps"]
    assert row.verdict["judge"]["low"] > 0
    manifest = json.loads((Path(site.live().path) / "manifest.json").read_text())
    assert manifest["config"]["algorithm"] == algorithm
    assert {"loss", "grad_norm", "entropy", "seconds_step", "malformed_share"} <= set(figures)
    home = site.settings.home / "rounds" / str(round_id)
    assert sorted(path.name for path in home.iterdir()) == ["plan.json", "prompts.json", "samples.json", "verdict.json"]
