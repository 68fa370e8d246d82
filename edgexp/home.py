"""Where edgexp keeps what it makes: weights, banks, adapters, runs and measurements of this machine. Knows the place, not what lies in it.

`EDGEXP_HOME` names the folder; without it the platform's own convention does (`~/.local/share/edgexp` on Linux,
`~/Library/Application Support/edgexp` on macOS, `%LOCALAPPDATA%\\edgexp` on Windows).
"""

import os
from pathlib import Path


def home() -> Path:
    """The home folder, absolute. It need not exist yet."""
    named = os.environ.get("EDGEXP_HOME")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("edgexp", appauthor=False))
