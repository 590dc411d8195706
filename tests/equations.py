"""The register of equation checks.

    @equation("label", statement="one sentence or $formula$", how="how it is checked")
    def test_something(): ...

connects a test with the labelled equations of the book that it checks. The arguments are literal
strings, because the book's page of checks reads them without importing the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    label: str
    statement: str
    how: str
    test: str


REGISTRY: dict[str, Check] = {}


def equation(label: str, *, statement: str, how: str) -> Callable:
    """Register the decorated test as the check of the equation ``label``."""
    for name, value in (("label", label), ("statement", statement), ("how", how)):
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"@equation needs a non-empty string for {name}, got {value!r}")

    def register(test: Callable) -> Callable:
        if label in REGISTRY:
            raise ValueError(
                f"equation {label!r} already has the check {REGISTRY[label].test}; put both assertions into one test"
            )
        REGISTRY[label] = Check(label, statement, how, test.__name__)
        return test

    return register
