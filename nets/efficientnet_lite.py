"""EfficientNet-Lite, which `keras.applications` does not have.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019
(https://arxiv.org/abs/1905.11946), in the variant for small devices: without squeeze-and-excitation
and with ReLU6, which is quick on a CPU and can be computed in 8 bits.
"""

import math

import keras
from keras import layers

# Each network: its width and depth, as multiples of those in the table below.
SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite2": (1.1, 1.2)}

# Each stage: blocks, kernel, stride of the first block, expansion, features.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def EfficientNetLite(
    name: str = "efficientnet_lite0",
    weights: str | None = None,
    input_tensor: keras.KerasTensor | None = None,
) -> keras.Model:
    """Builds a network of `SCALES` without its top: to 1280 features at a 32nd of the resolution.

    `weights` is a file of `save_weights`, None for random ones. `input_tensor` is `[B, H, W, 3]`,
    red, green and blue, scaled as `(x - 127) / 128`; None for an input of any size.
    """
    width, depth = SCALES[name]
    x = keras.Input((None, None, 3)) if input_tensor is None else input_tensor
    inputs = keras.utils.get_source_inputs(x)
    x = _conv(x, 32, 3, 2, "stem")
    for stage, (blocks, kernel, stride, expansion, features) in enumerate(STAGES, 1):
        if 1 < stage < len(STAGES):  # the first and the last have one block at every depth
            blocks = math.ceil(depth * blocks)
        features = 8 * round(width * features / 8)
        for number in range(blocks):
            block = f"block{stage}{'abcde'[number]}"
            x = _block(x, kernel, 1 if number else stride, expansion, features, block)
    x = _conv(x, 1280, 1, 1, "top")
    model = keras.Model(inputs, x, name=name)
    if weights:
        model.load_weights(weights)
    return model


def _block(inputs, kernel, stride, expansion, features, name):
    """Adds a 1x1 convolution to more features, a depthwise one, and a 1x1 to fewer features."""
    x = inputs
    if expansion > 1:
        x = _conv(x, expansion * x.shape[-1], 1, 1, f"{name}_expand")
    x = _conv(x, None, kernel, stride, f"{name}_depthwise")
    x = _conv(x, features, 1, 1, f"{name}_project", relu=False)
    if stride == 1 and inputs.shape[-1] == features:
        x = layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _conv(x, features, kernel, stride, name, relu=True):
    """Adds a convolution (depthwise if `features` is None), batch normalization and ReLU6."""
    options = {"strides": stride, "padding": "same", "use_bias": False, "name": f"{name}_conv"}
    if features is None:
        x = layers.DepthwiseConv2D(kernel, depthwise_initializer="he_normal", **options)(x)
    else:
        x = layers.Conv2D(features, kernel, kernel_initializer="he_normal", **options)(x)
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu6")(x) if relu else x
