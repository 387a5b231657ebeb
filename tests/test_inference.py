"""A network made quicker gives the same answers."""

import keras
import numpy as np
import pytest
import scipy.special
from keras import layers

from nets.inference import quicken, softmax
from nets.unet import UNet

pytestmark = pytest.mark.deep


def learnt(model, rng):
    """The model, with batch statistics and all else as if it had learnt."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for variable in layer.variables:
                variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def same_after(model, rng, folded):
    """Asserts that so many batch normalizations are folded, and that the answers are the same."""
    images = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    wanted = model.predict_on_batch(images)
    norms = [la for la in model.layers if isinstance(la, layers.BatchNormalization)]
    quicken(model)
    assert sum("call" in vars(norm) for norm in norms) == folded
    for norm in norms:  # what is folded no longer asks for its statistics
        if "call" in vars(norm):
            norm.moving_variance.assign(np.full(norm.moving_variance.shape, 1e9))
    model.make_predict_function(force=True)
    found = model.predict_on_batch(images)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.ptp(wanted))


def test_a_convolution_by_hand():
    """A kernel of 2 and a bias of 1; then minus 3, over the root of 4, times 5, plus 6."""
    inputs = keras.Input((1, 1, 1))
    conv = layers.Conv2D(1, 1, kernel_initializer=lambda *a, **k: np.full((1, 1, 1, 1), 2.0))
    norm = layers.BatchNormalization(epsilon=0.0)
    model = keras.Model(inputs, norm(conv(inputs)))
    conv.bias.assign([1.0])
    for variable, value in zip(norm.variables, (5.0, 6.0, 3.0, 4.0), strict=True):
        variable.assign([value])
    quicken(model)
    assert conv.kernel.numpy().item() == 5 and conv.bias.numpy().item() == 0
    assert model(np.full((1, 1, 1, 1), 7.0)).numpy().item() == (2 * 7 + 1 - 3) / 2 * 5 + 6


def test_all_of_a_u_net(rng):
    model = learnt(UNet((None, None, 3), 3, 4, normalization="batch"), rng)
    norms = sum(isinstance(layer, layers.BatchNormalization) for layer in model.layers)
    assert norms > 10
    same_after(model, rng, norms)


def test_a_doubling_by_hand():
    """Two pixels become two rows of four; beyond the right and the lower edge there is 0."""
    inputs = keras.Input((1, 2, 1))
    doubled = layers.UpSampling2D(2, interpolation="nearest", name="up1_upsample")(inputs)
    conv = layers.Conv2D(1, 2, padding="same", use_bias=False, name="up1_upconv")
    model = keras.Model(inputs, conv(doubled))
    conv.kernel.assign(np.array([[1, 10], [100, 1000]]).reshape(2, 2, 1, 1))
    image = np.array([3, 5]).reshape(1, 1, 2, 1)
    upper = [3 * 1111, 3 * 101 + 5 * 1010, 5 * 1111, 5 * 101]
    wanted = [upper, [3 * 11, 3 * 1 + 5 * 10, 5 * 11, 5 * 1]]
    assert model.predict_on_batch(image)[0, ..., 0].tolist() == wanted
    quicken(model)
    model.make_predict_function(force=True)
    assert model.predict_on_batch(image)[0, ..., 0].tolist() == wanted


@pytest.mark.parametrize("size", [(32, 32), (None, None)])
@pytest.mark.parametrize("normalization", ["none", "batch", "group"])
def test_doublings_of_a_u_net(rng, normalization, size):
    """No upsampling is left, and what follows is computed before the pixels are put together."""
    model = learnt(UNet((*size, 3), 3, 4, normalization=normalization), rng)
    norms = sum(isinstance(layer, layers.BatchNormalization) for layer in model.layers)
    same_after(model, rng, norms)
    small = np.zeros((1, 3, 5, 4), np.float32)
    for level in range(1, 5):
        layer = model.get_layer(f"up{level}_upsample")
        assert layer(small).shape == small.shape
        idle = [model.get_layer(f"up{level}_upconv_relu")] if normalization == "batch" else []
        assert all((layer(small - 1) == -1).numpy().all() for layer in idle)


@pytest.mark.parametrize(
    ("factor", "way", "kernel", "options"),
    [
        (2, "bilinear", 2, {}),
        (3, "nearest", 2, {}),
        (2, "nearest", 3, {}),
        (2, "nearest", 2, {"strides": 2}),
        (2, "nearest", 2, {"dilation_rate": 2}),
        (2, "nearest", 2, {"groups": 2}),
        (2, "nearest", 2, {"padding": "valid"}),
    ],
)
def test_other_doublings_stay(rng, factor, way, kernel, options):
    """Of an adopted network, whose layers happen to be called as U-Net's own."""
    inputs = keras.Input((None, None, 2))
    x = layers.UpSampling2D(factor, interpolation=way, name="up1_upsample")(inputs)
    conv = layers.Conv2D(4, kernel, **{"padding": "same"} | options)
    model = keras.Model(inputs, conv(x))
    image = rng.normal(0, 1, (2, 6, 8, 2)).astype(np.float32)
    wanted = model.predict_on_batch(image)
    quicken(model)
    assert "call" not in vars(conv)
    np.testing.assert_allclose(model.predict_on_batch(image), wanted, rtol=1e-5, atol=1e-5)


def test_a_doubled_image_with_two_readers_stays(rng):
    inputs = keras.Input((32, 32, 3))
    x = layers.UpSampling2D(2, interpolation="nearest", name="up1_upsample")(inputs)
    x = layers.Concatenate()([x, layers.Conv2D(2, 2, padding="same")(x)])
    same_after(keras.Model(inputs, x), rng, 0)


@pytest.mark.parametrize("where", ["rows normalized", "doubled twice"])
def test_doublings_of_adopted_networks(rng, where):
    """One is normalized over rows; another's only upsampling is also its last layer."""
    inputs = keras.Input((32, 32, 3))
    doubled = layers.UpSampling2D(2, interpolation="nearest", name="up1_upsample")
    x = layers.Conv2D(4, 2, padding="same")(doubled(layers.MaxPooling2D(4)(inputs)))
    rows = where == "rows normalized"
    x = layers.BatchNormalization(axis=1)(x) if rows else doubled(x)
    same_after(learnt(keras.Model(inputs, x), rng), rng, 0)


def test_channels_that_come_first(rng):
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(32, 3, padding="same", data_format="channels_first")(
        layers.Permute((3, 1, 2))(inputs)
    )
    x = layers.BatchNormalization(axis=3)(x)
    x = layers.UpSampling2D(2, data_format="channels_first", interpolation="nearest")(x)
    model = keras.Model(inputs, layers.Permute((2, 3, 1))(layers.BatchNormalization(axis=1)(x)))
    same_after(learnt(model, rng), rng, 0)


def test_upsampling(rng):
    inputs = keras.Input((None, None, 2))
    nearest = layers.UpSampling2D((2, 3), interpolation="nearest")(inputs)
    smooth = layers.UpSampling2D(2, interpolation="bilinear")(inputs)
    models = keras.Model(inputs, nearest), keras.Model(inputs, smooth)
    image = rng.normal(0, 1, (2, 4, 5, 2)).astype(np.float32)
    wanted = [model.predict_on_batch(image) for model in models]
    for model in models:
        quicken(model)
    np.testing.assert_array_equal(models[0].predict_on_batch(image), wanted[0])
    np.testing.assert_array_equal(wanted[0], image.repeat(2, 1).repeat(3, 2))
    np.testing.assert_array_equal(models[1].predict_on_batch(image), wanted[1])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float32"])
def test_in_16_bits_only_the_u_net_s_own_layers_are_folded(small_encoder, policy):
    """Also where the backend computes float32 layers in 16 bits, as OpenVINO does."""
    model = UNet((None, None, 3), 3, 4, normalization="batch", encoder="vgg16")
    for layer in model.layers:
        layer.dtype_policy = policy
    quicken(model, exact=policy != "float32")
    norms = [la for la in model.layers if isinstance(la, layers.BatchNormalization)]
    folded = {norm.name for norm in norms if "call" in vars(norm)}
    own = {norm.name for norm in norms if norm.name.startswith("up")}
    assert folded == own and own and len(own) < len(norms)


def test_what_stays_in_float32_is_folded(rng):
    """Of a network that else computes in 16 bits."""
    inputs = keras.Input((32, 32, 3))
    x = layers.BatchNormalization(name="exact")(layers.Conv2D(4, 1, name="before")(inputs))
    x = layers.BatchNormalization(name="rounded")(layers.Conv2D(4, 1)(x))
    x = layers.BatchNormalization(name="after a rounded kernel")(layers.Conv2D(4, 1)(x))
    model = keras.Model(inputs, x)
    for layer in model.layers[3:-1]:
        layer.dtype_policy = "mixed_bfloat16"
    quicken(model)
    assert [layer.name for layer in model.layers if "call" in vars(layer)] == ["exact"]


def test_depthwise_convolutions(rng):
    inputs = keras.Input((32, 32, 3))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(inputs)
    x = layers.Conv2D(4, 1)(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.BatchNormalization(scale=False)(x)
    model = keras.Model(inputs, layers.BatchNormalization(center=False)(layers.Conv2D(2, 1)(x)))
    same_after(learnt(model, rng), rng, 3)


def test_what_cannot_be_folded_stays(rng):
    """Its convolution has an activation, another reader, several outputs of one kernel, or none."""
    inputs = keras.Input((32, 32, 3))
    active = layers.BatchNormalization()(layers.Conv2D(3, 1, activation="relu")(inputs))
    shared = layers.Conv2D(3, 1)(active)
    x = layers.Add()([layers.BatchNormalization()(shared), shared])
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(1, depth_multiplier=2)(x))
    x = layers.BatchNormalization()(layers.Conv2DTranspose(2, 2)(x))
    model = keras.Model(inputs, layers.BatchNormalization()(layers.ReLU()(x)))
    same_after(learnt(model, rng), rng, 0)


@pytest.mark.parametrize("classes_first", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities(rng, classes, classes_first):
    inputs = keras.Input((None, None, classes))
    logits = rng.normal(0, 30, (2, 4, 5, classes)).astype(np.float32)
    logits[0, 0, 0], logits[0, 0, 1, 1] = 7, 1e9
    found = keras.Model(inputs, softmax(inputs, classes_first)).predict_on_batch(logits)
    np.testing.assert_allclose(found, scipy.special.softmax(logits, -1), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    assert found[0, 0, 0, 0] == found[0, 0, 0, 1]
