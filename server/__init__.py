"""The only door: an OpenAI-compatible gateway that knows the engines, streams, records turns and swaps checkpoints.

Holds no weights and imports no model code: engines, trainer and page are reached over HTTP, rows and files.
"""

__version__ = "0.1.0"  # as in pyproject.toml: the image has this code and not the package's own name and version
