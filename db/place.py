"""Where the database of a house is that names none."""

from pathlib import Path


def in_home(home: Path) -> str:
    """The URL of the SQLite file in `home`; what a URL would read otherwise in its path (`%20`, `?`) is kept."""
    path = str((home / "ruminate.db").resolve())
    return f"sqlite:///{path.replace('%', '%25').replace('?', '%3F')}"
