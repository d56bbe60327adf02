"""Settings of the house: what `ruminate up` starts, and where the other commands find the gateway."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cli.profiles import PROFILES, Profile, detect
from cli.running import is_running

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM can be started for


class BadSetting(Exception):
    """A setting is wrong; the message names the key, the value and what was expected."""


class HouseSettings(BaseSettings):
    """Read from the environment (prefix RUMINATE_). Each field says what it does to the one who runs the house."""

    model_config = SettingsConfigDict(env_prefix="RUMINATE_", frozen=True, extra="ignore")

    home: Path = Field(Path(".ruminate"), description="Folder of the database, checkpoints, rounds, logs and spool.")
    profile: str = Field(
        "auto", description=f"One of auto, {', '.join(PROFILES)}; auto goes by the GPU and its memory."
    )
    host: str = Field("127.0.0.1", description="Address that the gateway and the page listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the gateway; 0 lets the system choose.")
    ui_port: int = Field(7860, ge=0, le=65535, description="Port of the chat page; 0 lets the system choose.")
    database_url: str = Field("", description="SQLAlchemy URL; empty means SQLite in the home folder.")
    redis_url: str = Field("", description="Redis for several gateways; empty means none.")
    start_timeout_s: float = Field(
        180.0, gt=0, description="Longest wait for the engine; a hub download may need more."
    )
    min_memory_gib: float = Field(
        -1.0, description="Memory that must be free at the start; -1 takes the profile's figure."
    )
    check_budget: bool = Field(
        True, description="Whether a start is refused that by the budget shown cannot fit; it is an estimate."
    )
    max_model_len: int = Field(
        0, ge=0, description="Longest conversation that the engine takes, in tokens; 0 takes the profile's."
    )
    gpu_memory_utilization: float = Field(
        0.0, ge=0, lt=1, description="The engine's share of the card, the rest is the trainer's; 0 takes the profile's."
    )
    ui: bool = Field(True, description="Whether to start the chat page.")
    trainer: bool = Field(True, description="Whether to start the trainer.")
    zero: bool = Field(
        False,
        description="Zero mode: a base model without chat training, told by its template alone to write thought and "
        "response in tags, is served and trained. Give it a home of its own.",
    )
    template: Literal["", "chatml", "llama3"] = Field(
        "", description="Chat template of engine and trainer; empty takes the profile's. Zero mode has its own."
    )
    base_model: str = Field("", description="Folder or hub name of the base model; empty takes the profile's.")
    reward_model: str = Field("", description="Sequence classifier that rewards; empty takes the profile's.")
    judge_model: str = Field("", description="Sequence classifier that judges; empty takes the profile's.")
    base_mix: str = Field("", description="Prompts that fill rounds up, jsonl or parquet; empty takes the profile's.")
    max_lora_rank: int = Field(0, description="Highest rank of an adapter; 0 takes the profile's, which is 16.")
    media_domains: str = Field(
        "", description="Hosts, with commas, of which a picture may be asked for by its URL; empty: of none."
    )
    hub: bool = Field(False, description="Whether the tiny profile may ask a model hub; other profiles always may.")

    @field_validator("profile")
    @classmethod
    def _known_profile(cls, value: str) -> str:
        if value not in ("auto", *PROFILES):
            raise ValueError(f"expected one of auto, {', '.join(PROFILES)}")
        return value

    @field_validator("max_lora_rank")
    @classmethod
    def _ranks_of_engines(cls, value: int) -> int:
        if value not in (0, *LORA_RANKS):
            raise ValueError(f"expected one of 0, {', '.join(map(str, LORA_RANKS))}")
        return value

    @property
    def database(self) -> str:
        """The database URL in force."""
        from db.place import in_home  # the image of an engine alone has no db/

        return self.database_url or in_home(self.home)

    @property
    def logs(self) -> Path:
        """Where each process writes its log file."""
        return self.home / "logs"

    @property
    def run_file(self) -> Path:
        """Where a running house says its addresses, for the other commands."""
        return self.home / "run" / "house.json"

    @property
    def first_admin_key(self) -> Path:
        """Where the gateway puts the first administrator's key, in a house where everybody needs one."""
        return self.home / "admin.key"

    def chosen_profile(self) -> Profile:
        """The profile in force on this machine, with the models and prompts that were set in its place."""
        profile = detect() if self.profile == "auto" else PROFILES[self.profile]
        if self.zero:
            profile = profile.in_zero_mode()
        elif self.template:
            profile = replace(profile, template=self.template)
        names = ("base_model", "reward_model", "judge_model", "base_mix")
        sizes = {name: getattr(self, name) for name in ("max_model_len", "gpu_memory_utilization", "max_lora_rank")}
        engine = replace(profile.engine, **{name: size for name, size in sizes.items() if size})
        if domains := tuple(filter(None, map(str.strip, self.media_domains.split(",")))):
            engine = replace(engine, media_domains=domains)
        named = {name: getattr(self, name) for name in names if getattr(self, name)}
        return replace(profile, engine=engine, **named)


def load(**overrides: Any) -> HouseSettings:
    """Read the settings. Raises BadSetting naming key, value and what was expected."""
    try:
        return HouseSettings(**{k: v for k, v in overrides.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        key = "RUMINATE_" + "_".join(str(part) for part in first["loc"]).upper()
        raise BadSetting(f"{key} is {first['input']!r}: {first['msg'].removeprefix('Value error, ')}") from error


def gateway_url(settings: HouseSettings) -> str:
    """Where the gateway is: RUMINATE_GATEWAY, else what the running house wrote down, else the default address.

    Raises BadSetting on a RUMINATE_GATEWAY that is no address.
    """
    if url := os.environ.get("RUMINATE_GATEWAY"):
        try:
            parts = urlsplit(url)
        except ValueError:  # a bracket that does not close
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadSetting(f"RUMINATE_GATEWAY is {url!r}: expected an address such as http://127.0.0.1:8000")
        return url
    if is_running(settings.home):  # else the file is left of a house that was killed, and its port may be anybody's
        try:
            return str(json.loads(settings.run_file.read_text())["gateway"])
        except (OSError, ValueError, KeyError):
            pass  # it has not come up yet
    port = settings.port or HouseSettings.model_fields["port"].default  # 0: chosen by the system, once it runs
    return f"http://127.0.0.1:{port}"


def own_key(settings: HouseSettings) -> str | None:
    """RUMINATE_API_KEY, else, for the house on this machine, the key that was made for its first administrator."""
    if key := os.environ.get("RUMINATE_API_KEY"):
        return key
    return None if os.environ.get("RUMINATE_GATEWAY") else _kept(settings.first_admin_key)


def admin_key(settings: HouseSettings) -> str | None:
    """RUMINATE_API_KEY, else the service key: as set or, for the house on this machine alone, from its folder."""
    for name in ("RUMINATE_API_KEY", "RUMINATE_SERVICE_KEY"):
        if key := os.environ.get(name):
            return key
    if os.environ.get("RUMINATE_GATEWAY"):
        return None  # another gateway must not get to see this house's key
    return _kept(settings.home / "service.key")


def _kept(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
