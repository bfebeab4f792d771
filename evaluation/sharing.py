"""What a reader elsewhere may see of a command and a configuration: everything but the folders of this machine."""

import re
from pathlib import PurePosixPath
from typing import Any, Final

# A path from the root, a home or a drive; not the slash within a word, nor that of an address.
ABSOLUTE: Final = re.compile(r"(?<![\w./~\\>-])(?:~|[A-Za-z]:)?[\\/](?![\\/])[^\s,;\]})'\"]+")


def without_folders(text: str) -> str:
    """The text with every absolute path cut to its last part: `/srv/grid/gb` becomes `<folder>/gb`."""
    return ABSOLUTE.sub(lambda found: f"<folder>/{PurePosixPath(found.group().replace(chr(92), '/')).name}", text)


def shared_config(config: Any) -> Any:
    """A copy of a configuration whose texts hold no absolute path; relative ones stay as they were given."""
    if isinstance(config, dict):
        return {key: shared_config(value) for key, value in config.items()}
    if isinstance(config, list):
        return [shared_config(value) for value in config]
    return without_folders(config) if isinstance(config, str) else config
