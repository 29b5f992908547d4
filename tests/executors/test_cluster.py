"""`tokenmill doctor --ray-address` against a real cluster of two nodes on this machine."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from tests.executors.events import Told
from tests.executors.ray_cluster import cluster, wait_for
from tokenmill.core.errors import ConfigError
from tokenmill.executors.cluster import NodeReport, findings, look_around, survey
from tokenmill.executors.metrics import RayBackend, RunMetrics
from tokenmill.pipelines import recipe

RECIPES = {"c4": recipe("c4").to_json()}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        with cluster((2, 0)) as found:
            ray.shutdown()
            yield found.address


# Ray leaves sockets and log files to the collector when it shuts down
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_every_node_answers_and_is_compared_with_here(address: str) -> None:
    reports = survey(address, RECIPES)
    assert not ray.is_initialized(), "the connection was to end"
    assert sorted(report.resources.get("CPU", 0) for report in reports) == [0, 2]
    assert all(report.facts is not None and not report.error for report in reports)
    assert all(abs(report.clock_seconds or 0) < 1 for report in reports)
    here = look_around(RECIPES)
    assert here["fingerprints"]["c4"] == reports[0].facts["fingerprints"]["c4"]  # type: ignore[index]
    assert "problem" not in {state for _, state, _ in findings(reports, here)}

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        assert len(survey("is not looked at", {})) == 2
        assert ray.is_initialized(), "the session was there before"
        _check_metrics(ray)
    finally:
        ray.shutdown()


def _check_metrics(ray: Any) -> None:
    """The numbers of a run come out where the dashboard's Prometheus collects them."""
    told = Told([100, 100])
    metrics = RunMetrics(told.tracker, RayBackend())
    told.watchers.append(metrics)
    told.begin()
    told.start(0)
    told.clock.now = 20
    told.done(0)
    metrics.tick()
    places = [(node["NodeManagerAddress"], node["MetricsExportPort"]) for node in ray.nodes()]

    def scraped() -> str:
        text = ""
        for host, port in places:
            with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
                text += answer.read().decode()
        return text

    wait_for(lambda: "ray_tokenmill_shard_seconds_sum" in scraped())
    lines = [line for line in scraped().splitlines() if line.startswith("ray_tokenmill_")]
    for name, value in (("documents_total", "10.0"), ("eta_seconds", "20.0")):
        [line] = [line for line in lines if line.startswith(f"ray_tokenmill_{name}{{")]
        assert 'recipe="trap"' in line
        assert line.endswith(f" {value}")
    assert any('reason="rule.short"' in line and line.endswith(" 3.0") for line in lines)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_address_without_a_cluster_is_a_configuration_error() -> None:
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match="no Ray cluster answers"):
        survey("not an address", {})


def _facts(**versions: str) -> dict[str, Any]:
    return {"versions": {"numpy": "2.1", **versions}, "fingerprints": {"c4": "a" * 64}, "free": {"disk": 1 << 40}}


def test_what_differs_is_a_problem_with_the_names_of_nodes() -> None:
    fit = {"CPU": 4.0, "memory": float(64 << 30)}
    reports = [
        NodeReport("one", fit, _facts(), clock_seconds=0.1),
        NodeReport("two", fit, _facts(numpy="2.2"), clock_seconds=60.0),
        NodeReport("three", fit, _facts(numpy="2.2"), clock_seconds=0.0),
        NodeReport("four", fit, None, "no answer within 60 s"),
        NodeReport("five", {"CPU": 64.0, "memory": float(8 << 30)}, {**_facts(), "free": {"disk": 1 << 20}}),
    ]
    found = {what: (state, text) for what, state, text in findings(reports, _facts())}
    assert found["Ray nodes"] == ("ok", "5: 80 CPUs, 0 GPUs")
    assert found["node one"][0] == "ok"
    assert found["node two"][0] == "warning"
    assert "60 s ahead" in found["node two"][1]
    assert found["node four"] == ("problem", "no answer within 60 s")
    assert "little memory" in found["node five"][1]
    assert "little room in the disk" in found["node five"][1]
    assert found["version of numpy"][0] == "problem"
    assert "2.1 here, 2.2 on two, three" in found["version of numpy"][1]
    assert found["fingerprints on 4 nodes"] == ("ok", "1 of 1 as here")


def test_a_recipe_that_fails_on_a_node_is_a_difference() -> None:
    broken = {**RECIPES["c4"], "stages": [{"stage": "no_such_stage"}]}
    there = look_around({"c4": broken})
    assert there["fingerprints"]["c4"].startswith("fails: ")
    reports = [NodeReport("one", {}, there)]
    assert "problem" in {state for what, state, _ in findings(reports, look_around(RECIPES)) if what == "recipe c4"}
