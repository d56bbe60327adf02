"""The tables of docs/settings.md, from the code; `make settings` writes them anew.

The page's other words are written by hand; a table stands between two comments that name it.
"""

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cli.profiles import PROFILES, Profile
from cli.settings import HouseSettings
from server.settings import ServerSettings
from trainer.round_config import RoundConfig
from trainer.settings import TrainerSettings
from trainer.triggers import TriggerSettings
from ui.settings import UiSettings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "settings.md"
PREFIXES = {HouseSettings: "RUMINATE_", ServerSettings: "RUMINATE_SERVER_", UiSettings: "RUMINATE_UI_"}
TRAINER = "RUMINATE_TRAINER_"
_TABLE = re.compile(r"<!-- table: (\w+) -->\n.*?<!-- end -->", re.S)

Row = tuple[str, FieldInfo, str]


def variable(model: type[BaseModel], name: str) -> str:
    """The environment variable of a field."""
    alias = model.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else PREFIXES.get(model, TRAINER) + name.upper()


def rows(model: type[BaseModel]) -> list[Row]:
    """Each of its own fields: variable, field, and the sentence that the code has for it."""
    said = _docstrings(model)
    own = [name for name in model.__annotations__ if name in model.model_fields]
    found = ((name, model.model_fields[name]) for name in own)
    return [(variable(model, name), field, field.description or said.get(name, "")) for name, field in found]


def every() -> dict[str, FieldInfo]:
    """All settings that the code knows, by their variable."""
    models = (ServerSettings, TrainerSettings, TriggerSettings, RoundConfig, UiSettings, HouseSettings)
    return {name: field for model in models for name, field, _ in rows(model)}


def default_of(field: FieldInfo) -> str:
    """A default in words, as it would be written in the environment."""
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", {}):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return json.dumps(value)
    return str(value).replace(f"{ROOT}/", "")


def table(found: Iterable[Row]) -> str:
    """As Markdown, a row for each setting."""
    lines = ["| setting | default | what it does |", "|---|---|---|"]
    for name, field, words in found:
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        one_of = f" One of {', '.join(f'`{choice}`' for choice in choices if choice)}." if choices else ""
        default = default_of(field)
        lines.append(f"| `{name}` | {f'`{default}`' if default else 'empty'} | {_cell(words + one_of)} |")
    return "\n".join(lines)


def profiles() -> str:
    """What each profile sets in place of a default, as Markdown."""
    told = {name: _told(profile) for name, profile in PROFILES.items()}
    lines = ["| | " + " | ".join(f"`{name}`" for name in told) + " |", "|---" * (len(told) + 1) + "|"]
    for key in dict.fromkeys(key for values in told.values() for key in values):
        lines.append(f"| `{key}` | " + " | ".join(values.get(key, "") for values in told.values()) + " |")
    return "\n".join(lines)


def _told(profile: Profile) -> dict[str, str]:
    engine = profile.engine
    own = {f"RUMINATE_{name.upper()}": str(getattr(profile, name)).replace(f"{ROOT}/", "")
           for name in ("base_model", "reward_model", "judge_model", "base_mix", "template")}  # fmt: skip
    own |= {"RUMINATE_MAX_MODEL_LEN": str(engine.max_model_len), "RUMINATE_MAX_LORA_RANK": str(engine.max_lora_rank)}
    own |= {"RUMINATE_GPU_MEMORY_UTILIZATION": str(engine.gpu_memory_utilization)} if profile.gpu else {}
    own |= {"RUMINATE_MIN_MEMORY_GIB": f"{profile.memory_gib:g}"}
    own |= {f"RUMINATE_SERVER_{name}": value for name, value in profile.server.items()}
    return own | {f"{TRAINER}{name}": value for name, value in profile.trainer.items()}


def _house() -> str:
    """With what gateway and trainer read beside, under names of the house's kind."""
    known = rows(HouseSettings)
    names = {name for name, _, _ in known}
    more = [row for row in rows(ServerSettings) if not row[0].startswith("RUMINATE_SERVER_") and row[0] not in names]
    return table(known + more)


def _prefixed(model: type[BaseModel]) -> Callable[[], str]:
    prefix = PREFIXES.get(model, TRAINER)
    return lambda: table(row for row in rows(model) if row[0].startswith(prefix))


TABLES: Mapping[str, Callable[[], str]] = {
    "house": _house,
    "gateway": _prefixed(ServerSettings),
    "trainer": _prefixed(TrainerSettings),
    "triggers": _prefixed(TriggerSettings),
    "round": _prefixed(RoundConfig),
    "page": _prefixed(UiSettings),
    "profiles": profiles,
}


def filled(page: str) -> str:
    """The page with each table as the code has it."""
    return _TABLE.sub(lambda found: f"<!-- table: {found[1]} -->\n{TABLES[found[1]]()}\n<!-- end -->", page)


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The string under each field."""
    (body,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = str(below.value.value)
    return found


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
