"""Which names of settings there are. A name that nobody reads would change nothing, and nobody would say so."""

from collections.abc import Iterable
from difflib import get_close_matches

PREFIX = "RUMINATE_"
BESIDE = frozenset({
    "RUMINATE_GATEWAY", "RUMINATE_API_KEY", "RUMINATE_TEACHER_KEY",  # read by the commands
    "RUMINATE_DEVICE",  # by requirements/install.sh
    "RUMINATE_TEST_STORES",  # by the tests
})  # fmt: skip
"""Variables that are no fields of settings."""


def known() -> frozenset[str]:
    """Every variable that is read, by whichever process."""
    from cli.settings import HouseSettings
    from server.settings import ServerSettings
    from trainer.settings import TrainerSettings
    from ui.settings import UiSettings

    found = set(BESIDE)
    for model in (HouseSettings, ServerSettings, TrainerSettings, UiSettings):
        prefix = str(model.model_config["env_prefix"])
        for name, field in model.model_fields.items():
            alias = field.validation_alias
            found.add(alias if isinstance(alias, str) else prefix + name.upper())
    return frozenset(found)


def unread(environment: Iterable[str]) -> list[str]:
    """A sentence for each name in the environment that looks like a setting and is none."""
    there, sentences = known(), []
    for name in sorted(set(environment) - there):
        if name.startswith(PREFIX):
            like = get_close_matches(name, there, 1)
            meant = f"is {like[0]} meant? " if like else ""
            sentences.append(f"{name} is no setting and changes nothing; {meant}docs/settings.md lists all")
    return sentences
