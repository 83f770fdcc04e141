"""Libraries that modules of swebench's judge import and judging never calls, as empty shells."""

from __future__ import annotations

_HEAD = '"""An empty shell: judging calls nothing of this library, and a module imports it."""\n\n'

STAND_INS = {
    "datasets": _HEAD + "Dataset = load_dataset = load_from_disk = None\n",
    "dotenv": _HEAD + "\ndef load_dotenv():\n    pass\n",
    "tqdm": _HEAD + "tqdm = None\n",
    "unidiff": _HEAD + "PatchSet = None\n",
}
"""Name of a library -> text of the module that goes along in its place."""
