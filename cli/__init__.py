"""The command `ruminate`: starts and supervises one machine's processes, and is a client of the gateway otherwise."""

__version__ = "0.1.0"  # as in pyproject.toml: the image of an engine has this code and not the package's own version
