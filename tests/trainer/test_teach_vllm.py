"""A teacher behind a real vLLM server."""

from pathlib import Path

from support.engine import RealEngine

from trainer.prompts import read_mix
from trainer.sft import read_lessons
from trainer.teach import Answers, Teacher, as_folder, teach, to_ask


def test_a_thinking_model_behind_a_real_engine_teaches(real_engine: RealEngine, tmp_path: Path):
    """It thinks by itself; its server keeps the thought apart. The tiny one does not heed instructions."""
    answers = Answers(tmp_path / "a.jsonl")
    mix = [one.messages for one in read_mix(Path(__file__).parents[2] / "models" / "tiny" / "prompts" / "train.jsonl")]
    teacher = Teacher(f"{real_engine.url}/v1", "ruminate-v0", connections=4, max_tokens=200, languages="")
    told = teach(teacher, to_ask([one for one in mix if len(one) == 1][:6], answers, teacher), answers)
    assert told.kept + sum(told.left.values()) == 6
    assert told.completion_tokens > 0
    assert as_folder(answers, tmp_path / "lessons") == told.kept
    assert all(one.thought and one.response for one in read_lessons(str(tmp_path / "lessons")))
