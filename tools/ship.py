"""Makes a small file of a trained model, to pass on: python -m tools.ship RUN FILE.keras."""

import dataclasses
import io
import json
import zipfile
from pathlib import Path

from core.config import PRESETS
from core.support import backend, errors
from core.support.files import check_folder, replacing
from core.support.flags import Parser

PRECISIONS = ("float16", "rounded", "float32")
BITS = 8  # of float32's 24 significant bits that "rounded" gives up
MODEL, WEIGHTS = "config.json", "model.weights.h5"  # the names of Keras inside a .keras file


def ship(source: Path, target: str | Path, precision: str = "float16") -> None:
    """Writes the model in the .keras file `source` to `target`, with kernels in a precision.

    "rounded" is float32 with 16 significant bits, where float16 has 11; the rest compresses well.
    Vectors (biases, normalization) stay in float32: they are few, and variances may be tiny.

    Raises:
        UserError: if the source is damaged, or the target is not to be written.
    """
    from core.prediction.model_file import CONFIG_NAME, load_network, to_json, without_unused

    target = check_target(target, source)
    _, config, found = load_network(source)  # or complain
    home = PRESETS[config.dataset].data
    nowhere = dict.fromkeys(("train_list", "val_list", "init_weights"))
    config = dataclasses.replace(config, data=home, **nowhere)
    if config.encoder_weights != "none":
        config.encoder_weights = Path(config.encoder_weights).name
    with zipfile.ZipFile(source) as old:
        members = {name: old.read(name) for name in ("metadata.json", MODEL, WEIGHTS)}
    members[MODEL] = json.dumps(without_unused(json.loads(members[MODEL])))
    members[WEIGHTS] = converted(members[WEIGHTS], precision, source)
    members[CONFIG_NAME] = to_json(config, found)
    with replacing(target) as partial, zipfile.ZipFile(partial, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)


def check_target(target: str | Path, source: Path) -> Path:
    """Returns the name of a model's file to write, another than the source; or a UserError."""
    target = Path(target)
    if target.suffix != ".keras" or target.is_dir():
        raise errors.UserError(f"{target}: is no name for a model. Name a file, NAME.keras.")
    if target.exists() and target.samefile(source):
        raise errors.UserError(
            f"{target}: is the model itself, which training may need. Name another file."
        )
    return target


def converted(content: bytes, precision: str, source: Path) -> bytes:
    """Returns an HDF5 file of weights, as bytes, with its kernels in another precision, compressed.

    The state of an optimizer is left out. `source`, where it is from, is named in errors.
    """
    import h5py
    import numpy as np

    result = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as old, h5py.File(result, "w") as new:

        def add(name, item):
            if name.split("/")[0] == "optimizer":  # of last.keras
                return
            if isinstance(item, h5py.Group):
                copy = new.require_group(name)
            else:
                values = item[()]
                kept = values if values.ndim < 2 or precision != "rounded" else rounded(values)
                if values.ndim > 1 and precision == "float16":
                    with np.errstate(over="ignore"):  # it is an error below
                        kept = values.astype(precision)
                if not np.array_equal(np.isfinite(kept), np.isfinite(values)):
                    raise errors.UserError(
                        f"{name} in {source} has values that {precision} cannot hold. "
                        "Keep them with --precision float32"
                    )
                packed = {"compression": "gzip", "shuffle": True} if kept.ndim > 1 else {}
                copy = new.create_dataset(name, data=kept, **packed)
            copy.attrs.update(item.attrs)

        old.visititems(add)
        new.attrs.update(old.attrs)
    return result.getvalue()


def rounded(values):
    """Returns float32 values with the nearest values of `24 - BITS` significant bits, ties to even.

    What is given up becomes 0. The largest values would become infinite; weights are far from them.
    """
    import numpy as np

    bits = np.asarray(values, np.float32).view(np.uint32)
    half = np.uint32((1 << BITS - 1) - 1) + (bits >> BITS & 1)
    return (bits + half & np.uint32(0xFFFFFFFF << BITS & 0xFFFFFFFF)).view(np.float32)


def main():
    """Ships."""
    parser = Parser(
        prog="python -m tools.ship",
        description="Writes a model without what only training needs, and with kernels in half "
        "precision, half as large. Keras loads it like any other. Paths of the machine that it "
        "was trained on are left out.",
    )
    parser.add_argument("weights", metavar="RUN", help="a run's folder or a .keras file")
    parser.add_argument("target", metavar="FILE", help="the file to write, NAME.keras")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=PRECISIONS[0],
        help="float16 keeps 11 significant bits, rounded 16, float32 all of its 24",
    )
    args = parser.parse_args()
    from core.prediction.model_file import find_weights

    source = find_weights(args.weights)
    check_folder(Path(args.target).parent, "Name another file.")
    backend.start()
    ship(source, args.target, args.precision)
    print(args.target)


if __name__ == "__main__":
    errors.run(main)
