"""Tagged text of which a share is well-formed, in the template that serves and trains zero mode."""

import random
from pathlib import Path

from transformers import AutoTokenizer

from models.tagged import KEPT, SLIPS, tagged, tagged_rows
from models.world.talk import example
from thinking.format import ZERO
from thinking.splitter import Ending
from thinking.templates import template_text

TINY = Path(__file__).parents[2] / "models" / "tiny"


def test_a_share_is_well_formed_and_the_rest_slips_in_every_way() -> None:
    rng = random.Random(3)
    examples = [example(rng, thinks=True) for _ in range(400)]
    read = [ZERO.parse(tagged(one, rng), finished=True) for one in examples]
    kept = [parsed.well_formed for parsed in read]
    assert abs(sum(kept) / len(kept) - KEPT) < 0.08
    for one, parsed in zip(examples, read, strict=True):
        if parsed.well_formed:
            assert (parsed.reasoning, parsed.response) == (one.thought.strip(), one.response.strip())
    endings = {parsed.ending for parsed in read}
    assert endings == {Ending.COMPLETE, Ending.NO_THOUGHT, Ending.MALFORMED}
    assert len(SLIPS) == 4


def test_the_answer_is_learnt_and_the_prompt_is_not() -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY / "policy")
    tokenizer.chat_template = template_text("zero")
    rng = random.Random(4)
    for one, row in zip(
        examples := [example(rng, thinks=n % 2 == 0) for n in range(20)],
        tagged_rows(tokenizer, examples, 1),
        strict=True,
    ):
        learnt = [wanted for wanted in row.wanted if wanted != -100]
        assert row.ids[-len(learnt) :] == learnt
        assert learnt[-1] == tokenizer.eos_token_id
        prompt = tokenizer.decode(row.ids[: -len(learnt)])
        assert prompt.endswith("Assistant:" if one.thought else "</think> <response>\n")
        assert one.response.strip() in tokenizer.decode(learnt)
