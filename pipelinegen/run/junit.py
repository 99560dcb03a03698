"""JUnit XML as GitLab reads it (https://docs.gitlab.com/ci/testing/unit_test_reports/). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

# What XML 1.0 does not allow in any form (https://www.w3.org/TR/xml/#charsets), lone surrogates too.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Case:
    """One test case; `failure` and `skipped` are why, null when it is neither."""

    name: str
    seconds: float
    failure: str | None = None
    skipped: str | None = None
    output: str = ""


def to_xml(suite: str, cases: Sequence[Case], seconds: float) -> bytes:
    """A whole document with one suite. Text may be anything: what XML cannot hold becomes U+FFFD."""
    attributes = {
        "name": text(suite),
        "tests": str(len(cases)),
        "failures": str(sum(case.failure is not None for case in cases)),
        "skipped": str(sum(case.skipped is not None for case in cases)),
        "time": f"{seconds:.3f}",
    }
    root = ET.Element("testsuites")
    node = ET.SubElement(root, "testsuite", attributes)
    for case in cases:
        one = ET.SubElement(
            node, "testcase", {"classname": text(suite), "name": text(case.name), "time": f"{case.seconds:.3f}"}
        )
        if case.failure is not None:
            # GitLab shows the content, not the attribute.
            failure = ET.SubElement(one, "failure", {"message": text(case.failure)})
            failure.text = text("\n".join(part for part in (case.failure, case.output) if part))
        elif case.skipped is not None:
            ET.SubElement(one, "skipped", {"message": text(case.skipped)})
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def text(value: str) -> str:
    """`value` without what XML cannot hold."""
    return _NOT_XML.sub("\ufffd", value)
