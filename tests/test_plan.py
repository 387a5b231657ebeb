"""The plan for own data: each rule on a made-up fingerprint, and the fingerprint of tiny masks."""

import dataclasses
import json
import math
import re
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.config import PRESETS
from core.dataset import Dataset
from core.imaging.draw import vivid
from core.prediction.model_file import SHIPPED
from core.sources.cache import Store
from core.support.flags import training_config
from core.training import facts as module
from core.training import plan as rules
from core.training.facts import Cost, fingerprint, lost, measure_mask, shrinking
from core.training.plan import (
    LARGEST,
    SMALLEST,
    Fingerprint,
    affordable,
    canvas,
    command,
    describe,
    epochs_in,
    make_plan,
    settings_for,
)

OWN = dataclasses.replace(PRESETS["folder"], data="/data", class_names=("background", "a"))
# Vessels, membranes, animals, a road: what the rules are for.
VESSELS = Fingerprint(16, 4, (584, 565), (584, 565), False, (0.91, 0.09), (90.0, 4.4))
MEMBRANES = Fingerprint(20, 5, (512, 512), (512, 512), True, (0.22, 0.78), (7.0, 42.0))
ANIMALS = Fingerprint(600, 300, (262, 352), (352, 352), False, (0.7, 0.25, 0.05), (150.0, 70, 60))
ROAD = Fingerprint(
    367, 101, (360, 480), (360, 480), False, (0.3, 0.4, 0.29, 0.01), (60.0, 70, 50, 4), 30.0
)


chosen = settings_for


@pytest.mark.parametrize(("facts", "channels"), [(VESSELS, 3), (MEMBRANES, 1), (ANIMALS, 3)])
def test_grey_images_have_one_channel(facts, channels):
    assert chosen(facts)["channels"] == channels


def test_photographs_start_from_the_encoder_that_ships():
    for facts in (ANIMALS, ROAD):
        found = chosen(facts)
        assert (found["encoder"], found["encoder_weights"]) == ("efficientnet_lite2", str(SHIPPED))
        assert "encoder" not in chosen(facts, plain=True)


def test_thin_structures_and_grey_images_take_the_plain_network():
    grey = dataclasses.replace(ANIMALS, grey=True)
    for facts in (VESSELS, MEMBRANES, grey):
        assert "encoder" not in chosen(facts)
    assert (chosen(VESSELS)["filters"], chosen(VESSELS, gpu=True)["filters"]) == (16, 32)
    assert chosen(ANIMALS, gpu=True)["filters"] == 16


def test_thin_means_that_there_is_nothing_else():
    assert VESSELS.thin and MEMBRANES.thin and not ANIMALS.thin and not ROAD.thin
    assert (VESSELS.objects, MEMBRANES.objects, ROAD.thinnest) == ([1], [0], 4)
    nothing = dataclasses.replace(VESSELS, shares=(1.0, 0.0))
    assert not nothing.thin and nothing.thinnest == math.inf


def test_dice_where_a_class_is_rare():
    assert chosen(VESSELS)["loss"] == "crossentropy+dice"
    assert chosen(MEMBRANES)["loss"] == "crossentropy"  # 22 % are membrane
    assert chosen(ROAD)["loss"] == "crossentropy+dice"
    absent = dataclasses.replace(MEMBRANES, shares=(0.5, 0.5, 0.0), thickness=(9, 9, 0))
    assert chosen(absent)["loss"] == "crossentropy"


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        (VESSELS, "microscopy"),
        (MEMBRANES, "microscopy"),
        (ANIMALS, "turned"),  # 600 images whose halves are alike
        (ROAD, "upright"),
        (dataclasses.replace(ANIMALS, images=50), "upright"),  # too few to tell
        (dataclasses.replace(MEMBRANES, top_bottom=25.0), "upright"),  # X-rays have an up
        (dataclasses.replace(MEMBRANES, top_bottom=25.0, images=8), "microscopy"),
    ],
)
def test_turns_where_the_data_has_no_up(facts, kind):
    assert chosen(facts)["augmentation"] == kind


def test_thin_structures_are_never_shrunk():
    assert chosen(VESSELS)["crop"] == (256, 256)
    assert chosen(MEMBRANES)["crop"] == (256, 256)
    small = dataclasses.replace(VESSELS, size=(200, 300), largest=(200, 300))
    assert (chosen(small)["crop"], chosen(small)["size"]) == (None, (224, 320))
    flat = dataclasses.replace(VESSELS, size=(100, 4000), largest=(100, 4000))
    assert chosen(flat)["crop"] == (128, 256)


def test_the_canvas_has_the_aspect_ratio_of_the_images():
    assert canvas((360, 480), 1e9) == (384, 480)  # whole, and padded
    assert canvas((584, 565), 1e9, step=16) == (592, 576)
    assert canvas((3000, 4000), 192 * 256) == (192, 256)
    assert canvas((100, 10000), 128**2) == (32, 1280)
    assert shrinking(ROAD, (180, 240)) == 2 and shrinking(ROAD, (384, 480)) == 1


def cost(a_pixel=1e-6, **more):
    return Cost(
        **{"sample": a_pixel * 256**2, "pixels": 256**2, "start": 10, "writing": 0.5} | more
    )


def test_time_buys_pixels_until_the_images_are_whole():
    """Each image is seen 30 times: 30 (367 + 0.4 101) samples of 10 seconds are 30 megapixels."""
    short, long = (affordable(ROAD, cost(), seconds) for seconds in (1000, 1e6))
    assert short == {"size": canvas((360, 480), 1000 / (1e-6 * 30 * 407.4)), "crop": None}
    assert math.prod(short["size"]) == pytest.approx(81819, rel=0.1)
    assert long == {"size": (384, 480), "crop": None}
    assert math.prod(affordable(ANIMALS, cost(), 10)["size"]) == pytest.approx(SMALLEST, rel=0.25)


FEW = dataclasses.replace(ANIMALS, images=4, others=1, size=(2000, 3000), largest=(2000, 3000))


def test_few_images_leave_time_for_steps():
    """30 visits of 4 images are 15 steps of 8; 300 steps in 1000 seconds are 417,000 pixels."""
    for batch_size, pixels in ((8, 1000 / (1e-6 * 300 * 8)), (4, 1000 / (1e-6 * 300 * 4))):
        found = affordable(FEW, cost(), 1000, batch_size=batch_size)
        assert found == {"size": canvas((2000, 3000), pixels), "crop": None}
    assert affordable(FEW, cost(), 1000, most=100000)["size"] == canvas((2000, 3000), 100000)


def test_a_training_takes_half_of_the_memory(monkeypatch):
    """16 filters and a batch of 8 take 20,480 bytes a pixel: half of 4 GB are 97,656 pixels."""
    monkeypatch.setattr(rules, "measure", lambda config, opened: cost(1e-9))
    plan = make_plan(OWN, set(), FEW, None, 1000, 4e9)
    assert plan.size == canvas((2000, 3000), 97656)
    monkeypatch.setattr(rules.devices, "gpu_generation", lambda: 8)
    assert make_plan(OWN, set(), FEW, None, 1000, 4e9).size == canvas((2000, 3000), LARGEST)


def test_what_would_be_lost_is_cropped():
    """Poles of 4 pixels on a canvas a third as large would be 1.3 pixels."""
    found = affordable(ROAD, cost(), 300)
    assert found == {"size": (384, 480), "crop": (256, 256)}
    huge = dataclasses.replace(ANIMALS, size=(6000, 8000), largest=(6000, 8000))
    huge = dataclasses.replace(huge, thickness=(900, 20, 60))
    found = affordable(huge, cost(), 1000)
    assert found["crop"] == (256, 256) and math.prod(found["size"]) <= 1.05 * LARGEST


@pytest.mark.parametrize(
    ("images", "others", "seconds", "found"),
    [
        # An epoch of 1,000 images takes 65.5 s, and 4.4 s to validate and write: 2.4 of them fit.
        # As three, each is 56 s: a tenth of the time is for what does not train.
        (1000, 150, 168, {"epochs": 3, "repeats": 0.787}),
        # One of 20,000 images takes 22 minutes. Of parts, validation allows two, or ten at most.
        (20000, 400, 240, {"epochs": 2, "repeats": 0.0832}),
        (20000, 10, 240, {"epochs": 10, "repeats": 0.0177}),
        # Three epochs would fit, of 183 s to train and 131 s to validate. In two of 475 s, 28 % of
        # the time does not train; with three it would be two fifths.
        (2793, 5000, 950, {"epochs": 2, "repeats": 1.88}),
    ],
)
def test_few_epochs_visit_a_part_of_the_images(images, others, seconds, found):
    settings = dataclasses.replace(OWN, size=(256, 256), crop=None, batch_size=4)
    facts = dataclasses.replace(ROAD, images=images, others=others)
    assert epochs_in(facts, settings, cost(), seconds, True) == found
    whole = epochs_in(facts, settings, cost(), seconds, False)
    assert whole["repeats"] == 1
    preset = dataclasses.replace(settings, dataset="voc", repeats=2)
    assert epochs_in(facts, preset, cost(), seconds, True) == found
    many = epochs_in(facts, preset, cost(), 100000, True)
    assert many["repeats"] == 2 and many["epochs"] > 30


def test_epochs_fill_the_time():
    settings = dataclasses.replace(OWN, size=(256, 256), crop=None)
    facts = dataclasses.replace(ROAD, images=100, others=10)
    found = epochs_in(facts, settings, cost(), 1000, True)
    epoch = 0.065536 * (100 + 0.4 * 10) + 0.5
    assert found == {"epochs": round(1000 / (0.065536 * 300 + 0.065536 * 4 + 0.5)), "repeats": 3}
    assert epochs_in(facts, settings, cost(), 1000, False) == {
        "epochs": round(1000 / epoch),
        "repeats": 1,
    }
    # Too little for anything: eight steps of four images of a hundred.
    assert epochs_in(facts, settings, cost(), 0.1, True) == {"epochs": 1, "repeats": 0.32}
    # Few samples, and half as many to validate with: training has nine tenths of the time.
    few = dataclasses.replace(MEMBRANES, images=20, others=10)
    settings = dataclasses.replace(OWN, size=(512, 512), crop=(256, 256))
    found = epochs_in(few, settings, cost(), 420, True)
    rest = 0.4 * 10 * 0.262144 + 0.5
    assert 9 * rest <= 0.065536 * 20 * found["repeats"] < 9 * rest + 0.065536 * 20
    assert 7 <= epochs_in(few, settings, cost(), 30, True)["epochs"] <= 10  # but ten or nearly
    for seconds in (60, 300, 1200, 9000):
        found = epochs_in(VESSELS, dataclasses.replace(OWN, crop=(256, 256)), cost(), seconds, True)
        assert found["epochs"] <= 61


@pytest.fixture
def opened():
    return lambda config: (None, None)


def test_flags_override_their_part(monkeypatch):
    monkeypatch.setattr(rules, "measure", lambda config, opened: cost())
    plan = make_plan(OWN, set(), ROAD, None, 1200)
    assert plan.planned == tuple(sorted(rules.PLANNED))
    thin = make_plan(OWN, set(), VESSELS, None, 1200).planned
    assert thin == tuple(sorted({*rules.PLANNED} - {"encoder_lr_factor"}))
    given = {"encoder", "loss", "epochs", "size"}
    config = dataclasses.replace(OWN, loss="focal", epochs=3, size=(64, 64))
    plan = make_plan(config, given, ROAD, None, 1200)
    assert (plan.loss, plan.epochs, plan.size, plan.encoder) == ("focal", 3, (64, 64), "none")
    assert not given & {*plan.planned} and "encoder_weights" not in plan.planned
    assert plan.augmentation == "upright"


def test_weights_for_the_encoder_ask_for_it(monkeypatch, tmp_path):
    import train

    words = ["train.py", "--dataset", "folder", "--data", tmp_path, "--encoder-weights", SHIPPED]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    config = training_config(train.get_args())
    assert (config.encoder, config.encoder_weights) == ("efficientnet_lite2", str(SHIPPED))


def planned(monkeypatch, facts, **flags):
    """The plan where these flags are given."""
    monkeypatch.setattr(rules, "measure", lambda config, opened: cost())
    return make_plan(dataclasses.replace(OWN, **flags), {*flags}, facts, None, 1000)


@pytest.mark.parametrize(
    ("facts", "flags", "seconds", "filters"),
    [
        # 262 ms a step, and 10 seconds until the first one: 190 steps, or 343
        (VESSELS, {}, 60, 8),
        (VESSELS, {}, 100, 16),
        (VESSELS, {"filters": 16}, 60, 16),
        (ROAD, {}, 60, 16),  # pretrained
    ],
)
def test_short_times_get_narrow_networks(monkeypatch, facts, flags, seconds, filters):
    monkeypatch.setattr(rules, "measure", lambda config, opened: cost())
    config = dataclasses.replace(OWN, **flags)
    assert make_plan(config, {*flags}, facts, None, seconds).filters == filters


def test_a_canvas_that_is_given_is_no_crop(monkeypatch):
    plan = planned(monkeypatch, VESSELS, size=(128, 128))
    assert (plan.size, plan.crop) == ((128, 128), None)
    assert planned(monkeypatch, VESSELS, crop=(96, 96)).size == (608, 576)
    assert planned(monkeypatch, VESSELS, crop=None).size == (608, 576)
    whole = planned(monkeypatch, ROAD, crop=None)
    assert whole.size == affordable(ROAD, cost(), 990)["size"] and not whole.crop


def test_networks_that_are_given(monkeypatch):
    assert planned(monkeypatch, ROAD, from_scratch=True).encoder == "none"
    plan = planned(monkeypatch, ROAD, encoder="none")
    assert (plan.encoder_weights, plan.lr, plan.batch_size) == ("none", 4e-3, 4)
    plan = planned(monkeypatch, VESSELS, encoder="resnet50", encoder_weights="imagenet")
    assert (plan.encoder, plan.encoder_weights, plan.lr) == ("resnet50", "imagenet", 1e-3)
    recipe = planned(monkeypatch, ROAD, architecture="reference", filters=64, lr=1e-4)
    assert (recipe.encoder, recipe.augmentation, recipe.loss) == ("none", None, "crossentropy")
    start = planned(monkeypatch, ROAD, init_weights="model.keras", size=(96, 96), filters=8)
    assert not {"size", "filters", "lr", "encoder"} & {*start.planned} and start.epochs > 1


@pytest.mark.parametrize(
    "flags", [{"init_weights": "model.keras", "encoder": "resnet50"}, {"encoder": "resnet50"}]
)
def test_the_encoder_s_learning_rate_is_planned_with_its_weights(monkeypatch, flags):
    """What is in the settings and not planned would be another run's when it is resumed."""
    plan = planned(monkeypatch, ROAD, **flags)
    assert plan.encoder_lr_factor == OWN.encoder_lr_factor
    assert "encoder_lr_factor" not in plan.planned and "--encoder-lr-factor" not in command(plan)
    plan = planned(monkeypatch, ROAD, encoder="resnet50", encoder_weights="imagenet")
    assert plan.encoder_lr_factor == 0.5 and "encoder_lr_factor" in plan.planned


def test_with_epochs_nothing_is_measured(monkeypatch):
    monkeypatch.delattr(rules, "measure")
    plan = make_plan(dataclasses.replace(OWN, epochs=7), {"epochs"}, ROAD, None, 1200)
    assert (plan.epochs, plan.size, plan.crop) == (7, canvas(ROAD.size, 256**2), None)
    # and what would be lost is cropped all the same
    large = dataclasses.replace(ROAD, size=(900, 1200), largest=(900, 1200))
    plan = make_plan(dataclasses.replace(OWN, epochs=7), {"epochs"}, large, None, 1200)
    assert (plan.size, plan.crop) == (canvas((900, 1200), LARGEST), (256, 256))


def test_sizes_that_the_encoder_does_not_take(monkeypatch):
    for given in ({"size": (80, 80)}, {"crop": (48, 64)}):
        plan = planned(monkeypatch, ROAD, **given)
        assert plan.encoder == "none" and {"size": plan.size, "crop": plan.crop} | given == {
            "size": plan.size,
            "crop": plan.crop,
        }
    assert planned(monkeypatch, ROAD, size=(96, 64)).encoder == "efficientnet_lite2"


def test_what_is_lost_is_said():
    names = ("background", "car", "tree", "pole")
    config = dataclasses.replace(OWN, class_names=names, size=(156, 208))
    told = "Images are shrunk 2.3 times; the thinnest objects (pole) become 1.7 pixels."
    assert lost(ROAD, config) == told
    for same in ({"size": (384, 480)}, {"crop": (96, 96)}):
        assert lost(ROAD, dataclasses.replace(config, **same)) == "Images keep their resolution."


@pytest.mark.parametrize("facts", [VESSELS, MEMBRANES, ANIMALS, ROAD])
def test_the_command_does_the_same(facts, monkeypatch, tmp_path):
    """Its flags give the same settings, and leave nothing to plan."""
    import train

    monkeypatch.setattr(rules, "measure", lambda config, opened: cost())
    config = dataclasses.replace(OWN, data=str(tmp_path), minutes=7.0)
    plan = make_plan(config, set(), facts, None, 420)
    words = shlex.split(command(plan))
    monkeypatch.setattr(sys, "argv", words[1:])
    args = train.get_args()
    same = training_config(args)
    assert dataclasses.replace(plan, planned=(), minutes=None) == same
    given = {name for name in rules.PLANNED if getattr(args, name) is not None}
    assert given >= {*rules.PLANNED} - {"encoder_lr_factor", "encoder_weights"}
    fixed = dataclasses.replace(plan, planned=())  # these were flags, some equal to the preset
    assert command(fixed) == command(plan)
    told = describe(plan, facts, plan.class_names)
    assert command(plan) in told and f"{plan.epochs} epochs" in told


def test_the_sentence():
    plan = dataclasses.replace(
        OWN, size=(192, 256), filters=16, augmentation="upright", epochs=9, repeats=2
    )
    assert describe(plan, ROAD, ()).split("\n")[0] == (
        "Plan: colour images of 360x480, objects of 4.0 pixels or more: shrunk 1.9 times, to "
        "192x256 pixels; a U-Net of 16 filters from scratch; crossentropy, augmentation upright; "
        "9 epochs of 734 samples."
    )
    plan = dataclasses.replace(plan, encoder="resnet50", init_weights="a.keras")
    assert "16 filters with resnet50 from a.keras;" in describe(plan, ROAD, ())
    plan = dataclasses.replace(plan, epochs=1)
    assert "; 1 epoch of 734 samples.\nThe same" in describe(plan, ROAD, ())
    plan = dataclasses.replace(plan, init_weights=None, repeats=0.1, batch_size=8)
    plan = dataclasses.replace(plan, encoder_weights="imagenet")
    plan = dataclasses.replace(plan, planned=("epochs",), epochs=3)  # 37 images are 5 steps
    few = "; 3 epochs of 37 samples.\nOnly 15 steps fit into the time, so masks will be poor. Give"
    assert few in describe(plan, ROAD, ())
    assert "Only" not in describe(dataclasses.replace(plan, epochs=4), ROAD, ())
    assert "Only" not in describe(dataclasses.replace(plan, init_weights="a.keras"), ROAD, ())
    new = dataclasses.replace(plan, encoder="none", encoder_weights="none", epochs=19)
    assert "Only 95 steps fit" in describe(new, ROAD, ())
    assert "Only" not in describe(dataclasses.replace(new, epochs=20), ROAD, ())


class Toys(Dataset):
    """Images that are given as arrays."""

    def __init__(self, pairs, **kwargs):
        super().__init__((32, 32), 3, **kwargs)
        self.pairs = pairs
        self.image_info = [{"image_path": f"{i}.png"} for i in range(len(pairs))]

    def load(self, index):
        return self.pairs[index]


def test_the_thickness_of_strips():
    """Strips of 3 to 30 pixels, as they are measured in vessels."""
    for width in (3, 4, 6, 10, 30):
        mask = np.zeros((60, 200), np.uint8)
        mask[20 : 20 + width] = 1
        pixels, sums, *_ = measure_mask(mask, 2)
        assert pixels.tolist() == [200 * (60 - width), 200 * width]
        assert 4 * (sums[1] / pixels[1] - 0.5) == pytest.approx(width, abs=0.12 * width)


def test_the_fingerprint_of_toys():
    grey = np.zeros((40, 60, 3), np.uint8)
    mask = np.zeros((40, 60), np.uint8)
    mask[:20] = 2
    mask[0] = 255
    facts = fingerprint(Toys([(grey, mask)] * 4), 7)
    assert (facts.images, facts.others, facts.size, facts.largest) == (4, 7, (40, 60), (40, 60))
    assert facts.grey and facts.shares == pytest.approx((20 / 39, 0, 19 / 39))
    assert facts.thickness[1] == 0 and facts.objects == [2]
    assert facts.top_bottom > 1000  # every image says the same
    colour = grey.copy()
    colour[5, 5] = 1, 2, 3
    mixed = fingerprint(Toys([(grey, mask), (colour[:20], np.flip(mask, 0)[:20])]), 1)
    assert not mixed.grey and (mixed.size, mixed.largest) == ((30, 60), (40, 60))


@pytest.mark.parametrize(("room", "left"), [(4 * 100 * 40 * 60, 5), (4 * 100 * 40 * 60 - 1, 100)])
def test_what_is_measured_is_what_an_epoch_later_takes(room, left):
    """Large images are read once and kept: of a hundred, a few are soon known, if all will be."""
    pair = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8)
    store = Store(room)
    data = Toys([pair] * 100, crop=(8, 8), batch_size=2, store=store)
    assert len(module._soon_kept(data)) in (left - 1, left)
    assert len(module._soon_kept(Toys([pair] * 100, batch_size=2, store=Store(0)))) in (4, 5)
    assert len(module._soon_kept(Toys([pair] * 3, crop=(8, 8), batch_size=2))) == 3


def test_a_few_hundred_images_are_enough(monkeypatch):
    monkeypatch.setattr(module, "MOST", 5)
    seen = []

    class Counting(Toys):
        def load(self, index):
            seen.append(index)
            return super().load(index)

    pair = np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=np.uint8)
    assert fingerprint(Counting([pair] * 101), 0).images == 101
    assert sorted(seen) == [0, 25, 50, 75, 100]


def write_own(root, count=10, size=64):
    """Grey images of noise with a bright square, which is the mask."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        image = rng.integers(0, 90, (size, size), np.uint8)
        mask = np.zeros((size, size), np.uint8)
        top, left = rng.integers(0, size // 2, 2)
        mask[top : top + size // 2, left : left + size // 2] = 255
        image[mask > 0] += 120
        Image.fromarray(image).save(root / f"images/{number}.png")
        Image.fromarray(mask).save(root / f"masks/{number}_mask.png")
    return root


def test_check_data_draws_what_the_network_will_see(call, tmp_path):
    own = write_own(tmp_path / "own")
    flags = ("--data", own, "--epochs", 2, "--output", "run", "--check-data")
    status, out, err = call("train", *flags)
    assert status == 0 and "10 images in images/, masks in masks/ as NAME_mask.png." in out
    assert "Plan: grey images of 64x64" in out and "whole, as 64x64 pixels" in out
    sheet = np.asarray(Image.open("run/check.png"))
    assert [path.name for path in Path("run").iterdir()] == ["check.png"]
    colours = {tuple(colour) for colour in sheet.reshape(-1, 3).tolist()}
    assert tuple(vivid([(128, 0, 0)])[0].tolist()) in colours  # the outlines of class 1
    assert "Images keep their resolution." in out
    status, out, _ = call("train", *flags, "--size", 32, 32)
    assert "shrunk 2.0 times, to 32x32 pixels" in out
    assert "Images are shrunk 2.0 times; the thinnest objects (class1) become " in out
    status, out, _ = call("train", *flags, "--repeats", 0.2)
    assert status == 0 and np.asarray(Image.open("run/check.png")).shape == sheet.shape
    status, out, _ = call("train", *flags, "--crop", 32, 48)
    assert "crops of 32x48 pixels at their own resolution" in out


def test_check_data_of_the_paper_s_network(call, tmp_path):
    """Its images reach beyond their masks; they are shown without that."""
    own = write_own(tmp_path / "own", size=188)
    flags = ("--architecture", "paper", "--filters", 1, "--epochs", 1, "--check-data")
    status, out, err = call("train", "--data", own, *flags, "--size", 188, 188)
    assert status == 0 and "1 filters from scratch; crossentropy, augmentation as usual" in out, err
    assert Path("runs/folder/check.png").exists()


@pytest.mark.parametrize("colours", [(0, 128), (3, 7), ((0, 0, 0), (0, 90, 200)), (0, 255), (0, 1)])
def test_the_command_that_is_printed_works(call, tmp_path, colours):
    """Whatever masks hold: values and colours are found out again."""
    own = write_own(tmp_path / "own")
    for path in (own / "masks").iterdir():
        mask = np.array(Image.open(path)) > 0
        Image.fromarray(np.array(colours, np.uint8)[mask * 1]).save(path)
    few = ("--check-data", "--output", "run", "--filters", 2, "--epochs", 1)
    status, out, err = call("train", "--data", own, *few)
    assert status == 0, err
    printed = shlex.split(out.split("The same by flags: ")[1].split("\n")[0])
    assert printed[:2] == ["python", "train.py"]
    status, again, err = call("train", *printed[2:], "--check-data", "--output", "run")
    assert status == 0, err
    classes = re.compile(r"The classes are named after what the masks hold: [^.]*")
    assert classes.findall(out) == classes.findall(again) != []


@pytest.mark.slow
def test_own_data_by_the_default_command(call, tmp_path):
    own = write_own(tmp_path / "own")
    command = ("--data", own, "--minutes", 0.2, "--output", "run", "--filters", 2)
    begun = time.monotonic()
    status, out, err = call("train", *command)
    assert status == 0, err
    assert time.monotonic() - begun < 60
    planned = json.loads(Path("run/config.json").read_text())
    assert {"epochs", "size", "loss"} < {*planned["planned"]} and planned["filters"] == 2
    assert planned["found"]["masks"] and planned["class_names"] == ["background", "class1"]
    assert Path("run/classes.csv").read_text().startswith("name,value")
    epochs = planned["epochs"]
    assert f"{epochs} epoch{'s' * (epochs > 1)} of" in err
    assert "The same by flags: python train.py" in err
    # The same command knows the plan: it is not made again.
    status, _, err = call("train", *command)
    assert status == 0 and f"the run is finished, after epoch {epochs}." in err
    status, _, err = call("train", *command, "--epochs", epochs + 1)
    assert status == 0 and f"Resuming after epoch {epochs} of {epochs + 1}" in err
    assert "Plan:" not in err
    # The plan lasts: also where flags took over a part of it for once.
    status, _, err = call("train", *command)
    assert status == 0 and f"the run is finished, after epoch {epochs + 1}." in err
    assert json.loads(Path("run/config.json").read_text())["planned"] == planned["planned"]
    status, _, err = call("train", *command[:2], "--minutes", 9, *command[4:])
    assert status == 0 and f"the run is finished, after epoch {epochs + 1}." in err
    status, _, err = call("train", *command, "--loss", "focal")
    assert status == 2 and "loss focal" in err
    assert call("evaluate", "--weights", "run")[0] == 0


@pytest.mark.deep
@pytest.mark.slow
def test_minutes_choose_the_epochs_of_other_data(call):
    flags = ("--dataset", "sample", "--minutes", 0.15, "--filters", 2, "--lr", 0.002)
    flags += ("--output", "run")
    status, _, err = call("train", *flags)
    kept = json.loads(Path("run/config.json").read_text())
    assert status == 0 and kept["planned"] == ["epochs", "repeats"], err
    epochs = kept["epochs"]
    assert f"{epochs} epoch{'s' * (epochs > 1)}" in err
