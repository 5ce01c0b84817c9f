"""The dashboard for Grafana: its queries name only metrics and labels that a real run exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from tests.support.scrape import scraped

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "orchestrator.json"
OF_THE_SERVER = {"job", "instance"}
"""Labels that Prometheus adds to each sample of a target."""
VARIABLES = {"$__rate_interval": "5m", "$run": ".*"}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def queries() -> list[tuple[str, str]]:
    """The title of each panel with one of its queries."""
    return [(panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel.get("targets", ())]


def parsed(query: str) -> promql.Expr:
    """A query with values in place of the dashboard's variables."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, "a variable that the dashboard does not define"
    return promql.parse(query)


def selectors(node: promql.Expr) -> Iterator[promql.VectorSelector]:
    """The selectors of metrics in an expression."""
    match node:
        case promql.VectorSelector():
            yield node
        case promql.MatrixSelector():
            yield node.vector_selector
        case promql.Call():
            for argument in node.args:
                yield from selectors(argument)
        case promql.BinaryExpr():
            yield from selectors(node.lhs)
            yield from selectors(node.rhs)
        case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from selectors(node.expr)


def carriers(node: promql.Expr) -> Iterator[promql.VectorSelector]:
    """The selectors of metrics whose labels the result has: `and` and `unless` take those of their left side."""
    if isinstance(node, promql.BinaryExpr) and str(node.op) in {"and", "unless"}:
        yield from carriers(node.lhs)
    else:
        yield from selectors(node)


def groupings(node: promql.Expr) -> Iterator[tuple[set[str], set[str]]]:
    """The labels that an aggregation keeps or a match compares, and the metrics below it."""
    match node:
        case promql.AggregateExpr():
            if node.modifier is not None:
                yield set(node.modifier.labels), {str(one.name) for one in carriers(node.expr)}
            yield from groupings(node.expr)
        case promql.BinaryExpr():
            if node.modifier is not None and node.modifier.matching is not None:
                yield set(node.modifier.matching.labels), {str(one.name) for one in selectors(node)}
            yield from groupings(node.lhs)
            yield from groupings(node.rhs)
        case promql.Call():
            for argument in node.args:
                yield from groupings(argument)
        case promql.ParenExpr():
            yield from groupings(node.expr)


def labels_of(name: str) -> set[str]:
    """The labels of a metric in a real scrape."""
    samples = scraped().samples
    assert name in samples, f"no run exports {name}"
    return {label for labels, _ in samples[name] for label in labels} | OF_THE_SERVER


@pytest.mark.parametrize(("title", "query"), queries())
def test_a_query_names_metrics_and_labels_that_exist(title: str, query: str) -> None:
    tree = parsed(query)
    found = list(selectors(tree))
    assert found, title
    for selector in found:
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= labels_of(str(selector.name)), title
    for labels, names in groupings(tree):
        assert all(labels <= labels_of(name) for name in names), title


@pytest.mark.parametrize(("title", "query"), queries())
def test_counters_are_rates_and_histograms_quantiles(title: str, query: str) -> None:
    for name in {str(selector.name) for selector in selectors(parsed(query))}:
        if name.endswith(("_total", "_bucket", "_count", "_sum")):
            assert re.search(rf"(rate|increase)\({name}", query), title
        if name.endswith("_bucket"):
            assert re.search(r"histogram_quantile\([0-9.]+, sum by \(le\b", query), title


def test_values_that_queries_compare_exist() -> None:
    """A matcher with an equals sign, or a list of values, that no label ever has shows an empty panel."""
    samples = scraped().samples
    for title, query in queries():
        for selector in selectors(parsed(query)):
            for matcher in selector.matchers.matchers:
                if matcher.op in (promql.MatchOp.Equal, promql.MatchOp.Re) and matcher.name != "run":
                    values = {labels.get(matcher.name, "") for labels, _ in samples[str(selector.name)]}
                    assert any(re.fullmatch(matcher.value, value) for value in values), title


def test_each_metric_of_the_orchestrator_is_shown() -> None:
    shown = {str(selector.name) for _, query in queries() for selector in selectors(parsed(query))}
    bases = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    exported = {name for name in scraped().samples if name.startswith("orchestrator_")}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported} - bases == set()


def test_its_legends_use_labels_that_its_queries_keep() -> None:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            kept = set(re.findall(r"\w+", " ".join(re.findall(r"(?:by|on) \(([^)]*)\)", target["expr"]))))
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept, panel["title"]


def test_panels_have_distinct_ids_and_places_and_name_the_data_source_by_variable() -> None:
    panels = dashboard()["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids))
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
