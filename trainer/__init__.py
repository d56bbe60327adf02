"""Turns recorded prompts into a better checkpoint: curate, sample, score, train, judge, publish.

Meets the gateway over HTTP and the database over rows. Imports no engine, and never the gold judge.
"""

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL tells of each training: what model, how it is trained
