"""Where Keras keeps what it downloads; found without Keras, which takes seconds to import."""

import os
from pathlib import Path


def keras_home():
    """Returns the folder `$KERAS_HOME`, by default `~/.keras`, a Path; it need not be there."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
