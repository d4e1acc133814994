"""What `make bench-others` writes of a run, made of figures that nobody measured."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from tests.benchmarks.figures import stored
from tests.benchmarks.rivals import growth
from tests.benchmarks.rivals.contestants import CONTESTANTS
from tests.benchmarks.rivals.made_of import made_of
from tests.benchmarks.rivals.pictures import bars
from tests.benchmarks.rivals.report import PARTS, draw, insert, page

NAMES = ("checkpointdb", "naive", "joblib", "floor", "floor and rows")


def figures(**changed):
    measured = {
        "steps": 3,
        "save_seconds": 2.0,
        "first_save_seconds": 1.5,
        "load_seconds": 0.5,
        "key_seconds": 0.002,
        "stored_bytes": 4_000_000,
        "save_peak_bytes": 10**6,
        "load_peak_bytes": 10**9,
    }
    return {**measured, **changed}


@pytest.fixture
def results():
    return {
        "text": {
            "checkpointdb": figures(made_of=dict.fromkeys(PARTS, 1_000_000)),
            "naive": figures(save_seconds=8.0, stored_bytes=40_000_000),
            "joblib": {"error": "it was killed"},
            "floor": figures(save_seconds=1.6),
            "floor and rows": figures(load_seconds=0.25),
        },
        "many_keys": {
            **{name: figures() for name in NAMES},
            "naive": figures(save_seconds=1.0, stored_bytes=1_000_000),
        },
    }


def test_a_page_says_which_targets_are_missed_and_what_failed(results):
    lines = page(results, {"date": "today"}).splitlines()
    assert "- date: today" in lines
    assert "| text | 0.25 ✓ | 1.25 ✓ | 1.00 ✓ | 0.10 ✓ | 1.00 ✓ | 2.00 ✗ |" in lines
    assert "| many_keys | 2.00 ✗ | 1.00 ✓ | 1.00 ✓ | 4.00 ✗ | 1.00 ✓ | 1.00 ✓ |" in lines
    assert "| text | 2.0 s | 8.0 s | failed | 1.6 s | 2.0 s |" in lines
    assert "- text, joblib: it was killed" in lines
    assert f"| text | {' | '.join(['1.0 MB'] * len(PARTS))} |" in lines


def test_a_picture_has_a_bar_for_each_that_did_not_fail(results):
    root = ElementTree.fromstring(bars(results, "save_seconds", "Saving"))
    shapes = [each for each in root.iter() if each.get("class") in {"a", "b", "pale"}]
    texts = [each.text for each in root.iter() if each.tag.endswith("text")]
    assert len(shapes) == 9
    assert texts.count("failed") == 1
    assert {"4 ×", "0.8 ×", "0.5 ×", "many keys"} <= set(texts)


def test_a_run_takes_the_place_of_the_one_before_it_on_its_page(results, tmp_path):
    shown = tmp_path / "explanation" / "page.md"
    shown.parent.mkdir()
    shown.write_text("# Words\n\n## One run\n\nolder figures\n")
    insert(shown, page(results, {}))
    text = shown.read_text()
    assert text.startswith("# Words\n\n## One run\n")
    assert "older" not in text


def test_each_measure_that_has_a_picture_is_drawn(results, tmp_path):
    draw(tmp_path / "pictures", results)
    assert len(list((tmp_path / "pictures").glob("beside-others-*.svg"))) == 3


def test_a_page_shows_how_far_each_grew_and_what_ended_it(tmp_path):
    def point(at, **changed):
        figures = {"save_seconds": 0.002, "load_seconds": 0.0005, "stored_bytes": 1234.4}
        peaks = {"save_peak_bytes": 3e6, "load_peak_bytes": 4e6}
        return {"at": at, **figures, **peaks, **changed}

    results = {
        "number": {
            "checkpointdb": ([point(100), point(1000)], ""),
            "naive": ([point(100)], "full"),
        },
        "size": {"checkpointdb": ([point(8e6, save_seconds=2.0)], ""), "naive": ([], "too large")},
    }
    lines = growth.report(results).splitlines()
    assert "| 1,000 | 2.00 ms | failed |" in lines
    assert "| 100 | 1,234 | 1,234 |" in lines
    assert "| 8 MB | 2.0 s | failed |" in lines
    assert "- size, naive, after the last point shown: too large" in lines
    page = tmp_path / "page.md"
    page.write_text("# P\n\n## How it grows\n\nold\n\n## One run\n\nrun\n")
    growth.insert(page, "new")
    assert page.read_text() == "# P\n\n## How it grows\n\nnew\n\n## One run\n\nrun\n"


def test_each_growth_is_drawn_with_a_curve_for_each_that_grew(tmp_path):
    def point(at, save_seconds):
        return {"at": at, "save_seconds": save_seconds, "load_seconds": 0.00005, "stored_bytes": 3}

    results = {
        "number": {
            "checkpointdb": ([point(100, 0.001), point(10_000, 0.002)], ""),
            "floor": ([point(100, 0.0001)], ""),
            "naive": ([point(100, 0.01)], "full"),
            "joblib": ([], "full"),
        }
    }
    growth.draw(tmp_path / "pictures", results)
    picture = (tmp_path / "pictures" / "growth-number.svg").read_text()
    shapes = list(ElementTree.fromstring(picture).iter())
    texts = [each.text for each in shapes if each.tag.endswith("text")]
    assert [texts.count(each) for each in results["number"]] == [3, 3, 3, 0]
    assert {"0.1 ms", "1 ms", "10 ms", "0.01 ms", "100", "10,000"} <= set(texts)
    save, *_ = (each.get("d") for each in shapes if each.get("class") == "ours")
    (_, from_y), (_, to_y) = (map(float, each.split()) for each in save[1:].split(" L"))
    assert from_y > to_y  # it takes longer at the end, which is drawn higher


def test_what_a_store_consists_of_adds_up_to_its_files(tmp_path):
    store = CONTESTANTS["checkpointdb"](tmp_path)
    state = {"noise": np.random.default_rng(1).bytes(1_000_000), "step": 0}
    for step in range(3):
        store.save(step, {**state, "step": step})
    store.save(3, {"noise": np.random.default_rng(2).bytes(1000)})
    store.close()
    parts = made_of(tmp_path)
    of_files = sum(parts[each] for each in ("first_full", "later_fulls", "incrementals"))
    assert of_files == stored(tmp_path, "*.ckpt.gz")
    assert parts["rows"] == stored(tmp_path, "checkpoints.db*")
    assert parts["first_full"] > parts["stored_as_is"] >= 1_000_000 > parts["incrementals"] > 0
    assert 0 < parts["later_fulls"] < 10_000
    assert 990_000 < parts["deflated"] < 1_010_000


@pytest.mark.parametrize("most", [1, 10])
def test_growth_by_steps_ends_with_the_last_that_was_asked_for(tmp_path, most):
    found = list(growth.steps(CONTESTANTS["naive"](tmp_path), tmp_path, most))
    assert [point["at"] for point in found] == sorted({1, most})
    assert found[-1]["key_seconds"] > 0


def test_growth_is_measured_in_what_a_contestant_stores(tmp_path):
    found = list(growth.number(CONTESTANTS["checkpointdb"](tmp_path), tmp_path, 100))
    assert [point["at"] for point in found] == [100]
    assert found[0]["stored_bytes"] > 1000
    assert found[0]["save_seconds"] > 0
