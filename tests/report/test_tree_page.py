"""The page in a real browser: it draws, obeys keys and pointer, finds and folds, and treats hostile text as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Browser
from fakes.pictured import broad, family

from arts_lite.report import write_tree_page
from arts_lite.tree import Tree

SHIFT, CONTROL = 8, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def show(browser: Browser, folder: Path, *trees: Tree, width: int = 1280, height: int = 800) -> None:
    path = folder / f"{len(list(folder.iterdir()))}.html"
    write_tree_page(path, trees)
    browser.open(path, width=width, height=height)


def text_of(browser: Browser, selector: str) -> str:
    text: str = browser.evaluate(f"document.querySelector({selector!r}).textContent")
    return text


def node_named(browser: Browser, text: str) -> int:
    script = "JSON.parse(document.getElementById('data').textContent).trees[0].nodes.text.indexOf"
    number: int = browser.evaluate(f"{script}({text!r})")
    return number


def place_of(browser: Browser, node: int) -> tuple[float, float]:
    box = browser.evaluate(
        "(() => { const b = document.getElementById('tree').getBoundingClientRect(); return [b.x, b.y]; })()"
    )
    place = browser.evaluate(f"artsTree.placeOf({node})")
    return place["x"] + box[0], place["y"] + box[1]


def test_every_node_is_drawn_and_every_end_has_its_sign(browser: Browser, folder: Path) -> None:
    show(browser, folder, family())
    state = browser.state
    assert state["numNodes"] == state["numUnfolded"] == state["numDrawn"] == 12
    kinds = {
        text: state["kinds"][node_named(browser, text)] for text in ("wrong", "and prune", "and park", "rush", "add")
    }
    assert kinds == {"wrong": "wrong", "and prune": "pruned", "and park": "parked", "rush": "cut", "add": ""}
    assert state["kinds"].count("correct") == 2
    assert (
        text_of(browser, "#summary")
        == "12 nodes · 6 traces · 2 of 3 right · 1 pruned · 1 parked · 1 cut · chosen answer 42"
    )
    for mark in (
        "main trace",
        "fork",
        "right answer",
        "wrong answer",
        "pruned",
        "parked",
        "cut by a budget",
        "no value",
    ):
        assert mark in text_of(browser, "#marks")


def test_arrows_move_along_the_tree(browser: Browser, folder: Path) -> None:
    show(browser, folder, family())

    def after(*keys: str) -> str:
        browser.press(*keys)
        return text_of(browser, "#panel .step")

    assert after() == "What is 6 times 7?"
    assert after("ArrowRight") == "start"
    assert after("ArrowRight") == "add"
    assert after("ArrowDown") == "subtract"
    assert after("ArrowUp") == "add"
    assert after("End") == "right"
    assert after("ArrowLeft") == "add"
    assert after("c", "c") == "right"
    assert text_of(browser, "#panel h2") == "Step 2, main trace"
    assert after("Home") == "What is 6 times 7?"
    assert after("ArrowLeft", "ArrowUp") == "What is 6 times 7?"


def test_the_panel_tells_what_is_known_of_a_step(browser: Browser, folder: Path) -> None:
    show(browser, folder, family())
    browser.press("ArrowRight", "ArrowRight", "ArrowDown", "ArrowRight")
    panel = text_of(browser, "#panel")
    for told in ("Step 3, fork", "log-flow0.7", "log-prob, model-0.75", "log-prob, sampling-0.6", "draws1"):
        assert told in panel
    for told in (
        "Fork 1: answer 7, wrong answer",
        "stopped by end of text",
        "score -1",
        "forked from trace 0 after 1 tokens",
    ):
        assert told in panel
    assert text_of(browser, "#panel [aria-current]") == "3wrong"
    browser.evaluate("document.querySelector('#panel ol button').click()")
    assert text_of(browser, "#panel h2") == "The question"


def test_search_finds_and_goes_through_its_hits(browser: Browser, folder: Path) -> None:
    show(browser, folder, family())
    browser.press("/", *"right")
    assert browser.state["numFound"] == 2
    assert text_of(browser, "#found") == "2 found"
    browser.press("Enter")
    first = browser.state["selected"]
    browser.press("Enter")
    second = browser.state["selected"]
    assert {first, second} == {node for node, kind in enumerate(browser.state["kinds"]) if kind == "correct"}
    browser.press("Enter", modifiers=SHIFT)
    assert browser.state["selected"] == first
    browser.press("Escape")
    assert browser.state["numFound"] == 0
    browser.press("ArrowLeft")
    assert browser.state["selected"] < first
    browser.press("/", *"fell below")
    assert browser.state["numFound"] == 1  # the reason for pruning is found too
    browser.press("Escape")


def test_folding_hides_what_follows_and_a_hit_unfolds_it(browser: Browser, folder: Path) -> None:
    show(browser, folder, family())
    browser.press("ArrowRight", "Enter")
    assert browser.state["numUnfolded"] == 12 - 4
    assert browser.evaluate("document.getElementById('item').getAttribute('aria-expanded')") == "false"
    assert "8 of 12 nodes unfolded" in text_of(browser, "#status")
    browser.press("/", *"subtract", "Enter", "Escape")
    state = browser.state
    assert (state["numUnfolded"], state["selected"]) == (12, node_named(browser, "subtract"))
    browser.evaluate("document.getElementById('fold-all').click()")
    assert browser.state["numUnfolded"] == 5
    browser.evaluate("document.getElementById('unfold-all').click()")
    assert browser.state["numUnfolded"] == 12


def test_the_pointer_selects_hovers_folds_and_pulls(browser: Browser, folder: Path) -> None:
    show(browser, folder, family())
    node = node_named(browser, "guess")
    browser.hover(*place_of(browser, node))
    assert text_of(browser, "#tip .text") == "guess"
    assert "log-flow -2" in text_of(browser, "#tip .facts")
    browser.click(*place_of(browser, node))
    assert browser.state["selected"] == node
    browser.click(*place_of(browser, node), count=2)
    assert browser.state["numUnfolded"] == 10
    before = browser.state
    x, y = place_of(browser, 0)
    browser.drag((x, y + 100), (x - 60, y + 60))
    assert browser.state["left"] - before["left"] == pytest.approx(60 / before["scale"])
    browser.wheel(x, y, -200, modifiers=CONTROL)
    assert browser.state["scale"] > before["scale"] * 1.3


def test_help_opens_and_closes_by_keys(browser: Browser, folder: Path) -> None:
    show(browser, folder, family())
    browser.press("?")
    assert browser.evaluate("document.getElementById('help').open")
    browser.press("Escape")
    assert not browser.evaluate("document.getElementById('help').open")


def test_colours_can_mean_something_else(browser: Browser, folder: Path) -> None:
    show(browser, folder, family())
    names = browser.evaluate("[...document.getElementById('measure').options].map(one => one.text)")
    assert names == ["log-flow", "step log-prob", "prefix log-prob", "draws"]
    assert [text_of(browser, f"#ramp-{end}") for end in ("low", "high")] == ["-2", "1.2"]
    browser.evaluate(
        "(box => { box.value = 'log_pf'; box.dispatchEvent(new Event('change')); })(document.getElementById('measure'))"
    )
    assert browser.state["measure"] == "log_pf"
    assert text_of(browser, "#ramp-title") == "Log-prob of the step (model)"


def test_a_screen_reader_hears_where_it_is(browser: Browser, folder: Path) -> None:
    show(browser, folder, family())
    browser.press("ArrowRight", "ArrowRight", "ArrowDown", "ArrowRight")
    nodes = browser.accessible()
    named = {(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node}
    assert ("treeitem", "wrong; log-flow 0.7; wrong answer: 7; fork") in named
    assert dict(named)["tree"].startswith("Reasoning tree")
    controls = {"button", "searchbox", "combobox", "tree", "treeitem", "complementary"}
    assert all(node["name"]["value"] for node in nodes if node["role"]["value"] in controls)


HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "<!--<script>",
    "]]>\u2028\u2029\x00\u202egnp.exe",
    "javascript:window.hacked=1",
    "\ud800 lone",
    "__proto__",
    "constructor",
    "A" * 20_000,
    "",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
def test_hostile_text_is_text(browser: Browser, folder: Path, text: str) -> None:
    tree = family(text, answer=text, problem={"id": text, "answer": text})
    ends = tuple(type(end)(end.state, end.reason, text, text, end.correct) for end in tree.ends)
    hostile = Tree(**{**vars(tree), "texts": tuple(text for _ in tree.texts), "ends": ends})
    show(browser, folder, hostile)
    browser.press("ArrowRight", "ArrowRight", "ArrowRight", "Enter")
    browser.hover(*place_of(browser, 0))
    assert browser.evaluate("typeof window.hacked") == "undefined"
    assert browser.evaluate("document.querySelectorAll('script, img, iframe').length") == 2
    if "<" in text:
        assert text_of(browser, "#panel .step") == text
    assert "\u202e" not in text_of(browser, "#panel") + text_of(browser, "#item") + text_of(browser, "#tip")


def test_one_of_several_trees_is_chosen(browser: Browser, folder: Path) -> None:
    show(browser, folder, family("the first"), broad(1, 0, 3))
    assert text_of(browser, "#title") == "the first"
    browser.evaluate(
        "(box => { box.value = '1'; box.dispatchEvent(new Event('change')); })(document.getElementById('which'))"
    )
    assert browser.state["numNodes"] == 4
    assert text_of(browser, "#title") == "a question about many things"


def test_of_a_huge_tree_only_what_is_in_sight_is_drawn(browser: Browser, folder: Path) -> None:
    tree = broad(100, 5, 9)
    assert tree.num_nodes == 4901
    show(browser, folder, tree)
    state = browser.state
    assert state["numUnfolded"] == 4901
    assert 20 < state["numDrawn"] < 200
    browser.press("End", *["ArrowDown"] * 40)
    assert browser.state["selected"] > state["selected"]
    assert browser.evaluate(
        "(at => at.x > 0 && at.y > 0 && at.y < innerHeight)(artsTree.placeOf(artsTree.state().selected))"
    )
    browser.press("0")
    assert browser.state["numDrawn"] == 4901
    browser.press("/", *"trace 77, step 8, fork 4", "Enter")
    assert text_of(browser, "#panel .step") == "trace 77, step 8, fork 4"
    browser.press("Escape")


@pytest.mark.parametrize("num_traces", [2, 40])
@pytest.mark.parametrize("num_steps", [2, 3, 4, 5])
def test_the_first_look_shows_the_whole_width_where_texts_stay_readable(
    browser: Browser, folder: Path, num_traces: int, num_steps: int
) -> None:
    """However many rows there are; a tree that is far too wide begins at its root."""
    show(browser, folder, broad(num_traces, 0, num_steps))
    state = browser.state
    width = browser.evaluate("document.getElementById('canvas').clientWidth")
    right = browser.evaluate("artsTree.placeOf(artsTree.state().numNodes - 1).x")
    assert right <= width - 150 * state["scale"]  # the answers stand beside the leaves
    assert 0.6 <= state["scale"] <= 1.1
    if num_traces > 30:
        assert state["scale"] <= 0.8


def test_a_very_long_trace_is_walked_to_its_end(browser: Browser, folder: Path) -> None:
    show(browser, folder, broad(1, 0, 3000))
    browser.press("End")
    assert browser.state["selected"] == 3000
    assert text_of(browser, "#panel .step") == "trace 0, step 2999"
    assert browser.evaluate("document.querySelectorAll('#panel ol button').length") == 60
    browser.press("0", "Home")
    assert browser.state["selected"] == 0


@pytest.mark.parametrize(("width", "height"), [(360, 640), (1280, 800), (2560, 1440)])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_the_window_light_and_dark(
    browser: Browser, folder: Path, tmp_path: Path, width: int, height: int, dark: bool
) -> None:
    path = tmp_path / "page.html"
    write_tree_page(path, [family()])
    browser.open(path, width=width, height=height, dark=dark)
    fits = "document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight"
    assert browser.evaluate(fits)
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(", "))) < 200) is dark
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 5_000
    browser.set_dark(False)
