"""Rules hold for rows of every kind of mix, with what each row brings."""

import json

import pytest
from support.tiny_policy import prompt

from trainer.house import House
from trainer.prompts import wording
from trainer.settings import TrainerSettings
from trainer.verify import Regex, read_checks


def a_mix(kind, rows, folder, monkeypatch):
    """The same rows as a jsonl or parquet file, a folder of `datasets`, or a hub's data set."""
    import datasets

    if kind == "jsonl":
        path = folder / "mix.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)
    table = datasets.Dataset.from_list(rows)
    if kind == "parquet":
        table.to_parquet(folder / "mix.parquet")
        return str(folder / "mix.parquet")
    if kind == "folder":
        table.save_to_disk(folder / "mix")
        return str(folder / "mix")
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: table)  # a hub is not at hand
    return "somebody/prompts"


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "folder", "hub"])
def test_rules_hold_for_every_kind_of_mix(tmp_path, monkeypatch, kind):
    rows = [
        {"messages": prompt(1), "source": "maths", "arguments": {"answer": "4", "schema": None}},
        {"messages": prompt(2), "source": "form", "arguments": {"answer": None, "schema": {"type": "array"}}},
        {"messages": prompt(3), "source": "chat", "arguments": None},
    ]
    site_mix = a_mix(kind, rows, tmp_path, monkeypatch)
    file = tmp_path / "reward.toml"
    file.write_text(
        "[[models]]\nkind='judge'\nurl='http://nowhere'\nmodel='m'\n"
        "[rules.maths]\nkind='regex'\npattern='{answer}'\n[rules.form]\nkind='json_schema'\n"
    )
    settings = TrainerSettings(home=tmp_path / "home", base_mix=site_mix, reward_model=str(file))
    house = House(settings)
    answers = [(prompt(1), "4"), (prompt(1), "5"), (prompt(2), "[1]"), (prompt(2), "{}")]
    assert house.reward.score(answers) == [1, 0, 1, 0]
    house.close()


def test_arguments_may_be_json_as_text_and_anything_else_is_said(tmp_path):
    path = tmp_path / "mix.jsonl"
    path.write_text(json.dumps({"messages": prompt(1), "source": "maths", "arguments": '{"answer": "4"}'}))
    rules = {"maths": Regex(kind="regex", pattern="{answer}")}
    assert read_checks(path, rules, [])[wording(prompt(1))].arguments == {"answer": "4"}
    path.write_text(json.dumps({"messages": prompt(1), "source": "maths", "arguments": "4"}))
    with pytest.raises(ValueError, match="line 1: expected `arguments` as an object"):
        read_checks(path, rules, [])
