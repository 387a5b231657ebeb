"""Where Keras keeps what it downloads; found without Keras, which takes seconds to import."""

import os
import tempfile
from pathlib import Path


def keras_home() -> Path:
    """Returns the folder `$KERAS_HOME`, by default `~/.keras`; it need not be there.

    Where that cannot be written to, because no home is known or writable, it is a folder among the
    temporary files.
    """
    home = os.path.expanduser("~")  # which it leaves as it is where no home is known
    if not (os.access(home, os.W_OK) or os.access(Path(home, ".keras"), os.W_OK)):
        home = tempfile.gettempdir()
    return Path(os.environ.get("KERAS_HOME") or Path(home, ".keras"))
