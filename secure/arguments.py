"""Arguments of the functions that users call first, checked against their annotations."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from secure.protocols.core.errors import ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, after a check of its arguments' types. It raises ConfigurationError that names the first wrong one.

    What has no annotation is not checked, nor are ranges of values, which a function refuses itself.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        annotations = inspect.get_annotations(function, eval_str=True)
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in annotations:
                _check(f"{function.__name__}: {name}", value, annotations[name])
        return function(*args, **kwargs)

    return call


def _check(name: str, value: object, annotation: Any) -> None:
    try:
        adapter: TypeAdapter[object] = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
        adapter.validate_python(value, strict=True)
    except ValidationError as error:
        findings = error.errors()  # of a union, one for each member
        due = " or ".join(dict.fromkeys(finding["msg"].removeprefix("Input ") for finding in findings))
        # Other values may be secrets, of any length.
        is_choice = all(finding["type"] == "literal_error" for finding in findings)
        raise ConfigurationError(f"{name} {due}, not {repr(value) if is_choice else type(value).__name__}") from None
