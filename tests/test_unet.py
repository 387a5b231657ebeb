import re
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import nets.sizes
from nets.reach import geometry
from nets.sizes import ENCODERS, check_size
from nets.unet import UNet

pytestmark = pytest.mark.deep


def tiny(**kwargs):
    return UNet((32, 32, 3), 4, 2, **kwargs)


def test_parameters_of_the_reference():
    assert UNet().count_params() == 31_033_045
    assert UNet((128, 128, 3), 5, 16).count_params() == 1_941_173
    assert UNet(architecture="reference").count_params() == 31_033_045


def test_defaults_are_the_reference_s():
    model = UNet()
    assert model.input_shape == (None, 320, 320, 3)
    assert model.output_shape == (None, 320, 320, 21)
    widths = [
        model.get_layer(name).filters for name in ("down1_conv1", "down4_conv2", "bottom_conv1")
    ]
    assert widths == [64, 512, 1024]


def test_topology():
    model = tiny()
    names = [layer.name for layer in model.layers]
    for level in range(4, 0, -1):
        skip, up = (
            tensor._keras_history[0].name for tensor in model.get_layer(f"up{level}_concat").input
        )
        assert (skip, up) == (
            "down4_dropout" if level == 4 else f"down{level}_conv2",
            f"up{level}_upconv",
        )
        conv = model.get_layer(f"up{level}_upconv")
        assert conv.kernel_size == (2, 2)
        assert conv.input._keras_history[0].name == f"up{level}_upsample"
        assert model.get_layer(f"up{level}_upsample").interpolation == "nearest"
    dropped = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.name for layer in dropped] == ["down4_dropout", "bottom_dropout"]
    assert [layer.input._keras_history[0].name for layer in dropped] == [
        "down4_conv2",
        "bottom_conv2",
    ]
    assert [layer.rate for layer in dropped] == [0.5, 0.5]
    assert model.get_layer("down4_pool").input._keras_history[0].name == "down4_dropout"
    assert names[:2] == ["picture", "rescale"] and names[-1] == "logits"


def test_every_kernel_has_l2():
    convs = [layer for layer in tiny().layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convs) == 23
    assert all(float(conv.kernel_regularizer.l2) == pytest.approx(5e-4) for conv in convs)
    assert all(
        conv.kernel_regularizer is None for conv in tiny(l2=0).layers if hasattr(conv, "kernel")
    )


def test_images_of_0_to_255_are_scaled_inside():
    model = tiny()
    scale = keras.Model(model.input, model.get_layer("rescale").output)
    image = np.full((1, 32, 32, 3), 255, np.uint8)
    np.testing.assert_allclose(scale.predict_on_batch(image), 1.0, rtol=1e-6)


@pytest.mark.parametrize("upsampling", ["nearest", "transpose"])
@pytest.mark.parametrize("normalization", ["none", "batch", "group"])
def test_any_size_with_none(normalization, upsampling):
    model = UNet((None, None, 1), 2, 2, normalization=normalization, upsampling=upsampling)
    for size in ((16, 48), (32, 16)):
        assert model.predict_on_batch(np.zeros((2, *size, 1), np.uint8)).shape == (2, *size, 2)


def test_batch_normalization_stands_between_convolution_and_relu():
    layers = {layer.name: layer for layer in tiny(normalization="batch").layers}
    relu = layers["down1_conv1_relu"]
    norm = relu.input._keras_history[0]
    assert isinstance(norm, keras.layers.BatchNormalization)
    assert norm.input._keras_history[0] is layers["down1_conv1"]
    assert layers["down1_conv1"].activation is keras.activations.linear


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (((100, 96, 3),), "100x96 cannot be halved 4 times"),
        (((0, 96, 3),), "multiples of 16"),
        (((96, 96),), "must be .height, width, channels."),
        (((96, 96, None),), "width, channels., got .96, 96, None"),
        (((96, 96, 3), 1), "num_classes"),
        (((96, 96, 3), 2, 0), "filters"),
        (((96, 100, 3),), "For 100 take 96 or 112"),
        (((5, 16, 3),), "For 5 take 16[.]"),
    ],
)
def test_the_impossible_is_refused_with_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        UNet(*arguments)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"normalization": "layer"}, "normalization must be one of .* 'layer'"),
        ({"upsampling": "bilinear"}, "upsampling must be one of .* 'bilinear'"),
        ({"architecture": "unet"}, "architecture must be one of .* 'unet'"),
        ({"encoder": "vgg"}, "encoder must be one of .* 'vgg'"),
        ({"architecture": "paper", "encoder": "vgg16"}, "neither an encoder nor"),
        ({"architecture": "paper", "upsampling": "nearest"}, 'nor upsampling="nearest"'),
        ({"architecture": "reference", "encoder": "vgg16"}, "reference's network has its own"),
        ({"architecture": "reference", "upsampling": "transpose"}, 'nor upsampling="transpose"'),
        ({"encoder_weights": "imagenet"}, "needs an encoder"),
        ({"architecture": "paper"}, "16 n [+] 12, from 188 on.*For 32 take 188[.]"),
    ],
)
def test_unknown_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny(**options)


def test_group_normalization_takes_as_many_groups_as_divide():
    model = UNet((32, 32, 1), 2, 6, normalization="group")
    layers = {layer.name: layer for layer in model.layers}
    groups = [layers[f"{name}_conv1_norm"].groups for name in ("down1", "down2", "down3", "bottom")]
    assert groups == [2, 4, 8, 8]
    assert isinstance(layers["down1_conv1_norm"], keras.layers.GroupNormalization)
    assert layers["down1_conv1_relu"].input._keras_history[0] is layers["down1_conv1_norm"]


def test_transposed_convolutions_have_as_many_parameters():
    keras.utils.set_random_seed(0)
    model = UNet((32, 32, 3), 4, 16, upsampling="transpose")
    assert model.count_params() == UNet((32, 32, 3), 4, 16).count_params()
    up = model.get_layer("up4_upconv")
    assert isinstance(up, keras.layers.Conv2DTranspose)
    assert (up.kernel_size, up.strides) == ((2, 2), (2, 2))
    assert up.input._keras_history[0].name == "bottom_dropout"
    assert np.std(up.kernel) == pytest.approx(np.sqrt(2 / 256), rel=0.02)  # He et al. 2015
    assert float(up.kernel_regularizer.l2) == pytest.approx(5e-4)


def test_every_size_of_the_paper_s_figure():
    model = UNet((572, 572, 1), 2, 2, architecture="paper")
    assert model.output_shape == (None, 388, 388, 2)
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    figure = {
        "down1": (572, 570, 568), "down2": (284, 282, 280), "down3": (140, 138, 136),
        "down4": (68, 66, 64), "bottom": (32, 30, 28),
        "up4": (56, 54, 52), "up3": (104, 102, 100), "up2": (200, 198, 196), "up1": (392, 390, 388),
    }  # fmt: skip
    before = {"down1": "rescale", "bottom": "down4_pool"}
    before |= {f"down{level}": f"down{level - 1}_pool" for level in (2, 3, 4)}
    before |= {f"up{level}": f"up{level}_concat" for level in (1, 2, 3, 4)}
    widths = {"down1": 1, "down2": 2, "down3": 4, "down4": 8, "bottom": 16}
    widths |= {f"up{level}": 2 ** (level - 1) for level in (1, 2, 3, 4)}
    for block, sizes in figure.items():
        names = (before[block], f"{block}_conv1", f"{block}_conv2")
        assert tuple(shapes[name][0] for name in names) == sizes
        assert tuple(shapes[name][1] for name in names) == sizes
        assert shapes[f"{block}_conv1"][2] == shapes[f"{block}_conv2"][2] == 2 * widths[block]
    for level in (1, 2, 3, 4):
        width = 2 * widths[f"up{level}"]
        assert shapes[f"up{level}_upconv"] == shapes[f"up{level}_crop"]
        cropped = {4: 4, 3: 16, 2: 40, 1: 88}[level]  # the figure's, halved
        assert model.get_layer(f"up{level}_crop").cropping == ((cropped,) * 2,) * 2
        assert shapes[f"up{level}_concat"][2] == 2 * width
        skip = model.get_layer(f"up{level}_crop").input._keras_history[0].name
        assert skip == ("down4_dropout" if level == 4 else f"down{level}_conv2")
    convs = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {conv.padding for conv in convs} == {"valid"}
    dropped = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert dropped == ["down4_dropout", "bottom_dropout"]


def test_parameters_of_the_paper_s_network():
    """Weights and biases, counted from the figure: 3x3 convolutions, 2x2 up-convolutions, 1x1."""
    down = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
    down += [(512, 512), (512, 1024), (1024, 1024)]
    up = [(1024, 512), (512, 512), (512, 256), (256, 256), (256, 128), (128, 128), (128, 64)]
    up += [(64, 64)]
    doubling = [(1024, 512), (512, 256), (256, 128), (128, 64)]
    by_hand = sum(9 * a * b + b for a, b in down + up) + sum(4 * a * b + b for a, b in doubling)
    by_hand += 64 * 2 + 2
    assert by_hand == 31_030_658
    model = UNet((None, None, 1), 2, architecture="paper")
    assert model.count_params() == by_hand


def test_the_paper_s_initial_weights():
    """Normally distributed with a variance of 2 / (kernel's places * features that come in)."""
    for layer in UNet((None, None, 1), 2, 16, architecture="paper").layers:
        if isinstance(layer, keras.layers.Conv2D) and np.prod(layer.kernel.shape) > 1000:
            wanted = np.sqrt(2 / np.prod(layer.kernel.shape[:-1]))
            assert np.std(layer.kernel) == pytest.approx(wanted, rel=0.1), layer.name
        elif isinstance(layer, keras.layers.Conv2D):
            assert isinstance(layer.kernel_initializer, keras.initializers.HeNormal)


def test_the_reference_s_initial_weights():
    """Uniform up to sqrt(6 / (places * (features in + out))), after Glorot and Bengio 2010."""
    model = UNet((None, None, 3), 21, 8, architecture="reference")
    kernels = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(kernels) == 23
    for layer in kernels:
        height, width, taken, given = layer.kernel.shape
        limit = np.sqrt(6 / (height * width * (taken + given)))
        assert 0.9 * limit < np.abs(layer.kernel).max() <= limit * 1.000001, layer.name
    same = UNet((None, None, 3), 21, 8)
    assert [w.path for w in model.weights] == [w.path for w in same.weights]


@pytest.mark.parametrize("encoder", [*ENCODERS, None])
def test_sizes_are_multiples_of_all_halvings(encoder):
    step = 16 if encoder in (None, "vgg16") else 32
    check_size(step, 2 * step, encoder=encoder)
    for side, near in ((1, f"{step}"), (step + 1, f"{step} or {2 * step}")):
        with pytest.raises(ValueError, match=f"For {side} take {near}[.]"):
            check_size(side, step, encoder=encoder)


def accepted(*size):
    try:
        check_size(*size)
    except ValueError:
        return False
    return True


def test_the_paper_s_sizes_are_those_that_can_be_built():
    needs = geometry(UNet((None, None, 1), 2, 2, architecture="paper"))
    for side in range(160, 240):
        inputs, sizes = side, []
        for _ in range(4):
            inputs -= 4
            sizes.append(inputs % 2 == 0)
            inputs //= 2
        possible = all(sizes) and inputs - 4 > 0
        for _ in range(4):
            inputs = 2 * (inputs - 4)
        possible = possible and inputs - 4 > 0
        assert possible == accepted(side, None, "paper") == accepted(None, side, "paper"), side
        if possible:
            assert inputs - 4 == side - 2 * needs.trim == side - 184
            assert needs.fitting(side - 184) == side
    with pytest.raises(ValueError, match="570x572 .* 16 n [+] 12, .* For 570 take 556 or 572"):
        check_size(570, 572, "paper")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"normalization": "group"}, {"architecture": "paper"}, {"architecture": "reference"}],
)
def test_keras_alone_loads_what_was_saved(tmp_path, options):
    model = UNet((None, None, 3), 3, 2, **options)
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = archive.read("config.json").decode()
    assert {module.split(".")[0] for module in re.findall(r'"module": "(.*?)"', config)} == {
        "keras"
    }
    assert set(re.findall(r'"registered_name": (.*?)[,}]', config)) <= {"null", '"Functional"'}
    side = geometry(model).fitting(1)
    image = np.random.default_rng(0).integers(0, 256, (1, side, side + 16, 3), np.uint8)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict_on_batch(image), model.predict_on_batch(image))


@pytest.mark.parametrize("options", [{"normalization": "group"}, {"architecture": "paper"}])
def test_logits_are_float32_also_in_mixed_precision(options):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = UNet((None, None, 1), 2, 2, **options)
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.get_layer("down1_conv1").compute_dtype == "bfloat16"
    side = geometry(model).fitting(1)
    assert model(np.ones((1, side, side, 1), np.uint8)).dtype == "float32"


def test_sizes_are_known_without_keras():
    code = "import sys, nets.sizes; sys.exit('keras' in sys.modules or 'numpy' in sys.modules)"
    root = Path(nets.sizes.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
