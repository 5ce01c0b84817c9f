"""A run as JUnit XML: its thresholds, its instances, and each instance that failed, as cases.

Source: the format that CI servers read (https://github.com/testmoapp/junitxml).
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from orchestrator.instance import Status
from orchestrator.report.picture import Picture

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(picture: Picture) -> str:
    """The XML text."""
    summary = picture.summary
    seconds = f"{summary.statistics.elapsed:.3f}"
    suite = ET.Element("testsuite", name=f"{summary.workflow} {summary.run_id}", time=seconds)
    failures = errors = cases = 0
    for verdict in summary.verdicts:
        case = ET.SubElement(suite, "testcase", classname="thresholds", name=verdict.text)
        cases += 1
        if not verdict.holds:
            failures += 1
            ET.SubElement(case, "failure", message=_clean(f"it is {verdict.value or 'not measured'}"))
    for instance, status, failure in picture.failed:
        case = ET.SubElement(suite, "testcase", classname="instances", name=instance)
        cases += 1
        kind = "error" if failure.kind == "bug" else "failure"
        errors += kind == "error"
        failures += kind == "failure"
        message = _clean(f"{failure.state}, attempt {failure.attempt} ({failure.kind}): {failure.message}")
        ET.SubElement(case, kind, message=message, type=status.value).text = _clean(failure.trace or message)
    if (more := picture.failures - len(picture.failed)) > 0:
        case = ET.SubElement(suite, "testcase", classname="instances", name=f"{more} more that failed")
        ET.SubElement(case, "failure", message="only the first of them are listed one by one")
        cases, failures = cases + 1, failures + 1
    if completed := summary.counts.get(Status.COMPLETED, 0):
        ET.SubElement(suite, "testcase", classname="instances", name=f"{completed} completed", time=seconds)
        cases += 1
    if summary.unfinished:
        case = ET.SubElement(suite, "testcase", classname="run", name="the run is finished")
        ET.SubElement(case, "failure", message="it was interrupted, and can be resumed")
        cases, failures = cases + 1, failures + 1
    suite.attrib |= {"tests": str(cases), "failures": str(failures), "errors": str(errors), "skipped": "0"}
    root = ET.Element("testsuites", suite.attrib)
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    """XML has no place for control characters, escaped or not."""
    return _NOT_XML.sub("�", text)
