"""What makes the parts of a run: this process (``local``), others of this machine (``pool``), a cluster (``ray``)."""

import importlib.util
import os
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from hf_mner_aug.exceptions import MissingExtra, UnknownName, UsageError
from hf_mner_aug.runs.engines.local import Local
from hf_mner_aug.runs.engines.pool import Pool
from hf_mner_aug.runs.engines.ray import Ray
from hf_mner_aug.runs.engines.work import Engine as Engine
from hf_mner_aug.runs.engines.work import Work as Work
from hf_mner_aug.values import convert_values, parse_spec

ENGINES: Mapping[str, type[Any]] = {cls.name: cls for cls in (Local, Pool, Ray)}


def open_engine(engine: str | Engine | None, num_proc: int = 1) -> Engine:
    """Return an engine, or the one of a name, with settings as ``ray:workers=4``; by default that of ``num_proc``.

    Raises:
        UnknownName: there is no such engine or setting.
        UsageError: a setting is wrong, or there are several processes of another engine than ``pool``.
        MissingExtra: Ray is not installed.
    """
    if engine is None:
        return Local() if num_proc == 1 else Pool(num_proc)
    if isinstance(engine, str):
        name, settings = parse_spec(engine, _settings)
        values = convert_values(settings, _settings(name), name, "setting")
        if name == Pool.name and "num_proc" not in values:
            return Pool(num_proc if num_proc != 1 else os.cpu_count() or 1)
        engine = typing.cast(Engine, ENGINES[name](**values))
    if num_proc != 1:
        found = f"num_proc={engine.num_proc} as well" if isinstance(engine, Pool) else f"the engine {engine.name}"
        raise UsageError(f"several processes (num_proc) are of the engine pool, and named once; found {found}")
    if engine.name == Ray.name and importlib.util.find_spec("ray") is None:
        raise MissingExtra("ray is not installed: pip install 'hf-mner-aug[ray]'")
    return engine


def _settings(name: str) -> dict[str, Any]:
    """Return the types of an engine's settings."""
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES)
    hints = typing.get_type_hints(ENGINES[name])
    return {field.name: hints[field.name] for field in fields(ENGINES[name])}
