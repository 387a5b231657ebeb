"""--init-weights: a training that starts from a trained model of this project."""

import dataclasses
import sys
from pathlib import Path

from core.config import BYTES, RECIPES, Config, check_canvas
from core.prediction.model_file import find_weights, load_network, read_settings
from core.support.errors import UserError

FLAG = "--init-weights"
# The settings that are the network's: they come from the model, and flags cannot change them.
NETWORK = ("architecture", "encoder", "filters", "normalization", "upsampling", "channels")
EXCLUDED = ("encoder_weights", "encoder_lr_factor", "from_scratch")
ALONE = 20  # times the learning rate, while the last layer learns alone: it can spoil nothing
SLOWER = 4  # the learning rate is the preset's, divided by this


def with_network(config: Config, args, folder: Path) -> Config:
    """Returns the settings of a training with the network of the model of --init-weights.

    From the model also come the canvas or crop, and its architecture's recipe; the learning rate is
    a quarter of the preset's. Flags override these. A run that is resumed has all of it, so that it
    does not need the model any more.

    Args:
        config: the settings that presets and flags give.
        args: the flags; what is None was not given.
        folder: the run's folder, a Path.

    Raises:
        UserError: if the model is not there or is none of this project, or if flags contradict it.
    """
    if not config.init_weights:
        return config
    given = {name for name, value in vars(args).items() if value is not None}
    for name in EXCLUDED:
        if name in given and getattr(config, name) != getattr(Config, name):
            raise UserError(
                f"{FLAG} and --{name.replace('_', '-')} exclude each other: all weights come from "
                f"the model. Leave out one of them."
            )
    last = folder / "last.keras"
    resumes = last.exists() and not args.overwrite
    before = read_settings(last)[0] if resumes else None
    if before and before.init_weights == config.init_weights:
        source = before
        taken = {"freeze_encoder": before.freeze_encoder}
    else:
        file = find_weights(config.init_weights, flag=FLAG)
        if file.parent.resolve() == folder.resolve() and not resumes:
            raise UserError(
                f"{FLAG} {file}: lies in the folder of the new run, which would replace it. Name "
                "another folder with --output."
            )
        source, taken = read_settings(file)[0], {}
        if source.architecture not in RECIPES:
            raise UserError(
                f"{FLAG} {file}: is a model that tools.adopt took over, whose network is unknown. "
                "Name a model that train.py wrote."
            )
    for name in NETWORK:
        wanted, there = (_network(settings)[name] for settings in (config, source))
        if name in given and wanted != there:
            raise UserError(
                f"{FLAG} {config.init_weights}: is a model of {name} {there}, --{name} says "
                f"{wanted}. Leave out the flag, or train without {FLAG}."
            )
    if not {"size", "crop"} & given:
        taken |= {"size": source.size, "crop": source.crop}
    taken = RECIPES[source.architecture] | taken | _network(source) | {"encoder_weights": "none"}
    taken["lr"] = taken.get("lr", config.lr) / SLOWER
    config = dataclasses.replace(config, **{k: v for k, v in taken.items() if k not in given})
    try:
        check_canvas(config)
    except ValueError as error:
        raise UserError(str(error)) from error
    return config


def _network(config):
    """The settings that are the network's, by name."""
    usual = "transpose" if config.architecture == "paper" else "nearest"
    named = {name: getattr(config, name) for name in NETWORK}
    return named | {"upsampling": config.upsampling or usual}


def begin(config: Config, args, dataset, validation) -> Config:
    """Settles what depends on the data, before a new run starts from a model, and says it.

    Where classes are new, the last layer alone learns for the first epochs, unless
    --freeze-encoder says how many. Where the images have 8 bits, the model keeps the range of
    values that it knows, for images of more bits.

    Args:
        config: from `with_network`, with the names of the classes.
        args: the flags.
        dataset: the `Dataset` to train on.
        validation: the one to validate with.

    Raises:
        UserError: if the model is not there, or takes grey images and these are in colour.
    """
    file = find_weights(config.init_weights, flag=FLAG)
    before, found = read_settings(file)
    if before.channels == 1 and args.channels != 1:
        _refuse_colour(file, dataset.image_info)
    if not config.intensity and found.intensity and dataset.find_intensity() == BYTES:
        for data in (dataset, validation):
            data.set_intensity(found.intensity)
    new = [name for name in config.names if name not in before.names]
    if new and args.freeze_encoder is None:
        config = dataclasses.replace(config, freeze_encoder=head_epochs(config.epochs))
    told = f"Starting from {file}."
    if new:
        known = [name for name in config.names if name in before.names]
        told += f" New classes: {', '.join(new)}; known: {', '.join(known) or 'none'}."
    if config.freeze_encoder:
        told += f" Until the end of epoch {config.freeze_encoder} the last layer learns alone, "
        told += f"{ALONE} times as fast."
    if args.lr is None:
        told += f" The learning rate is {config.lr:g}, a quarter of the usual."
    print(told, file=sys.stderr)
    return config


def head_epochs(epochs: int) -> int:
    """Returns in how many epochs of a training a new last layer learns alone."""
    return min(3, max(1, epochs // 5), epochs - 1)


def load(model, config: Config) -> None:
    """Gives a network the weights of the model of --init-weights.

    In the last layer only the classes of the same name have them, the others stay as they are.
    A model of a version before the skip at full resolution gets one that has no influence yet.

    Raises:
        UserError: if the model is not there or holds another network.
    """
    file = find_weights(config.init_weights, flag=FLAG)
    source, before, _ = load_network(file)
    there = {layer.name: layer.get_weights() for layer in source.layers}
    old = "up1_skip_conv1" not in there
    for layer in model.layers:
        weights = layer.get_weights()
        if not weights or old and "_skip_" in layer.name:
            continue
        learnt = there.get(layer.name, [])
        if layer.name == "logits" and learnt:
            learnt = _by_name(weights, learnt, config.names, before.names)
        elif old and layer.name == "up1_conv1" and learnt:  # which sees the skip and others
            others = learnt[0]
            learnt[0] = 0 * weights[0]
            learnt[0][:, :, -others.shape[2] :] = others
        if [weight.shape for weight in weights] != [weight.shape for weight in learnt]:
            raise UserError(
                f"{file}: its layers are not those of its settings ({layer.name} differs). Name "
                f"another model with {FLAG}."
            )
        layer.set_weights(learnt)


def _by_name(weights, learnt, names, known):
    """The weights of a last layer, with those of classes of the same name from another one."""
    pairs = [(names.index(name), known.index(name)) for name in names if name in known]
    new, old = map(list, zip(*pairs, strict=True)) if pairs else ([], [])
    for target, source in zip(weights, learnt, strict=True):
        target[..., new] = source[..., old]
    return weights


def _refuse_colour(file, image_info):
    """Raises a UserError if one of the first images has colours."""
    from core.imaging.image import read_values

    for info in image_info[:3]:
        values = read_values(info["image_path"], info.get("page", 0))[0]
        if values.ndim == 3 and (values != values[..., :1]).any():
            raise UserError(
                f"{FLAG} {file}: is a model of grey images, but {info['image_path']} has colours. "
                "Start from a model of colour images, or add --channels 1 to make them grey."
            )
