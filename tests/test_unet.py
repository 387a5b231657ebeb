import keras
import numpy as np
import pytest

from nets.unet import UNet


def tiny(**kwargs):
    return UNet((32, 32, 3), 4, 2, **kwargs)


def test_parameters_of_the_reference():
    assert UNet().count_params() == 31_033_045
    assert UNet((128, 128, 3), 5, 16).count_params() == 1_941_173


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


def test_pictures_of_0_to_255_are_scaled_inside():
    model = tiny()
    scale = keras.Model(model.input, model.get_layer("rescale").output)
    picture = np.full((1, 32, 32, 3), 255, np.uint8)
    np.testing.assert_allclose(scale.predict_on_batch(picture), 1.0, rtol=1e-6)


@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_any_size_with_none(normalization):
    model = UNet((None, None, 1), 2, 2, normalization=normalization)
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
        (((96, 96, None),), "number of channels"),
        (((96, 96, 3), 1), "num_classes"),
        (((96, 96, 3), 2, 0), "filters"),
    ],
)
def test_the_impossible_is_refused_with_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        UNet(*arguments)


def test_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match="'layer'"):
        tiny(normalization="layer")
