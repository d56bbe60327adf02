"""Brings the database up to date and ends: `python -m db`. What a deployment runs once before its gateways start."""

import os
import sys


def main() -> int:
    """Exit code 0 when the database is at the newest revision, 2 when it can't be brought there (and why)."""
    from db.errors import StorageError
    from db.session import Database

    url = os.environ.get("RUMINATE_DATABASE_URL", "")
    if not url:
        print(
            "RUMINATE_DATABASE_URL is not set; expected a URL such as postgresql://user:password@host/ruminate",
            file=sys.stderr,
        )
        return 2
    try:
        database = Database(url)
        database.migrate()
        database.close()
    except StorageError as error:
        print(error, file=sys.stderr)
        return 2
    print("the database is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
