"""The XML that many test runners can write: JUnit's, and Catch's own."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from forge_envs.worlds.polyglot.languages.base import NOTHING, Results


def parse(text: str) -> ET.Element | None:
    """The document, or None for no XML: a report can be cut short by what it reports on."""
    try:
        return ET.fromstring(text)
    except ET.ParseError:
        return None


def read_junit(text: str) -> Results:
    """Results from JUnit XML; a test that ran passed if nothing in its element says otherwise.

    >>> read_junit('<testsuite><testcase name="a()"/><testcase name="b()"><failure/></testcase></testsuite>')
    Results(passed=Counter({'a': 1}), failed=Counter({'b': 1}))
    """
    root = parse(text)
    if root is None:
        return NOTHING
    bad = ("failure", "error")
    return Results.of(
        [
            (case.get("name", "").removesuffix("()"), all(case.find(tag) is None for tag in bad))
            for case in root.iter("testcase")
            if case.find("skipped") is None
        ]
    )


def read_catch(text: str) -> Results:
    """Results from Catch's XML.

    >>> read_catch('<Catch><TestCase name="a"><OverallResult success="true"/></TestCase></Catch>')
    Results(passed=Counter({'a': 1}), failed=Counter())
    """
    root = parse(text)
    if root is None:
        return NOTHING
    verdicts = []
    for case in root.iter("TestCase"):
        result = case.find("OverallResult")
        verdicts.append((case.get("name", ""), result is not None and result.get("success") == "true"))
    return Results.of(verdicts)
