"""What can go wrong with storage, in words for the person who has to act. Each error keeps the values it speaks of."""


class StorageError(Exception):
    """Any refusal by this room."""


class DatabaseUnavailable(StorageError):
    """The database can't be reached, read or written just now; the statement may be tried again later.

    `url` has no password in it; `cause` is the driver's own first line; `remedy` says what to do.
    """

    def __init__(self, url: str, cause: str, remedy: str) -> None:
        super().__init__(f"database {url}: {cause}. {remedy}")
        self.url, self.cause, self.remedy = url, cause, remedy


class DatabaseTooNew(DatabaseUnavailable):
    """The database was migrated by a newer version of Ruminate than this one."""


class NotFound(StorageError):
    """No such row, or not this user's: callers can't tell the two apart, on purpose."""

    def __init__(self, what: str, key: object) -> None:
        super().__init__(f"no {what} {key!r}")
        self.what, self.key = what, key


class TurnRefused(StorageError):
    """A turn that is not recorded, since its user or conversation is gone or is somebody else's."""

    def __init__(self, request_id: str, why: str) -> None:
        super().__init__(f"turn {request_id!r} is not recorded: {why}")
        self.request_id, self.why = request_id, why


class RoundAlreadyOpen(StorageError):
    """There is one round at a time; `round_id` is the one that has not ended."""

    def __init__(self, round_id: int) -> None:
        super().__init__(f"round {round_id} is still open; wait for it to end, or cancel it")
        self.round_id = round_id


class LeaseLost(StorageError):
    """A write by a trainer that no longer holds the round: its lease ran out and was taken, or the round was ended."""

    def __init__(self, round_id: int, owner: str, state: str, holder: str | None) -> None:
        super().__init__(
            f"{owner!r} no longer holds round {round_id} (state {state}, held by {holder!r}); stop its work"
        )
        self.round_id, self.owner, self.state, self.holder = round_id, owner, state, holder


class LeaseTaken(StorageError):
    """What only the holder of the lease `name` may do was tried by somebody else; `found` holds it (None: nobody)."""

    def __init__(self, name: str, holder: str, found: str | None) -> None:
        super().__init__(f"{holder!r} does not hold the lease {name!r} any more, {found!r} does; leave the work to it")
        self.name, self.holder, self.found = name, holder, found


class DeploymentChanged(StorageError):
    """The wanted state moved on since it was read; `current_id` is the row to judge against now (None: no row)."""

    def __init__(self, expected_id: int | None, current_id: int | None) -> None:
        super().__init__(
            f"expected deployment {expected_id} to be the newest, but it is {current_id}; read it and decide again"
        )
        self.expected_id, self.current_id = expected_id, current_id


class BaseChanged(StorageError):
    """The database belongs to another base model: its adapters fit that one only."""

    def __init__(self, recorded: str, given: str) -> None:
        super().__init__(
            f"this database's checkpoints stand on the base model {recorded!r}, not on {given!r}; "
            "start with that base, or with another RUMINATE_HOME or database"
        )
        self.recorded, self.given = recorded, given
