"""Text in tags as a base model may have read it: for zero mode, where nothing but a paragraph says how to answer.

The world's examples under the prefix of the template `zero`. A share of them keeps to it; the others slip as people do,
and so does the model that learns from them: what a first round has to teach it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from models.train_policy import Row
from models.world.talk import Example
from thinking.format import ZERO, ZERO_RESPONSE

KEPT = 0.38  # share of the examples with every tag in its place; at temperature 0.7 a model keeps to it more often
SLIPS = ("bare", "unthought", "untagged", "unclosed")


def tagged(one: Example, rng: random.Random) -> str:
    """What stands after `Assistant:` for an example; after an empty thought, which the prompt has, the response."""
    if not one.thought:
        return ZERO_RESPONSE.render("", one.response)
    thought, response = one.thought.strip(), one.response.strip()
    if rng.random() < KEPT:
        return " " + ZERO.render(thought, response)
    return {
        "bare": f" {response}",
        "unthought": f" <response>\n{response}\n</response>",
        "untagged": f" <think>\n{thought}\n</think>\n\n{response}",
        "unclosed": f" <think>\n{thought}\n\n{response}\n</response>",
    }[rng.choice(SLIPS)]


def tagged_rows(tokenizer: Any, examples: Iterable[Example], seed: int) -> Iterator[Row]:
    """Examples as rows: the answer is learnt, the prompt is not. `tokenizer` has the template `zero`."""
    rng = random.Random(seed)
    for one in examples:
        options: dict[str, Any] = {} if one.thought else {"enable_thinking": False}
        text = tokenizer.apply_chat_template(list(one.messages), tokenize=False, add_generation_prompt=True, **options)
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = [*prompt, *tokenizer(tagged(one, rng), add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        yield Row(ids, [-100] * (len(prompt) - 1) + ids[len(prompt) :] + [-100], [])
