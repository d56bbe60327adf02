"""What an operator can set of the page, with the sentence that explains each; nothing is read at import."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "RUMINATE_UI_"


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an address such as http://127.0.0.1:8000")
    return value.rstrip("/")


class UiSettings(BaseSettings):
    """Settings of `python -m ui`, from the environment (prefix RUMINATE_UI_)."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    gateway: Annotated[str, AfterValidator(_http_url)] = Field(
        default="http://127.0.0.1:8000", description="Base address of the gateway, without /v1."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 lets other machines in.")
    port: int = Field(
        default=7860, ge=0, le=65535, description="Port to listen on; 0 lets the system choose a free one."
    )
    language: str = Field(default="en", pattern=r"^[a-z]{2,3}$", description="Which file of ui/words/ the page speaks.")


class BadSetting(Exception):
    """A setting that cannot be used; its text is one sentence for the operator."""


def load_settings() -> UiSettings:
    """Read the settings from the environment. Raises BadSetting naming key, value and what was expected."""
    try:
        return UiSettings()
    except ValidationError as error:
        first = error.errors()[0]
        key = PREFIX + str(first["loc"][0]).upper()
        expected = str(first["msg"]).removeprefix("Value error, ")
        raise BadSetting(f"{key}={first['input']!r} cannot be used: {expected}.") from error
