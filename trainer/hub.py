"""An exported checkpoint goes to a hub of models, when somebody asks for it. Nothing else here reaches one.

Where and as whom is told by the environment, as huggingface_hub reads it: HF_ENDPOINT (the public hub where it is not
set) and HF_TOKEN.
"""

import os
from pathlib import Path
from typing import Any

from trainer.export import CannotExport


def push(folder: Path, repo: str, message: str) -> str:
    """Upload all of `folder` into the repository `repo` (owner/name), which is made, closed to others, where there is
    none. Returns its address. Raises CannotExport with the hub's own reason."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    unreached: Any = HfHubHTTPError.__mro__[1]  # what its HTTP library raises, whichever one that is

    token = os.environ.get("HF_TOKEN")
    if not token:
        raise CannotExport("a hub must know who pushes; set HF_TOKEN to a token that may write")
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    try:
        made = hub.create_repo(repo, private=True, exist_ok=True)
        hub.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=message)
    except OfflineModeIsEnabled as error:
        raise CannotExport(f"{repo} was not pushed: HF_HUB_OFFLINE is set; unset it for this command") from error
    except (HfHubHTTPError, HFValidationError, OSError, unreached) as error:
        raise CannotExport(f"{repo} was not pushed: {error}") from error
    return str(made)
