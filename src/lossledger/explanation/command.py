# SPDX-License-Identifier: Apache-2.0
"""What the command line explains and compares: things and data found by their names."""

import inspect
import re
import sys
from dataclasses import dataclass, replace
from html import escape
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

from lossledger._errors import LossLedgerError, MatchError
from lossledger._typing import Sequence
from lossledger.explanation._dispatch import explain
from lossledger.explanation._explanation import Explanation
from lossledger.explanation._parts import Note
from lossledger.explanation._sections import Section, as_html
from lossledger.explanation.comparison import Comparison, compare
from lossledger.explanation.criterion._known import Known
from lossledger.explanation.criterion._recognize import recognize
from lossledger.objective import Objective
from lossledger.presets._registry import LIBRARIES, parse
from lossledger.presets._samples import layouts, samples
from lossledger.presets.migration import REFUSALS

_PRESET = re.compile(rf"(ll\.presets\.)?({'|'.join(LIBRARIES)})\.\w+\s*(\(.*\))?", re.DOTALL)
_BATCH = ("outputs", "targets", "sample_weight")
_SAID = ("library", "measured", "sample data")
"""Rules of notes that are no findings."""


@dataclass(frozen=True, eq=False)
class Target:
    """What a name on the command line stands for.

    Attributes:
        thing: A criterion, a preset, an objective or a model.
        outputs: Data that came with it; None for none.
        targets: Likewise.
        drawn: Whether the data are drawn samples.
        sample_weight: Likewise.
    """

    thing: Any
    outputs: Any = None
    targets: Any = None
    drawn: bool = False
    sample_weight: Any = None


def explained(
    target: str, outputs: str | None, targets: str | None, data: str | None
) -> Explanation:
    """Explain what a name stands for.

    Args:
        target: "module:name", "file.py:name", or the text of a preset.
        outputs: File of NumPy's format; None for none.
        targets: Likewise.
        data: "module:name" of (outputs, targets) or (outputs, targets, sample_weight), or of a
            function that returns them.
    """
    found = _with_data(target_of(target), outputs, targets, data)
    done = explain(found.thing, found.outputs, found.targets, sample_weight=found.sample_weight)
    if not found.drawn:
        return done
    note = Note(
        "sample data",
        f"No data were given: outputs of shape {_shapes(found.outputs)} were drawn.",
        "Pass --outputs and --targets, or --data.",
    )
    return replace(done, notes=(note, *done.notes), overlooked=())


def compared(
    a: str,
    b: str,
    outputs: str | None,
    targets: str | None,
    data: str | None,
    convention: str | None = None,
) -> Comparison:
    """Compare what two names stand for; other arguments as for `explained`.

    Args:
        a: The first name.
        b: The second.
        outputs: File of NumPy's format; inputs of a model.
        targets: Likewise.
        data: "module:name" of (outputs, targets), or of a function that returns them.
        convention: Versions of Keras: "keras3" for both, "keras3,keras2.3" for each.
    """
    named, second = target_of(a), target_of(b)
    if second.outputs is not None and data is None and outputs is None:
        if named.outputs is not None:
            raise MatchError(
                "Two losses are compared on the same data",
                "Found data with each of them",
                "Both names stand for (loss, outputs, targets)",
                "Pass --data, or --outputs and --targets",
            )
        named = replace(named, outputs=second.outputs, targets=second.targets)
    first = _with_data(named, outputs, targets, data)
    if first.drawn and not isinstance(second.thing, Objective):
        _drawn(second)  # raises where nothing says what the second takes
    found = compare(
        first.thing,
        second.thing,
        first.outputs,
        first.targets,
        sample_weight=first.sample_weight,
        convention=_conventions(convention),
    )
    if not first.drawn:
        return found
    note = f"No data were given: outputs of shape {_shapes(first.outputs)} were drawn."
    return replace(found, notes=(note, *found.notes))


def _conventions(text: str | None) -> Any:
    """Return one name, or one for each.

    Raises:
        MatchError: If a name is empty.
    """
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise MatchError(
            "--convention is one name for both, or two with a comma between",
            f"Found {text!r}, in which a name is empty",
            "A comma is left over, or one of the two was to stay as it is",
            "Name a version of Keras for each: keras3,keras2.3; ll.compare takes None in a pair",
        )
    return names if len(names) > 1 else names[0]


def has_findings(found: Explanation) -> bool:
    """Whether there is something to change: a note with a remedy, or a hidden class."""
    return bool(found.overlooked) or any(n.rule not in _SAID for n in found.notes)


def page(title: str, sections: Sequence[Section]) -> str:
    """Return a self-contained HTML page."""
    style = (
        "body{font:16px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
        "table{border-collapse:collapse}th,td{padding:.2em .8em;border-bottom:1px solid #ccc}"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{style}</style></head><body>{as_html(tuple(sections))}</body></html>\n"
    )


def target_of(text: str) -> Target:
    """Return what a name stands for.

    Raises:
        MatchError: If it is of no known form, or does not exist.
    """
    if _PRESET.fullmatch(text.strip()):
        return Target(parse(text))
    thing = _named(text)
    maker = isinstance(thing, type)
    maker = maker or (inspect.isfunction(thing) and not inspect.signature(thing).parameters)
    if maker:
        thing = _made(thing, text)
    if isinstance(thing, tuple) and len(thing) == 3:
        return Target(*thing)
    return Target(thing)


def _made(thing: Any, name: str) -> Any:
    """Call a class or a function without arguments.

    Raises:
        MatchError: If it raises.
    """
    try:
        return thing()
    except (LossLedgerError, Warning):
        raise
    except Exception as error:
        raise MatchError(
            f"{name} must work when it is called without arguments",
            f"Found {type(error).__name__}: {error}",
            "A class wants arguments, or its code fails",
            "Name an object that is made already, e.g. criterion = Loss(...)",
        ) from error


def _named(text: str) -> Any:
    """Return the object of "module:name" or "file.py:name"."""
    place, separator, name = text.rpartition(":")
    if not separator or not place or not name:
        raise MatchError(
            "A target is module:name, file.py:name, or a preset such as torch.MSELoss()",
            f"Found {text!r}",
            "The part behind the colon is missing, or the library of the preset",
            "Write e.g. train.py:criterion or 'torch.CrossEntropyLoss(weight=[1, 2, 5])'",
        )
    try:
        found: Any = _loaded(place)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, OSError) as error:
        raise MatchError(
            f"{text} must name an object that can be imported",
            f"Found {type(error).__name__}: {error}",
            "The name is misspelled, or the command runs in another folder",
            "Check it with: python -c 'import ...'",
        ) from error
    except (LossLedgerError, Warning):
        raise
    except Exception as error:
        raise MatchError(
            f"{place} must run when it is imported",
            f"Found {type(error).__name__}: {error}",
            "The file fails by itself, or starts a training that belongs under "
            "`if __name__ == '__main__':`",
            f"Run it alone: python {place}",
        ) from error
    return found


def _loaded(place: str) -> Any:
    if not place.endswith(".py"):
        here = str(Path.cwd())
        sys.path.insert(0, here)
        try:
            return import_module(place)
        finally:
            sys.path.remove(here)
    path = Path(place).resolve()
    there = sys.modules.get(path.stem)
    if there is not None and getattr(there, "__file__", None) == str(path):
        return there
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise FileNotFoundError(place)
    module = module_from_spec(spec)
    if there is None:
        sys.modules[path.stem] = module  # dataclasses and pickles look their module up
    sys.path.insert(0, str(path.parent))  # as for `python file.py`
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if there is None:
            del sys.modules[path.stem]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module


def _with_data(
    target: Target, outputs: str | None, targets: str | None, data: str | None
) -> Target:
    """Return a target with its data: those of the options, its own, or drawn ones.

    Raises:
        MatchError: If there are several, or none can be drawn.
    """
    if data is not None and (outputs or targets):
        raise MatchError(
            "Data come from --data, or from --outputs and --targets",
            "Found both",
            "One of them was left over from another call",
            "Leave one out",
        )
    if data is not None:
        found = _named(data)
        found = _made(found, data) if callable(found) else found
        batch = isinstance(found, tuple) and len(found) in (2, 3) and not callable(found[0])
        if not batch:
            raise MatchError(
                f"{data} must be (outputs, targets), or a function that returns them",
                f"Found {type(found).__name__}",
                "It returns a batch of another form",
                "Return a tuple of two, or of three with sample_weight",
            )
        return replace(target, **dict(zip(_BATCH, found, strict=False)))
    if targets is not None and outputs is None:
        raise MatchError(
            "--targets goes with --outputs",
            "Found --targets alone",
            "The outputs were forgotten",
            "Pass both, or --data",
        )
    if outputs is not None:
        goal = None if targets is None else _array(targets)
        return replace(target, outputs=_array(outputs), targets=goal)
    return target if target.outputs is not None else _drawn(target)


def _array(path: str) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise MatchError(
            f"{path} must be an array in NumPy's format",
            f"Found {type(error).__name__}: {error}",
            "The file does not exist, or holds something else",
            "Write it with numpy.save",
        ) from error


def _drawn(target: Target) -> Target:
    """Return a target with a drawn batch that it takes."""
    found = None if _is_model(target.thing) else recognize(target.thing)
    if isinstance(found, Known):
        sample = samples(found.preset)[0]
        for outputs, goal, _ in layouts(found.preset, sample):
            given = outputs if found.preset.reads > 1 else outputs[0]
            try:
                found.preset(given, goal)
            except REFUSALS:
                continue
            return replace(target, outputs=given, targets=goal, drawn=True)
    raise MatchError(
        "Batches can be drawn for losses that are recognized",
        f"Found {type(target.thing).__name__} without data",
        "Nothing says which outputs and targets it takes",
        "Pass --outputs and --targets, or --data",
    )


def _is_model(thing: Any) -> bool:
    return hasattr(thing, "compute_loss")


def _shapes(outputs: Any) -> str:
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    return " and ".join(str(tuple(o.shape)) for o in several)
