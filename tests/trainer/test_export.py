"""A checkpoint's card, and its export: the adapter as it is, or a model that answers exactly as base and adapter do."""

import json
from pathlib import Path

import pytest

from trainer.card import card
from trainer.exam import before_and_after
from trainer.export import CannotExport, export_adapter, export_merged
from trainer.files import sha256, write_json
from trainer.gate import Answers
from trainer.policy import ADAPTER_FILES, base_hashes, load_policy, save_adapter
from trainer.prompts import Prompt
from trainer.round_config import RoundConfig
from trainer.settings import REPOSITORY

BASE = REPOSITORY / "models" / "tiny" / "policy"
SEQUENCE = [[1, 300, 301, 302, 900, 901, 17, 18, 19, 20, 1000, 1001]]


def manifest(folder: Path) -> dict:
    checks = [{"name": "judge", "passed": True, "words": "a | b"}, {"name": "kl", "passed": False, "words": "far"}]
    verdict = {"publish": False, "words": "rejected: far", "checks": checks, "prompts": 192, "samples": 4}
    return {
        "format": 1, "name": "v7", "kind": "adapter", "base": {"name": "policy"} | base_hashes(BASE),
        "rank": 8, "thinking_format": "think", "parent": "v3", "round": 9, "config": RoundConfig().model_dump(),
        "files": {name: sha256(folder / name) for name in ADAPTER_FILES}, "prompts": {"recorded": 5, "mix": 275},
        "verdict": verdict | {"confidence": 0.95},
    }  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the embedded policy whose changes are large enough to see."""
    import torch

    torch.set_num_threads(1)
    model = load_policy(BASE, None, RoundConfig(dtype="float32"))
    for name, values in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(values, std=0.02)
    folder = save_adapter(model, tmp_path_factory.mktemp("checkpoints") / "v7")
    said = manifest(folder)
    write_json(folder / "manifest.json", said)
    (folder / "README.md").write_text(card(said))
    return folder


def test_a_card_says_where_it_comes_from_and_every_check(checkpoint: Path) -> None:
    page = (checkpoint / "README.md").read_text()
    for words in ("# v7: a LoRA adapter of policy", "round 9 from v3, and rejected by its gate", "5 prompts that users",
                  "275 of the base mix", "Rejected: far.", "| judge | passed | a \\| b |", "| kl | not passed | far |",
                  "192 held-out prompts, 4 answers each", f"| learning_rate | {RoundConfig().learning_rate} |",
                  *base_hashes(BASE).values(), sha256(checkpoint / "adapter_model.safetensors")):  # fmt: skip
        assert words in page


def test_an_adapter_is_exported_as_it_is(checkpoint: Path, tmp_path: Path) -> None:
    found = export_adapter(checkpoint, tmp_path / "new" / "v7")
    assert {path.name for path in found.iterdir()} == {*ADAPTER_FILES, "manifest.json", "README.md"}
    assert json.loads((found / "manifest.json").read_text())["files"] == {n: sha256(found / n) for n in ADAPTER_FILES}
    with pytest.raises(CannotExport, match="is there already"):
        export_adapter(checkpoint, tmp_path / "new" / "v7")


def test_a_merged_model_loads_in_transformers_and_gives_the_same_log_probabilities(
    checkpoint: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = export_merged(checkpoint, str(BASE), "chatml", tmp_path / "v7")

    def logprobs(model):
        with torch.inference_mode():
            return torch.log_softmax(model.eval()(input_ids=torch.tensor(SEQUENCE)).logits.float(), -1)

    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    plain = logprobs(base)
    ours = logprobs(PeftModel.from_pretrained(base, checkpoint))
    merged = logprobs(AutoModelForCausalLM.from_pretrained(found))
    assert (ours - plain).abs().max() > 0.05, "the adapter must matter, or this shows nothing"
    assert (merged - ours).abs().max() < 1e-4
    mine, theirs = AutoTokenizer.from_pretrained(found), AutoTokenizer.from_pretrained(BASE)
    asked = [{"role": "user", "content": "Hello"}]
    assert mine.apply_chat_template(asked, tokenize=False) == theirs.apply_chat_template(asked, tokenize=False)
    assert "library_name: transformers" in (found / "README.md").read_text()


def test_an_altered_checkpoint_or_another_base_is_not_exported(checkpoint: Path, tmp_path: Path) -> None:
    copied = export_adapter(checkpoint, tmp_path / "v7")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    with pytest.raises(CannotExport, match="made for another base"):
        export_merged(copied, str(other), "chatml", tmp_path / "merged")
    with pytest.raises(CannotExport, match="another base than .*zero .weights hash"):  # of the same configuration
        export_merged(copied, str(BASE.with_name("zero")), "chatml", tmp_path / "merged")
    weights = copied / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CannotExport, match="altered or cut off"):
        export_adapter(copied, tmp_path / "again")
    with pytest.raises(CannotExport, match="no published checkpoint"):
        export_adapter(tmp_path / "nothing", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    assert not (tmp_path / "merged").exists()


def test_a_checkpoint_from_before_is_exported_by_the_configuration_alone(checkpoint: Path, tmp_path: Path) -> None:
    copied = export_adapter(checkpoint, tmp_path / "v7")
    said = json.loads((copied / "manifest.json").read_text())
    del said["base"]["weights_hash"]
    write_json(copied / "manifest.json", said)
    assert (export_merged(copied, str(BASE), "chatml", tmp_path / "merged") / "model.safetensors").is_file()


def test_samples_of_before_and_after_are_of_prompts_that_no_user_wrote() -> None:
    from thinking.format import THINK

    def asked(source: str) -> Prompt:
        return Prompt([{"role": "user", "content": f"{source}?"}], source)

    def said(words: str) -> list:
        return [THINK.parse(THINK.render("plan", words), finished=True)]

    old, new = (Answers([said(word), said(word)], 1.0, 1.0) for word in ("old", "new"))
    found = before_and_after([asked("recorded"), asked("mix")], old, new)
    assert found == [{"prompt": "mix?", "before": "old", "after": "new"}]
