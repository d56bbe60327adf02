"""The engine of rounds of full weights, with a real vLLM server on the CPU in its place."""

from pathlib import Path

import httpx
import pytest
from support.engine import RealEngine
from support.tiny_adapters import write_tiny_full

from trainer.gateway import Gateway
from trainer.own_engine import OwnEngine


def test_it_samples_from_the_weights_that_it_is_asked_for(real_engine: RealEngine, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    if not real_engine.answers():
        real_engine.start()
    real_engine.forget_adapters()
    folders = {"base": real_engine.model, "other": write_tiny_full(real_engine.model, tmp_path / "other", 5)}
    free = {"new_version": "default"}  # a gateway of an earlier test may have named what it has: then it is refused
    httpx.post(f"{real_engine.url}/update_weight_version", json=free, timeout=30).raise_for_status()
    house = Gateway("http://127.0.0.1:9", "")
    engine = OwnEngine(real_engine.url, house, 60.0)
    prompts = [[5, 6, 7, 8], [9, 10, 11], [5, 6, 7, 8]]
    written: dict[str, list[list[int]]] = {}
    try:
        for name, folder in folders.items():
            engine.load_adapter(name, folder)
        for name in ("other", "base", "other"):
            samples = engine.sample(name, prompts, 3, max_tokens=20, temperature=1.0, seed=1)
            assert [one.prompt for one in samples] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
            assert written.setdefault(name, [one.token_ids for one in samples]) == [one.token_ids for one in samples]
            model = AutoModelForCausalLM.from_pretrained(folders[name], dtype=torch.float32).eval()
            pairs = [(prompts[one.prompt], one.token_ids) for one in samples]
            again = engine.logprobs(name, pairs)
            for (prompt, completion), one, scored in zip(pairs, samples, again, strict=True):
                with torch.inference_mode():
                    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
                told = torch.log_softmax(logits, -1).gather(-1, torch.tensor(completion)[:, None]).squeeze(-1).tolist()
                assert one.logprobs == pytest.approx(told, abs=1e-3)
                assert scored == pytest.approx(told, abs=1e-3)
        assert written["base"] != written["other"]
        assert written["base"][:3] != written["base"][6:], "equal prompts got equal samples"
    finally:
        engine.load_adapter("base", real_engine.model)
        engine.logprobs("base", [([1], [2])])  # it is left with the weights that it was started with
        engine.close()
        house.close()
