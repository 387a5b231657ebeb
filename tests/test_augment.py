import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from core.config import AUGMENTATIONS, UPRIGHT
from core.imaging import augment, elastic
from core.imaging.elastic import elastic_transform
from core.imaging.letterbox import letterbox, letterbox_mask, placement

GEOMETRY = [
    augment.flip,
    augment.quarter_turn,
    augment.orient,
    augment.trim,
    augment.translate,
    augment.elastic,
    augment.deform,
]
COLOUR = [augment.colours, augment.sharpness, augment.intensity]
WHOLE = [augment.photograph, augment.reference, augment.microscopy, augment.paper]
ALL = [*GEOMETRY, *COLOUR, *WHOLE]


def pair(channels=3):
    """An image that encodes its own mask: ids 0 to 3 in patches, brightness 60 * id."""
    ids = np.random.default_rng(3).integers(0, 4, (5, 6)).astype(np.uint8)
    mask = cv2.resize(ids, (96, 80), interpolation=cv2.INTER_NEAREST)
    return np.repeat(60 * mask[..., None], channels, -1), mask


@pytest.mark.parametrize("change", ALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_pure_and_typed(change, channels):
    image, mask = pair(channels)
    before = image.copy(), mask.copy()
    for seed in range(8):
        first = change(image, mask, np.random.default_rng(seed))
        second = change(image, mask, np.random.default_rng(seed))
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == np.uint8
        assert first[0].shape == (*first[1].shape, channels)
        assert set(np.unique(first[1])) <= {0, 1, 2, 3, 255}
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(mask, before[1])


@pytest.mark.parametrize("change", GEOMETRY)
def test_image_and_mask_move_alike(change):
    image, mask = pair()
    for seed in range(10):
        moved, ids = change(image, mask, np.random.default_rng(seed))
        inner = cv2.erode((ids != 255).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        flat = inner & (cv2.dilate(ids, np.ones((3, 3))) == cv2.erode(ids, np.ones((3, 3))))
        assert flat.sum() > 500
        error = np.abs(moved[..., 0].astype(int) - 60 * ids.astype(int))[flat]
        bent = change in (augment.elastic, augment.deform)
        assert (error <= 2).mean() > 0.98 if bent else (error <= 2).all()


def test_flip_and_turns_by_hand():
    mask = np.array([[1, 2], [3, 4]], np.uint8)
    _, flipped = augment.flip(mask[..., None], mask, None)
    np.testing.assert_array_equal(flipped, [[2, 1], [4, 3]])
    seen = {
        augment.orient(mask[..., None], mask, np.random.default_rng(i))[1].tobytes()
        for i in range(80)
    }
    assert len(seen) == 8


@pytest.mark.parametrize("change", [augment.microscopy, augment.turned])
def test_on_a_long_canvas_images_are_not_laid_on_their_side(change):
    """A strip of 10x60 pixels would have 1 or 2 pixels of height. On 60x80 it may lie anyhow."""
    image = np.zeros((20, 120, 1 if change is augment.microscopy else 3), np.uint8)
    for size, turns in (((10, 60), False), ((40, 60), False), ((60, 80), True), (None, True)):
        shapes, ids = set(), np.arange(2400).reshape(20, 120) // 10 % 255
        for seed in range(60):
            _, mask = change(image, ids.astype(np.uint8), np.random.default_rng(seed), size)
            shapes.add(mask.shape[0] > mask.shape[1])
        assert shapes == ({False, True} if turns else {False})
    seen = {
        augment.orient(image, ids.astype(np.uint8), np.random.default_rng(i), (10, 60))[1].tobytes()
        for i in range(80)
    }
    assert len(seen) == 4


@pytest.mark.parametrize("channels", [1, 3])
def test_turns_are_numpy_s(channels):
    image, mask = pair(channels)
    seen = set()
    for seed in range(20):
        turns = int(np.random.default_rng(seed).integers(4))
        turned, ids = augment.quarter_turn(image, mask, np.random.default_rng(seed))
        np.testing.assert_array_equal(turned, np.rot90(image, turns))
        np.testing.assert_array_equal(ids, np.rot90(mask, turns))
        seen.add(turns)
    assert seen == {0, 1, 2, 3}


def test_translations_reach_every_shift():
    image, _ = pair()
    mask = np.arange(80 * 96, dtype=np.uint16).reshape(80, 96)
    shifts = set()
    for seed in range(1500):
        _, ids = augment.translate(image, mask, np.random.default_rng(seed))
        row, column = divmod(int(ids[40, 48]), 96)  # always covered
        shifts.add((40 - row, 48 - column))
    down, right = zip(*shifts, strict=True)
    assert set(down) == set(range(-8, 9)) and set(right) == set(range(-9, 10))


def test_trim_keeps_at_least_four_fifths():
    image, mask = pair()
    shapes = np.array(
        [augment.trim(image, mask, np.random.default_rng(i))[1].shape for i in range(200)]
    )
    assert tuple(shapes.min(0)) == (80 - 16, 96 - 18) and tuple(shapes.max(0)) == (80, 96)


def test_translate_uncovers_grey_and_255():
    image, mask = pair()
    for seed in range(10):
        moved, ids = augment.translate(image, mask, np.random.default_rng(seed))
        assert (moved[ids == 255] == 128).all()
        rows, columns = (ids == 255).all(1).sum(), (ids == 255).all(0).sum()
        assert rows <= 8 and columns <= 9
        assert (ids == 255).sum() == rows * 96 + columns * 80 - rows * columns


@pytest.mark.parametrize("change", COLOUR)
def test_colour_changes_leave_the_mask(change):
    image, mask = pair()
    results = [change(image, mask, np.random.default_rng(i)) for i in range(5)]
    assert all(ids is mask for _, ids in results)
    assert any((changed != image).any() for changed, _ in results)


def test_hue_is_shifted_by_a_share_of_the_circle():
    red = np.full((4, 4, 3), (200, 0, 0), np.uint8)
    limits = {"hue": 1 / 3, "saturation": 1, "value": 1, "brightness": 0}
    shifts = []
    for seed in range(400):
        jittered, _ = augment.colours(red, None, np.random.default_rng(seed), **limits)
        assert jittered.max() == 200
        degrees = cv2.cvtColor((jittered / 255).astype(np.float32), cv2.COLOR_RGB2HSV)[0, 0, 0]
        shifts.append((degrees + 180) % 360 - 180)
    assert -123 < min(shifts) < -100 and 100 < max(shifts) < 123
    assert shifts.count(0) == pytest.approx(200, abs=50)


def test_photograph_goes_through_hsv_once(monkeypatch):
    """With the colours of both changes, each half the time."""
    calls = []

    def spy(image, **colours):
        calls.append(set(colours))
        return image

    monkeypatch.setattr(augment, "_through_hsv", spy)
    image, mask = pair()
    for seed in range(800):
        augment.photograph(image, mask, np.random.default_rng(seed))
    jittered = sum("shift" in names for names in calls)
    brightened = sum("brighter" in names for names in calls)
    both = jittered + brightened - len(calls)
    assert jittered == pytest.approx(400, abs=60) and brightened == pytest.approx(400, abs=60)
    assert both == pytest.approx(200, abs=50)


def test_photograph_changes_as_few_pixels_as_the_canvas_has(monkeypatch):
    """An image that is smaller than the canvas stays so."""
    image, mask = pair()
    canvas = (40, 60)
    seen = []
    for name in ("flip", "translate", "sharpness"):
        monkeypatch.setattr(augment, name, lambda *pair: seen.append(pair[1].shape) or pair[:2])
    monkeypatch.setattr(augment, "_through_hsv", lambda image, **colours: image)
    for seed in range(20):
        large, ids = augment.photograph(image, mask, np.random.default_rng(seed))
        assert {ids.shape} >= set(seen)
        seen.clear()
        small, small_ids = augment.photograph(image, mask, np.random.default_rng(seed), canvas)
        assert small.shape[:2] == small_ids.shape == placement(ids.shape, canvas)[2:]
        assert {small_ids.shape} >= set(seen)
        seen.clear()
        np.testing.assert_array_equal(letterbox(small, canvas), letterbox(large, canvas))
        np.testing.assert_array_equal(
            letterbox_mask(small_ids, canvas), letterbox_mask(ids, canvas)
        )
        same, _ = augment.photograph(image, mask, np.random.default_rng(seed), (200, 100))
        np.testing.assert_array_equal(same, large)
        seen.clear()


def test_the_reference_changes_two_fifths_of_the_images(monkeypatch):
    """Each of its six changes in half of these, so in 400 of 2,000, in its order."""
    seen = []

    def spy(name):
        return lambda image, mask, rng, **_: seen.append(name) or (image, mask)

    for name in ("flip", "trim", "translate"):
        monkeypatch.setattr(augment, name, spy(name))
    monkeypatch.setattr(
        augment, "sharpness", lambda *args, low: seen.append(f"sharpness {low}") or args[:2]
    )
    monkeypatch.setattr(
        augment, "_through_hsv", lambda image, **colours: seen.extend(colours) or image
    )
    image, mask = pair()
    order = ["flip", "shift", "saturation", "value", "brighter"]
    order += ["sharpness -0.5", "trim", "translate"]
    every, changed = [], 0
    for seed in range(2000):
        augment.reference(image, mask, np.random.default_rng(seed), (10, 10))
        assert seen == [name for name in order if name in seen]
        changed += bool(seen)
        every += seen
        seen.clear()
    assert changed == pytest.approx(800 * (1 - 2**-6), abs=90)
    for name in order:
        assert every.count(name) == pytest.approx(400, abs=70), name


def test_colours_are_those_of_tables(rng):
    """One pass of both changes against hue, saturation and value changed level by level."""
    image = rng.integers(0, 256, (30, 40, 3), np.uint8)
    ours = augment._through_hsv(image, shift=-20, saturation=0.8, value=1.3, brighter=-30.0)
    levels = np.arange(256)
    tables = np.stack([(levels - 20) % 256, levels * 0.8, levels * 1.3 - 30], -1)
    tables = np.clip(np.rint(tables), 0, 255).astype(np.uint8)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL), tables[None])
    theirs = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
    assert np.abs(ours.astype(int) - theirs).max() <= 2


def test_brightness_adds_to_the_value():
    grey = np.full((4, 4, 1), 100, np.uint8)
    rngs = map(np.random.default_rng, range(400))
    levels = [augment.colours(grey, None, rng, value=1)[0][0, 0, 0] for rng in rngs]
    assert 100 - 77 <= min(levels) < 40 and 160 < max(levels) <= 100 + 77
    assert levels.count(100) == pytest.approx(200, abs=50)


@pytest.mark.parametrize("low", [0, -0.5])
def test_sharpness_is_pillow_s(rng, low):
    from PIL import Image, ImageEnhance

    seed = 5 if low == 0 else next(s for s in range(99) if np.random.default_rng(s).random() < 0.1)
    image = rng.integers(0, 256, (20, 30, 3), np.uint8)
    ours, _ = augment.sharpness(image, None, np.random.default_rng(seed), low=low)
    factor = np.random.default_rng(seed).uniform(low, 3)
    assert (factor < 0) == (low < 0)
    theirs = np.asarray(ImageEnhance.Sharpness(Image.fromarray(image)).enhance(factor))
    inner = np.s_[1:-1, 1:-1]
    assert np.abs(ours[inner].astype(int) - theirs[inner]).max() <= 3


@pytest.mark.parametrize(("alpha", "sigma"), [(300, 16), (60, 4), (1024, 41)])
def test_displacement_promises_what_simard_s_has(alpha, sigma):
    """Standard deviation and correlation against SciPy's gaussian_filter of uniform noise."""
    rng = np.random.default_rng(0)
    identity = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    shape = (640, 640)
    y, x = np.indices(shape)
    ours = np.concatenate(
        [
            np.moveaxis(
                elastic._positions(shape, alpha, sigma, identity, rng) - np.stack([x, y], -1), -1, 0
            )
            for _ in range(8)
        ]
    )
    edge = 4 * sigma  # SciPy mirrors the noise at its border, which adds to the deviation there
    large = [side + 2 * edge for side in shape]
    inner = np.s_[edge:-edge, edge:-edge]
    theirs = np.stack(
        [(gaussian_filter(rng.uniform(-1, 1, large), sigma) * alpha)[inner] for _ in range(16)]
    )
    assert ours.std() == pytest.approx(theirs.std(), rel=0.1)
    for lag in (sigma // 2, sigma, 2 * sigma):
        wanted = np.exp(-(lag**2) / (4 * sigma**2))
        for axis in (1, 2):
            near, far = np.split(ours, [-lag], axis)[0], np.split(ours, [lag], axis)[1]
            assert (near * far).mean() / (ours**2).mean() == pytest.approx(wanted, abs=0.08)


def displacements(shape, seed):
    y, x = np.indices(shape)
    return elastic._bent(shape, 10.0, np.random.default_rng(seed)) - np.stack([x, y], -1)


def test_the_paper_s_displacements_at_the_nodes():
    """The centres of 3x3 parts of 5x7 pixels are pixels themselves."""
    found = displacements((15, 21), seed=1)[2::5, 3::7]
    np.testing.assert_allclose(
        found, np.random.default_rng(1).normal(0, 10, (3, 3, 2)), rtol=1e-4, atol=1e-5
    )
    many = np.stack([displacements((15, 15), seed)[2::5, 2::5] for seed in range(400)])
    assert many.std(axis=0) == pytest.approx(10, rel=0.15) and many.std() == pytest.approx(10, 0.03)
    assert np.abs(np.corrcoef(many.reshape(400, -1).T) - np.eye(18)).max() < 0.25


def test_the_paper_s_displacements_between_the_nodes():
    """By the cubic convolution of Keys with OpenCV's a = -0.75; nodes repeat beyond the border."""
    found = displacements((30, 12), seed=2)[:, 5]
    nodes = np.random.default_rng(2).normal(0, 10, (3, 3, 2))

    def kernel(x, a=-0.75):
        x = np.abs(x)
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        return np.where(x < 1, near, np.where(x < 2, a * (x**3 - 5 * x**2 + 8 * x - 4), 0))

    def weights(count):
        at = (np.arange(count) + 0.5) * 3 / count - 0.5
        taps = kernel(at[:, None] - np.arange(-2, 5))
        return np.stack([taps[:, :3].sum(1), taps[:, 3], taps[:, 4:].sum(1)], 1)

    wanted = np.einsum("yi,xj,ijc->yxc", weights(30), weights(12), nodes)[:, 5]
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    smooth = displacements((300, 300), seed=3)
    assert np.abs(np.diff(smooth, 2, axis=0)).max() < 0.05 < np.abs(np.diff(smooth, axis=0)).max()


def test_the_paper_s_deformation_mirrors_the_image_and_keeps_weights():
    """A mask of border weights has them in its upper byte; 255 comes in where nothing is known."""
    image, mask = pair(1)
    image[:] = 200
    packed = mask | np.uint16(0x1200)
    outside = 0
    for seed in range(10):
        moved, ids = augment.deform(image, packed, np.random.default_rng(seed))
        assert ids.dtype == np.uint16 and set(np.unique(ids)) <= {0x1200 + i for i in range(4)} | {
            255
        }
        assert (moved == 200).all()
        outside += (ids == 255).sum()
    assert outside > 0


def test_elastic_transform_is_the_identity_at_strength_0(rng):
    image = rng.integers(0, 256, (40, 50, 1), np.uint8)
    mask = rng.integers(0, 3, (40, 50), np.uint8)
    same, ids = elastic_transform(image, mask, 0, 8, 0, random_state=0)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(ids, mask)


def test_elastic_transform_of_a_crop(rng):
    image = rng.integers(0, 256, (60, 70, 1), np.uint8)
    mask = rng.integers(0, 3, (60, 70), np.uint8)
    crop = np.s_[10:42, 25:65]
    same, ids = elastic_transform(image, mask, 0, 8, 0, 0, crop=crop)
    np.testing.assert_array_equal(same, image[crop])
    np.testing.assert_array_equal(ids, mask[crop])
    for part, whole in zip(
        elastic_transform(image, mask, 0, 8, 5, 0, crop=crop),
        elastic_transform(image, mask, 0, 8, 5, 0),
        strict=True,
    ):
        assert (part == whole[crop]).mean() > 0.98  # the affine map is the same but for rounding


def test_elastic_transform_is_importable_from_its_data_set_and_takes_random_states():
    from core.ISBIdataset import elastic_transform as public

    assert public is elastic_transform
    image, mask = pair(1)
    grey = image[..., 0]
    results = [
        elastic_transform(grey, mask, 100, 8, 5, state) for state in (7, np.random.default_rng(7))
    ]
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][0].shape == grey.shape
    drawn = [elastic_transform(grey, mask, 100, 8, 5)[0].tobytes() for _ in range(2)]
    assert drawn[0] != drawn[1]


def test_affine_part_moves_by_at_most_its_strength():
    image, mask = pair(1)
    mask = np.zeros((300, 300), np.uint8)
    mask[150, 150] = 1
    mask = cv2.dilate(mask, np.ones((5, 5)))
    places = []
    for seed in range(30):
        _, ids = elastic_transform(mask, mask, 0, 8, 20, seed)
        places.append(np.argwhere(ids == 1).mean(0) - 150)
    assert 3 < np.abs(places).max() < 21


def test_scaling_draws_one_factor_for_both_sides():
    """Its logarithm is drawn: as often half as twice, and never beyond the limit."""
    sizes = [augment.scaled((100, 200), np.random.default_rng(i), 2.0) for i in range(400)]
    assert all(abs(width - 2 * height) <= 1 for height, width in sizes)
    factors = np.log2([width / 200 for _, width in sizes])
    assert factors.min() >= -1 and factors.max() <= 1
    assert np.histogram(factors, 4, (-1, 1))[0] == pytest.approx([100] * 4, abs=30)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_by_name(name):
    """The table of the program has the names of the flag; colours and ids stay what they are."""
    assert set(augment.AUGMENTATIONS) == set(AUGMENTATIONS)
    changes, elastic, scaling = augment.AUGMENTATIONS[name]
    assert (elastic, scaling > 1) == (name == "microscopy", name in ("upright", "turned"))
    assert (name in UPRIGHT) == (changes is augment.photograph)
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (48, 64, 3), np.uint8)
    mask = np.tile(np.repeat([0, 1], 32).astype(np.uint8), (48, 1))
    tall = set()
    for seed in range(40):
        out, ids = changes(image, mask, np.random.default_rng(seed), (24, 32))
        assert out.dtype == ids.dtype == np.uint8 and set(np.unique(ids)) <= {0, 1, 255}
        assert max(ids.shape) <= 32
        tall.add(ids.shape[0] > ids.shape[1])
    assert (True in tall) == (name not in UPRIGHT)  # a quarter turn
