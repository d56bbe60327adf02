"""Zero mode in a whole house: a base that was not taught to chat thinks and responds in tags, and a round trains it."""

import json
from pathlib import Path

import pytest
from openai import OpenAI
from support import gateways
from support.components import require_component
from support.crowd import client_of, prompts
from support.house import RunningHouse, running_house

from cli.profiles import TINY

ROUND = {
    "nice": 0, "steps": 2, "prompts_per_step": 4, "group_size": 4, "learning_rate": 0.004,
    "gate_prompts": 8, "gate_samples": 2,
}  # fmt: skip


@pytest.mark.timeout(1800)
def test_a_house_in_zero_mode_chats_and_learns(tmp_path: Path) -> None:
    require_component((Path(TINY.zero_model) / "model.safetensors").is_file(), "models/tiny/zero (make models)")
    settings = {f"trainer_{name}": value for name, value in ROUND.items()}
    home = tmp_path / "house"
    with running_house(home, zero="true", ui="false", **gateways.stores_of(home), **settings) as house:
        chat(house, client_of(house.gateway))
        train(house)


def chat(house: RunningHouse, client: OpenAI) -> None:
    """Some answers keep to the tags: thought and response come apart, whole and streamed, and end at the tag."""
    kept = 0
    for number, messages in enumerate(prompts("heldout", 12)):
        wish = {"model": "ruminate", "messages": messages, "temperature": 0.7, "seed": number, "max_tokens": 400}
        whole = client.chat.completions.create(**wish).choices[0]
        said = (getattr(whole.message, "reasoning", None) or "", whole.message.content or "")
        assert not any(tag in part for part in said for tag in ("<think>", "</think>", "<response>", "</response>"))
        if said[0] and said[1] and whole.finish_reason == "stop":
            kept += 1
        if number == 0:
            reasoning = content = ""
            for piece in client.chat.completions.create(**wish, stream=True):
                reasoning += getattr(piece.choices[0].delta, "reasoning", None) or "" if piece.choices else ""
                content += piece.choices[0].delta.content or "" if piece.choices else ""
            assert (reasoning, content) == said
    assert kept >= 2, f"{kept} of 12 answers have a thought and a response"
    off = client.chat.completions.create(
        model="ruminate", messages=prompts("heldout", 1)[0], temperature=0, max_tokens=400,
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    ).choices[0]  # fmt: skip
    assert off.finish_reason == "stop"
    assert off.message.content
    assert not getattr(off.message, "reasoning", None)


def train(house: RunningHouse) -> None:
    done = house.ruminate("train", "--now", "--json", timeout=1500)
    assert done.returncode in (0, 3), done.stdout + done.stderr + house.logged("trainer")
    view = json.loads(done.stdout)
    found = house.rows("select name, step, value from round_metrics")
    newest = "select manifest ->> 'thinking_format' as thinking_format from checkpoints order by id desc limit 1"
    (manifest,) = house.rows(newest)
    shares = [row.value for row in found if row.name == "malformed_share"]
    assert len(shares) == 2
    assert all(0.3 <= share <= 0.95 for share in shares), shares  # a base, not taught yet
    ratios = [row.value for row in found if row.name == "is_ratio_mean"]
    assert ratios == pytest.approx([1.0] * 2, abs=0.05)  # what was sampled and stopped is what is trained on
    assert manifest.thinking_format == "zero"
    assert view["step"] == 2
