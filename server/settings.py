"""What an operator can set of the gateway, read from the environment once, in the entry point."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.place import in_home


def _engine_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:  # and a port that is none raises
        raise ValueError("expected a base URL such as http://127.0.0.1:8100")
    return url.rstrip("/")


def _redis_url(url: str) -> str:
    if url and urlsplit(url).port == 0:
        raise ValueError("expected a URL such as redis://127.0.0.1:6379/0")
    return url


EngineUrl = Annotated[str, AfterValidator(_engine_url)]
MOST_DAYS = 36_500  # a hundred years: with many more, the date before which all is old is none


class ServerSettings(BaseSettings):
    """Settings of one gateway process; `RUMINATE_SERVER_<FIELD>` unless an alias is given."""

    model_config = SettingsConfigDict(env_prefix="RUMINATE_SERVER_", frozen=True, extra="ignore", populate_by_name=True)

    home: Path = Field(default=Path(".ruminate"), validation_alias="RUMINATE_HOME")
    """Folder of everything that Ruminate keeps on this machine."""
    database_url: str = Field(default="", validation_alias="RUMINATE_DATABASE_URL")
    """Empty: SQLite in the home folder."""
    redis_url: Annotated[str, AfterValidator(_redis_url)] = Field(
        default="", pattern=r"^(rediss?://.+)?$", validation_alias="RUMINATE_REDIS_URL"
    )
    """Where several gateways count a key's requests, tokens and answers together and hear of swaps at once. Empty: each
    counts alone, and they hear of swaps within `watch_seconds`."""
    service_key: str = Field(default="", validation_alias="RUMINATE_SERVICE_KEY")
    """The trainer's key for /internal. Empty: read from, or written to, `service.key` in the home folder."""
    profile: str = Field(default="tiny", validation_alias="RUMINATE_PROFILE")
    """Shown in the status; chosen by the command line."""

    host: str = "127.0.0.1"
    """Address to listen on. Without keys for everybody, keep it on loopback."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 lets the system choose."""
    engines: tuple[EngineUrl, ...] = Field(default=("http://127.0.0.1:8100",), min_length=1)
    """JSON list of the vLLM servers' base URLs, the same for each gateway of a database. Nobody but the gateways
    should be able to reach them."""
    base_model: str = ""
    """Folder or hub name of the base model. Empty: what the first engine says it serves."""

    loopback_without_key: bool = False
    """Whether requests from this machine need no key and act as the admin `local` (on in the tiny profile)."""
    default_consent: Literal["none", "history", "train"] = "history"
    """What a new user allows until they say otherwise: keep nothing, keep for themselves, or train on their prompts."""
    history_days: float = Field(default=0.0, ge=0, le=MOST_DAYS)
    """A conversation is deleted so many days after its last turn, as if its user had deleted it. 0: it is kept."""
    train_days: float = Field(default=0.0, ge=0, le=MOST_DAYS)
    """A turn may be trained on for so many days, whatever its user allows; then it is theirs alone. 0: for ever."""
    key_cache_seconds: float = Field(default=600.0, ge=0)
    """How long a key goes on working after each use while the database is down."""
    key_trust_seconds: float = Field(default=3600.0, ge=0)
    """How long after it was last looked up it works at most, however much it is used: whether it was revoked meanwhile
    can't be known."""
    key_refresh_seconds: float = Field(default=5.0, ge=0)
    """How old a cached key may be before it is looked up again; a revoked key works that much longer."""

    max_lora_rank: int = Field(default=16, ge=1, validation_alias="RUMINATE_MAX_LORA_RANK")
    """Highest rank of an adapter: as the engines are started for, and the trainer trains at most."""

    thinking_format: Literal["think", "prefilled", "zero", "plain"] = "think"
    """How the base model writes thoughts: where its answers end, and for raw completions, which no parser splits."""
    mirror_reasoning_content: bool = False
    """Whether answers carry the thought as `reasoning_content` too, for older clients. Each piece is then parsed."""

    log_format: Literal["text", "json"] = "text"
    """How the log is written, to standard error: lines for people, or a JSON object a line for programs."""
    access_log: bool = True
    """Whether each request is a line in the log: method, path, status, seconds, ids, model; no words."""

    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """Largest request body. A key may have a limit of its own below it."""
    max_waiting: int = Field(default=256, ge=1)
    """Requests that may wait for an engine, and for room on one, at once; more are refused with 503."""
    app_requests: int = Field(default=120, ge=1)
    """Requests under /api that this gateway takes in at once: 40 are worked on, the others wait for a thread; more are
    refused with 503."""
    engine_requests: int = Field(default=256, ge=1)
    """Requests that this gateway gives one engine at once. Twice its `max_num_seqs` (128 by default) keeps its batches
    full; what it has beyond that only waits."""
    room_wait_seconds: float = Field(default=30.0, gt=0)
    """How long a request waits for room on engines that have so many; then it is refused with 503."""
    engine_wait_seconds: float = Field(default=10.0, ge=0)
    """How long a request that has streamed nothing yet waits for an engine to come back."""
    engine_silence_seconds: float = Field(default=120.0, gt=0)
    """How long an engine may say nothing in the middle of a stream before it counts as gone. The first piece, or an
    answer in one piece, may take any time while the engine is healthy."""
    client_silence_seconds: float = Field(default=60.0, gt=0)
    """How long a client may take nothing of its answer before it counts as gone, and its engine stops."""
    watch_seconds: float = Field(default=1.0, gt=0)
    """How often each engine is looked at, and the wanted state is read."""
    lease_seconds: float = Field(default=2.5, gt=0)
    """How long the gateway that looks after the engines may say nothing until another one of its database does. On
    SQLite, where it is seen at once that it has ended, a minute at least."""
    load_seconds: float = Field(default=60.0, gt=0)
    """How long an engine may take to load an adapter or full weights, and a deployment to reach every engine."""
    drain_seconds: float = Field(default=300.0, gt=0)
    """How long answers under way may take to end before an engine gets full weights; then it goes on as it was."""

    canary_share: float = Field(default=0.0, ge=0, le=0.5)
    """Share of conversations in which a candidate that passed its gate answers until it has proven itself. 0: it goes
    live for everybody at once."""
    canary_level: float = Field(default=0.05, gt=0, lt=1)
    """Of the canary's tests: how often one that is no worse is rolled back, or one that is worse proven, at most."""
    canary_hours: float = Field(default=24.0, gt=0)
    """After so long a canary that nothing was shown against is promoted by its gate's verdict."""
    rollback_level: float = Field(default=0.01, ge=0, lt=1)
    """How often, per deployment, live is taken back although it is within its bounds, at most. 0: it never is."""
    rollback_margin: float = Field(default=0.05, gt=0, lt=1)
    """By how much live's share of errors, malformed and slow answers may be above the previous checkpoint's."""
    rollback_slower: float = Field(default=2.0, ge=1)
    """An answer is slow that takes so many times longer than 95 % of the previous checkpoint's did."""
    judge_seconds: float = Field(default=15.0, gt=0)
    """How often canary and live are judged by what came of their answers."""

    requests_per_minute: int = Field(default=120, ge=0)
    """Chats and completions that one key may ask for in a minute; 0 is no limit (as in the tiny profile)."""
    tokens_per_minute: int = Field(default=400_000, ge=0)
    """Tokens, of prompts and answers, that one key may use in a minute; counted when an answer ends. 0: no limit."""
    concurrent_answers: int = Field(default=16, ge=0)
    """Answers that are written for one key at once, with Redis by all gateways together; 0 is no limit."""
    max_prompt_tokens: int = Field(default=0, ge=0)
    """Longest prompt of a request, its history included; 0: what the engines take. Long ones are counted by an engine
    first. A key may have a limit of its own below it."""
    max_choices: int = Field(default=16, ge=0)
    """Largest `n` of a request, times its prompts; 0 is no limit."""

    lookup_seconds: float = Field(default=2.0, gt=0)
    """How long a request waits for what the database knows of its key and its conversation, before the database counts
    as down: then what is remembered of them holds."""
    record_patience_seconds: float = Field(default=1.0, gt=0)
    """How long an answer's last bytes wait for the database before the turn goes to the spool instead."""

    rollout_sequences: int = Field(default=64, ge=1)
    """Sequences that the trainer may sample at once while nobody chats."""
    rollout_sequences_while_chatting: int = Field(default=16, ge=1)
    """What this falls to at most while answers are being streamed to people: vLLM's priorities order waiting requests
    only, so what already runs slows every token of a chat."""
    rollout_slower_ms: float = Field(default=25.0, gt=0)
    """By how much the trainer may lengthen the gaps between the pieces of people's answers, at the 95th percentile,
    above what is usual while nobody trains. Beyond it the trainer samples fewer at once and rests between batches."""

    @property
    def database(self) -> str:
        return self.database_url or in_home(self.home)

    @property
    def spool(self) -> Path:
        """Where turns wait for the database; one folder for each gateway of a home."""
        return self.home / "spool" / f"gateway-{self.port}"
