"""What rounds made of a conversation, in words: the way from what was said to the checkpoints that learnt from it.

Pure. What is shown is a list of parts, each a sentence and the checkpoints that it is about.
"""

from typing import Any

from ui.words import Words


def in_words(say: Words, found: dict[str, Any], live: str) -> list[dict[str, Any]]:
    """`found` as the gateway tells it (`/api/conversations/{id}/lineage`); `live`: the live checkpoint's name."""
    own, grown = ([one for one in found["learnt"] if one["directly"] is direct] for direct in (True, False))
    parts = [(say(key), ones) for key, ones in (("learnt_own", own), ("learnt_grown", grown)) if ones]
    if found["open_round"] is not None:
        parts.append((say("learnt_open", id=found["open_round"]), []))
    if not parts:
        parts.append((say(_why_none(found)), []))
    elif not found["may_train"]:
        parts.append((say("learnt_no_more"), []))
    return [
        {"words": words, "checkpoints": [{"name": one["name"], "words": _standing(say, one, live)} for one in ones]}
        for words, ones in parts
    ]


def _why_none(found: dict[str, Any]) -> str:
    """The key of the sentence on a conversation that nothing learnt from."""
    if not found["may_train"]:
        return "learnt_not_allowed"
    if found["prompts"]["heldout"]:
        return "learnt_heldout"
    return "learnt_left" if found["prompts"]["left"] else "learnt_not_yet"


def _standing(say: Words, one: dict[str, Any], live: str) -> str:
    """Where a checkpoint stands, and which round made it."""
    state = "live" if one["name"] == live else str(one["state"])
    words = say.sentences.get(f"state_{state}", state)
    return words if one["round"] is None else f"{say('round', id=one['round'])}, {words}"
