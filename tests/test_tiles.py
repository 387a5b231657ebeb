"""Overlap-tile: what a tile needs, and that tiles say the same as one pass."""

import dataclasses

import keras
import numpy as np
import pytest

from core.config import IGNORE, Config
from core.imaging.letterbox import letterbox
from core.imaging.tiles import (
    _mirrored,
    core_of,
    cut,
    onto_objects,
    places,
    random_crop,
    surround,
    surrounded,
)
from core.prediction.predict import predict
from nets.reach import Geometry, geometry
from nets.unet import UNet

pytestmark = pytest.mark.deep


def unet(**options):
    keras.utils.set_random_seed(3)
    return UNet((None, None, 1), 2, 2, **options)


def with_softmax(model):
    return keras.Model(model.inputs, keras.layers.Softmax()(model.outputs[0]))


def small(kernel=3, pool=2):
    """One level: convolution, pooling, convolution, upsampling and its 2x2 convolution."""
    x = inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(1, kernel, padding="same", use_bias=False)(x)
    x = keras.layers.MaxPooling2D(pool)(x)
    x = keras.layers.Conv2D(1, 3, padding="same", use_bias=False)(x)
    x = keras.layers.UpSampling2D(pool)(x)
    x = keras.layers.Conv2D(1, 2, padding="same", use_bias=False)(x)
    return keras.Model(inputs, x)


def test_the_radius_by_hand():
    """A block of 2 needs, backwards: the 2x2 convolution 1 after it, upsampling half of that,
    rounded up, the 3x3 one 1 more on both sides, pooling twice that, the 3x3 one 1 more."""
    assert geometry(small()) == Geometry(grid=2, radius=2 * (1 + 1) + 1)
    assert geometry(small(kernel=5)) == Geometry(grid=2, radius=2 * (1 + 1) + 2)
    assert geometry(small(pool=4)).grid == 4


def influence(model, grid, side):
    """How far beyond an aligned block an input pixel changes its output: measured.

    All kernels are set to 1, so that nothing cancels out and every influence is seen.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.set_weights([np.ones_like(weight) * 0.05 for weight in layer.get_weights()])
    block = slice(side // 2 // grid * grid, side // 2 // grid * grid + grid)
    pixels = np.eye(side, dtype=np.float32)[:, :, None, None] * np.ones((1, 1, 8 * grid, 1))
    plain = model.predict_on_batch(np.zeros_like(pixels[:1]))
    changed = [
        np.abs(model.predict_on_batch(255 * pixels[row : row + 1]) - plain)[0, block].max() > 0
        for row in range(side)
    ]
    rows = np.flatnonzero(changed)
    return max(block.start - rows[0], rows[-1] - (block.stop - 1))


@pytest.mark.slow
def test_the_radius_is_how_far_the_network_sees():
    assert influence(small(), 2, 24) == geometry(small()).radius
    model = unet(dropout=0)
    assert influence(model, 16, 320) == geometry(model).radius
    assert geometry(model).grid == 16


def test_the_paper_s_network_reads_what_it_does_not_answer():
    """Backwards from a block of the grid: 2 pixels of both convolutions, then half of that, rounded
    up, and 2 more, on each level: 4 at the bottom; from there on twice as many and 2 more."""
    needs = geometry(unet(architecture="paper"))
    radius = 2 * (2 * (2 * (2 * 4 + 2) + 2) + 2) + 2
    assert needs == Geometry(grid=16, radius=radius, trim=92)
    assert needs.radius == needs.margin == 94
    assert [needs.fitting(side) for side in (388, 389, 4, 1)] == [572, 588, 188, 188]
    assert geometry(unet()).fitting(33) == 48


@pytest.mark.parametrize("options", [{"upsampling": "transpose"}, {"normalization": "group"}])
def test_options_of_the_plain_network(options):
    needs = geometry(unet(**options))
    assert needs.grid == 16 and needs.margin <= geometry(unet()).margin


def test_normalization_and_softmax_change_no_radius():
    assert geometry(with_softmax(unet(normalization="batch"))) == geometry(unet())


def test_layers_that_are_not_known_are_refused():
    inputs = keras.Input((None, None, 1))
    pooled = keras.layers.AveragePooling2D(2)(inputs)
    with pytest.raises(TypeError, match="AveragePooling2D"):
        geometry(keras.Model(inputs, pooled))
    wide = keras.layers.Conv2DTranspose(1, 3, strides=2)(inputs)
    with pytest.raises(TypeError, match="Conv2DTranspose"):
        geometry(keras.Model(inputs, wide))
    smooth = keras.layers.UpSampling2D(2, interpolation="bilinear")(inputs)
    with pytest.raises(TypeError, match="reach of bilinear"):
        geometry(keras.Model(inputs, smooth))
    pool = keras.layers.MaxPooling2D(2)
    with pytest.raises(TypeError, match="in two places"):
        geometry(keras.Model(inputs, pool(pool(inputs))))
    with pytest.raises(TypeError, match="Sin"):
        geometry(keras.Model(inputs, keras.ops.sin(inputs)))


@pytest.mark.parametrize("start, stop, length", [(-5, 12, 6), (-9, 9, 2), (-3, 4, 1), (0, 4, 4)])
def test_mirrored_as_numpy_reflects(start, stop, length):
    wanted = np.pad(np.arange(length), (-start, max(0, stop - length)), "reflect")
    np.testing.assert_array_equal(_mirrored(start, stop, length), wanted[: stop - start])


@pytest.mark.parametrize("trim", [0, 12])
@pytest.mark.parametrize("shape", [(1, 1), (16, 100), (37, 200), (160, 161), (64, 128), (97, 500)])
def test_the_cores_cover_the_image_once(shape, trim):
    """Each has a margin on all sides; with padding, not beyond the image."""
    needs = Geometry(16, 20, trim)
    image = np.arange(shape[0] * shape[1], dtype=np.int32).reshape(*shape, 1)
    counted = np.zeros(shape, int)
    tiles = []
    for place in places(shape, needs, 128):
        counted[place.core] += 1
        tiles.append(cut(image, place))
        height, width = tiles[-1].shape[:2]
        for side, window, core in zip(shape, place.window, place.core, strict=True):
            assert core.start % 16 == 0 and window.stop - window.start <= 128
            first, last = window.start, window.stop
            before, after = core.start - first, last - core.stop
            if trim:
                assert before >= needs.margin <= after and (before - needs.margin) % 16 == 0
            else:
                assert first % 16 == 0 <= first and last < side + 16
                assert before >= needs.margin or first == 0
                assert after >= needs.margin or last >= side
        scores = tiles[-1][trim : height - trim, trim : width - trim]
        np.testing.assert_array_equal(core_of(scores, needs, place), image[place.core])
    assert (counted == 1).all() and len({tile.shape for tile in tiles}) == 1


def test_tiles_by_hand():
    """A line of 10 pixels; the network sees 2 to each side."""
    found = [(*place.window, *place.core) for place in places((1, 10), Geometry(1, 2), 6)]
    one = slice(0, 1)
    assert found == [
        (one, slice(0, 6), one, slice(0, 4)),
        (one, slice(2, 8), one, slice(4, 6)),
        (one, slice(4, 10), one, slice(6, 10)),
    ]
    found = [(place.window[1], place.core[1]) for place in places((1, 5), Geometry(1, 2, 1), 7)]
    assert found == [(slice(-2, 5), slice(0, 3)), (slice(0, 7), slice(3, 5))]


def test_an_image_that_fits_is_one_tile_and_no_larger():
    """Also where the network sees farther than the image is large."""
    for radius in (5, 94, 300):
        (place,) = places((512, 300), Geometry(16, radius), 1024)
        assert place == ((slice(0, 512), slice(0, 304)), (slice(0, 512), slice(0, 300)))


def one_pass(model, image, needs):
    """The network's answer to the image at once; without padding, to its mirror image around it."""
    margin = needs.margin if needs.trim else 0
    inside = margin - needs.trim
    rows, columns = (-side % needs.grid + margin for side in image.shape[:2])
    padded = np.pad(image, ((margin, rows), (margin, columns), (0, 0)), "reflect")
    answer = model.predict_on_batch(padded[None])[0]
    return answer[inside : inside + image.shape[0], inside : inside + image.shape[1]]


def on_tiles(model, image, monkeypatch, side, radius=None):
    """The same with tiles of at most `side` pixels, the overlap being as if of `radius`."""
    monkeypatch.setattr("core.prediction.predict.TILE_BUDGET", 2 * side * side)
    if radius is not None:
        less = dataclasses.replace(geometry(model), radius=radius)
        monkeypatch.setattr("core.prediction.predict.geometry", lambda model: less)
    config = Config(class_names=("a", "b"), channels=1, filters=2)
    (answer,) = predict(model, [image], config, tile=True, keep=np.float32)
    monkeypatch.undo()
    return answer


def test_tiles_are_no_shorter_than_three_margins():
    """With encoders, whose margins are hundreds of pixels, tiles of a core would be all margin."""
    for longest, core in [(100, 352), (1024, 352), (1100, 384), (1408, 704)]:
        place, *_ = places((32, 352 * 384), Geometry(grid=32, radius=341), longest)
        assert place.window[1] == slice(0, core + 2 * 352)


def with_biases(model, rng):
    """Biases of 0 would hide the zeros of same-padding."""
    for weight in model.trainable_weights:
        if weight.name in ("bias", "beta"):
            weight.assign(rng.normal(size=weight.shape))
    return model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalization": "batch"},
        {"upsampling": "transpose"},
        {"architecture": "paper"},
        {"architecture": "paper", "normalization": "batch"},
    ],
    ids=str,
)
def test_tiles_say_what_one_pass_says(rng, monkeypatch, options):
    model = with_biases(unet(**options), rng)
    image = rng.integers(0, 256, (370, 460, 1), np.uint8)
    needs = geometry(model)
    wanted = one_pass(model, image, needs)
    assert len(places(image.shape, needs, 320)) >= 6
    answer = on_tiles(model, image, monkeypatch, 320)
    np.testing.assert_allclose(answer.probabilities(), wanted, atol=1e-4)
    np.testing.assert_array_equal(answer.class_map(), wanted.argmax(-1))

    if not needs.trim:  # an unpadded network cannot be given less
        less = on_tiles(model, image, monkeypatch, 320, radius=16)
        assert np.abs(less.probabilities() - wanted).max() > 1e-2


@pytest.mark.slow
def test_tiles_say_what_one_pass_says_with_an_encoder(monkeypatch):
    """Strided convolutions behind explicit zeros: where they begin depends on the tile's place."""
    rng = np.random.default_rng(1)  # with 0 the two features of the last level are dead
    model = with_biases(unet(encoder="mobilenet_v2"), rng)
    for layer in model.layers:  # Keras draws them so small that nothing is left of the image
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.set_weights([rng.normal(0, 0.5, layer.kernel.shape)])
    image = rng.integers(0, 256, (40, 1090, 1), np.uint8)
    needs = geometry(model)
    assert needs.grid == 32
    wanted = one_pass(model, image, needs)
    assert len(places(image.shape, needs, 256)) == 2
    found = on_tiles(model, image, monkeypatch, 256).probabilities()
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert wanted[..., 0].std() > 0.1
    less = on_tiles(model, image, monkeypatch, 256, radius=32).probabilities()
    assert np.abs(less - wanted).max() > 1e-2


@pytest.mark.parametrize("size", [(388, 388), (100, 48)])
def test_the_paper_s_network_answers_for_all_of_the_canvas(rng, size):
    model = with_biases(unet(architecture="paper"), rng)
    image = rng.integers(0, 256, (120, 100, 1), np.uint8)
    config = Config(class_names=("a", "b"), channels=1, filters=2, size=size)
    (answer,) = predict(model, [image], config, batch_size=1)
    padded = surround(letterbox(image, size), geometry(model))
    if size == (388, 388):
        assert padded.shape == (572, 572, 1)
        np.testing.assert_array_equal(
            padded, np.pad(letterbox(image, size), ((92, 92), (92, 92), (0, 0)), "reflect")
        )
    wanted = model.predict_on_batch(padded[None])[0, : size[0], : size[1]]
    np.testing.assert_allclose(answer.scores, wanted, atol=1e-6)
    assert answer.class_map().shape == (120, 100)
    (turned,) = predict(model, [image], config, batch_size=1, tta=True)
    assert turned.scores.shape == answer.scores.shape


@pytest.mark.parametrize(
    "crop", [None, np.s_[0:4, 0:20], np.s_[7:43, 30:50], np.s_[36:40, 10:30], np.s_[30:39, 1:50]]
)
def test_crops_with_their_surroundings(rng, crop):
    """Its own surroundings first, the mirror's where the image ends; 255 behind the mask."""
    needs = Geometry(grid=16, radius=94, trim=92)
    image = rng.integers(0, 256, (40, 50, 1), np.uint8)
    mask = rng.integers(0, 3, (40, 50)).astype(np.uint16) + 256
    before = mask.copy()
    pixels, ids = surround(image, needs, crop), surrounded(mask, needs, crop)
    (top, bottom), (left, right) = ((part.start, part.stop) for part in crop or np.s_[0:40, 0:50])
    assert pixels.shape[:2] == tuple(side + 2 * 92 for side in ids.shape)
    assert [side % 16 for side in pixels.shape[:2]] == [12, 12]
    assert 0 <= ids.shape[0] - (bottom - top) < 16 and 0 <= ids.shape[1] - (right - left) < 16
    mirrored = np.pad(image, ((92, 200), (92, 200), (0, 0)), "reflect")
    np.testing.assert_array_equal(
        pixels, mirrored[top:, left:][: pixels.shape[0], : pixels.shape[1]]
    )
    beyond = np.pad(mask, ((0, 200), (0, 200)), constant_values=255)
    np.testing.assert_array_equal(ids, beyond[top:, left:][: ids.shape[0], : ids.shape[1]])
    assert ids.dtype == np.uint16
    np.testing.assert_array_equal(mask, before)


def test_images_share_batches_and_come_in_order(rng, monkeypatch):
    model = unet()
    batches = []
    monkeypatch.setattr(
        model,
        "predict_on_batch",
        lambda batch, run=model.predict_on_batch: batches.append(len(batch)) or run(batch),
    )
    config = Config(class_names=("a", "b"), channels=1, filters=2)
    sizes = [(32, 32), (30, 25), (20, 32), (40, 32), (32, 32)]
    images = [rng.integers(0, 256, (*size, 1), np.uint8) for size in sizes]
    found = list(predict(model, images, config, tile=True, batch_size=8))
    assert [answer.class_map().shape for answer in found] == sizes
    assert batches == [3, 1, 1]  # 3 of one tile shape, one larger, one as before
    for image, answer in zip(images, found, strict=True):
        (alone,) = predict(model, [image], config, tile=True)
        np.testing.assert_array_equal(answer.class_map(), alone.class_map())


def test_random_crops_stay_inside():
    draw = random_crop
    crops = [draw((80, 96, 3), np.random.default_rng(i), (80, 64)) for i in range(300)]
    assert all(rows == slice(0, 80) for rows, _ in crops)
    columns = [part for _, part in crops]
    assert {part.start for part in columns} == set(range(33))
    assert {part.stop - part.start for part in columns} == {64}
    whole = draw((80, 96), np.random.default_rng(0), (999, 999))
    assert whole == (slice(0, 80), slice(0, 96))


def test_a_crop_of_a_single_class_moves_to_another_one_half_of_the_time():
    mask = np.zeros((100, 120), np.uint8)
    mask[90, 5], mask[20:22, 100:110] = 1, 2
    mask[:, 60] = IGNORE
    rngs = list(map(np.random.default_rng, range(2000)))
    crops = [onto_objects(random_crop(mask.shape, r, (10, 12)), mask, r) for r in rngs]
    assert {mask[crop].shape for crop in crops} == {(10, 12)}
    found = [set(np.unique(mask[crop]).tolist()) for crop in crops]
    # By chance, one of 1,000 has the pixel, and two of 100 the strip; the classes weigh alike.
    assert 0.2 < np.mean([1 in there for there in found]) < 0.3
    assert 0.22 < np.mean([2 in there for there in found]) < 0.32
    rows = [90 - crop[0].start for crop in crops if 1 in mask[crop]]
    assert set(rows) == set(range(10))  # it lies anywhere in the crop


@pytest.mark.parametrize("value", [0, IGNORE])
def test_a_mask_of_a_single_class_has_random_crops(value):
    """Nothing more is drawn, as where the crop already shows two classes."""
    empty, both = np.full((50, 50), value, np.uint8), np.indices((50, 50))[1].astype(np.uint8) % 2
    for mask in (empty, both):
        rng, same = np.random.default_rng(7), np.random.default_rng(7)
        crop = slice(3, 11), slice(42, 50)
        assert onto_objects(crop, mask, rng) == crop
        assert mask is empty or rng.random() == same.random()
