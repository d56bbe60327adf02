"""Drivers' errors in words: which of them mean that the database can't be used, why, and what to do about it."""

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from db.errors import DatabaseUnavailable

# What the driver's message contains → what to do. The first that fits is taken.
REMEDIES = (
    ("file is not a database", "Another file has this name: give another path, or restore the database from a backup."),
    ("malformed", "The file is damaged: restore it from a backup, or salvage it with `sqlite3 FILE .recover`."),
    ("readonly database", "Make the file and its folder writable for this user."),
    (
        "unable to open database file",
        "Check that the folder exists and this user may write to it; `ruminate up` makes it.",
    ),
    ("Permission denied", "Make the file and its folder writable for this user."),
    ("Not a directory", "A part of the path is a file: give another path."),
    ("File exists", "A part of the path is a file: give another path."),
    ("Is a directory", "The path names a folder: give the path of a file."),
    ("disk is full", "Free some space on its disk."),
    ("No space left", "Free some space on its disk."),
    ("database is locked", "Another process holds it: end that one, or try again."),
    ("deadlock detected", "Two writers waited for each other and this one was undone: try again."),
    ("disk I/O error", "Look at the disk's health and free space."),
    ("no such table", "It has no tables yet: start with `ruminate up`, which creates them."),
    ("no such column", "Its tables are of an older version: start with `ruminate up`, which brings them up to date."),
    ("password authentication failed", "Check the user and password in RUMINATE_DATABASE_URL."),
    ("no password supplied", "Put the password into RUMINATE_DATABASE_URL."),
    ("does not exist", "Create it (`createdb`), or let `ruminate up` create its tables; check RUMINATE_DATABASE_URL."),
    ("permission denied", "Grant this user the right to create and write tables."),
    ("too many clients", "Raise max_connections of the server, or end idle clients."),
    ("could not translate host name", "Check the host in RUMINATE_DATABASE_URL."),
    ("failed to resolve host", "Check the host in RUMINATE_DATABASE_URL."),
    ("Connection refused", "Start the server, or check host and port in RUMINATE_DATABASE_URL."),
    ("No such file or directory", "Start the server, or check the socket's folder in RUMINATE_DATABASE_URL."),
    ("timeout", "It is too slow or blocked: look at its load and its locks."),
)
OTHERWISE = "Check that it runs and that RUMINATE_DATABASE_URL is right."
MISCONFIGURED = ("no such table", "no such column", "UndefinedTable", "UndefinedColumn", "InsufficientPrivilege")


def printable(url: str | URL) -> str:
    """The URL without any password; one that can't be parsed is not shown beyond its scheme."""
    if isinstance(url, str):
        scheme, found, _ = url.partition("://")
        return f"{scheme}://…" if found else "(unreadable URL)"
    if "password" in url.query:
        url = url.update_query_dict({"password": "***"})
    return url.render_as_string(hide_password=True)


def translate(url: str, error: DBAPIError | OSError | PoolTimeout) -> DatabaseUnavailable | None:
    """The error to raise instead, or None for one that is about the statement and not about the database."""
    if isinstance(error, DBAPIError):
        if isinstance(error, IntegrityError):
            return None
        original = error.orig
        kind = type(original).__name__
        known = f"{kind} {original}"
        environmental = error.connection_invalidated or kind in (
            "OperationalError",
            "DatabaseError",
            "ConnectionTimeout",
        )
        if not environmental and not any(word in known for word in MISCONFIGURED) and not _operational(original):
            return None
        cause = _first_line(str(original)) or kind
    else:
        cause = _first_line(str(error))
    remedy = next((remedy for words, remedy in REMEDIES if words in cause), OTHERWISE)
    return DatabaseUnavailable(url, cause, remedy)


def _operational(error: BaseException | None) -> bool:
    """psycopg has a class for each SQLSTATE; those about the server's state derive from OperationalError."""
    return any(base.__name__ == "OperationalError" for base in type(error).__mro__)


def _first_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else ""
