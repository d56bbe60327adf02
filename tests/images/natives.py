"""PostgreSQL and Redis as this machine has them: their images come from a registry, which may be out of reach."""

import os
import shutil
import signal
import subprocess
import time
from glob import glob
from pathlib import Path
from typing import Any

from images.buildah import Failed
from images.services import Service, command_of


class Native(Service):
    """A service whose image is not ours: what this machine has of the same program."""

    def __init__(self, name: str, spec: dict[str, Any], folder: Path) -> None:
        super().__init__(name, spec, folder)
        self.sockets = folder / "sockets"
        binaries = sorted(glob("/usr/lib/postgresql/*/bin"))[-1:]
        self.path = os.pathsep.join([*binaries, os.environ["PATH"]])
        self.outside = {"PATH": self.path, "PGHOST": str(self.sockets), "LANG": "C.UTF-8"}

    @property
    def health(self) -> dict[str, Any] | None:
        return self.spec.get("healthcheck")

    def start(self) -> None:
        self._launch(list(self.spec["command"]))

    def check(self) -> subprocess.CompletedProcess[str]:
        assert self.health is not None
        return subprocess.run(
            command_of(self.health["test"]), env=self.outside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=30, check=False,
        )  # fmt: skip

    def _launch(self, words: list[str]) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, text=True, env=self.outside, cwd="/", start_new_session=True
            )


class Postgres(Native):
    """A server made new, as the image's entry point makes it: user, password and database from the environment."""

    stop_signal = signal.SIGINT  # as the image says: a fast shutdown

    def start(self) -> None:
        data = self.folder / "volumes" / "postgres"
        for made in (data, self.sockets):
            made.mkdir(parents=True)
            shutil.chown(made, "postgres", "postgres")
        user, database = self.environment["POSTGRES_USER"], self.environment["POSTGRES_DB"]
        password = self.folder / "postgres.password"
        password.write_text(self.environment["POSTGRES_PASSWORD"])
        shutil.chown(password, "postgres")
        as_postgres = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        initdb = ["initdb", "--pgdata", str(data), "--username", user, "--pwfile", str(password), "--auth", "trust"]
        with self.log.open("w") as log:
            subprocess.run(
                [*as_postgres, *initdb, "--auth-host", "scram-sha-256"], stdout=log, stderr=log, env=self.outside,
                cwd="/", check=True,
            )  # fmt: skip
        self._launch([*as_postgres, "postgres", "-D", str(data), "-k", str(self.sockets)])
        deadline = time.monotonic() + 60
        create = ["psql", "-q", "-U", user, "-d", "postgres", "-c", f"CREATE DATABASE {database}"]
        while (
            done := subprocess.run(create, env=self.outside, capture_output=True, text=True, check=False)
        ).returncode:
            self.alive()
            if time.monotonic() > deadline:
                raise Failed(f"no database could be made: {done.stderr}")
            time.sleep(0.2)
