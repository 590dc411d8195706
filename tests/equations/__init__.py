"""The checks of the book's labelled equations, one file a chapter.

    @equation("label", statement="one sentence or $formula$", how="how it is checked")
    def test_something(): ...

says which equation of the book a test checks. The arguments are literal strings, because the book's
page of checks, and the test that every label has one, read them without importing the tests.
"""

from __future__ import annotations

from collections.abc import Callable


def equation(label: str, *, statement: str, how: str) -> Callable[[Callable], Callable]:
    """Mark the decorated test as the check of the equation ``label``.

    Raises:
        ValueError: if an argument is empty or no string.
    """
    for name, value in (("label", label), ("statement", statement), ("how", how)):
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"@equation needs a non-empty string for {name}, got {value!r}.")
    return lambda test: test
