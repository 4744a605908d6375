"""The lecture pages: complete, built without a warning as pages and as decks, readable without a network."""

import ast
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).resolve().parents[2]
LECTURES = ROOT / "lectures"
PAGES = ("0_task_data_measures", "1_online_learning", "2_mask_propagation", "3_flow_propagation", "4_rnn",
         "5_transformers")

# What the lecture asks (its slides, and the curriculum): words that the stated question must contain
QUESTIONS = {
    "0_task_data_measures": (
        "one-shot and zero-shot", "single instance per video, DAVIS-2017 several", "scale buy", "decay tell that J",
        "first frame left out", "mean over objects", "prove that the mask was used",
    ),
    "1_online_learning": (
        "limitations of online learning", "fine-tune a ConvNet with just a single frame", "so much slower",
        "flicker though each frame looks right",
    ),
    "2_mask_propagation": ("segmentation, or correction", "object leaves", "without any video", "probabilities"),
    "3_flow_propagation": (
        "Where is the RNN in the MaskRNN architecture", "several objects in a single pass", "will perform better",
        "would you use, and why", "Through a small window", "Which flow is needed", "average the two streams' logits",
        "appearance stream fail, when the motion stream",
    ),
    "4_rnn": (
        "S2S win on seen categories, and OSVOS on unseen", "so much slower than those that do not",
        "RVOS do both tasks", "recurrence in space for", "first frame only", "soft IoU of two empty masks",
        "frozen. What does that cost", "none knows of the others",
    ),
    "5_transformers": (
        "state of an RNN, and what is the memory", "cost as the video grows", "masks of the other objects",
        "predicted masks in training", "Predict which one helps most", "who pays for a further object",
        "wrong with the dot product", "second distance better", "hear of a place that is on none of them",
        "why must that be shuffled", "What else does one pass change", "why one match for the clip",
        "whole clip at once", "a phone, an annotation tool, a film studio, a video of an hour",
    ),
}
# What the slides say: words that the page must contain, outside the answers or inside
SAID = {
    "0_task_data_measures": (
        "semi-supervised", "unsupervised", "every frame", "90 videos to train and validate", "30 in test-dev",
        "4,453", "7,822", "191,378", "345", "70+", "**one** instance", "**several** instances",
    ),
    "1_online_learning": (
        "each frame is processed separately", "temporal inconsistencies", "results are convincing",
        "10 seconds and 1 minute", "OnAVOS", "OSMN",
    ),
    "2_mask_propagation": ("Refine the mask of the last frame", "the frame and the mask of the frame before"),
    "3_flow_propagation": (
        "masks of the N objects in the last frame are **warped with the optical flow**",
        "Each mask goes **separately**",
        "**concatenated with optical flow**", "two streams", "one stream", "**adding more mask channels**",
        "lighter, as good as two, cheaper to train", "**extra input channels**", "semantics of objects",
    ),
    "4_rnn": (
        "segmented **independently**", "**one-shot** only", "**trained for another task**",
        "**not end-to-end trainable**", "ConvLSTM", "Recurrence in **space**", "**One-shot**", "**Zero-shot**",
        "K80 (*) and a P100 (†)",
    ),
    "5_transformers": (
        "Spatio-Temporal Networks", "Sparse Transformers", "(a) Post-ensemble", "(b) Associating objects",
        "(c) Comparison", "open book", "Video object segmentation using space-time memory networks",
        "with improved memory coverage", "foreground-background integration",
        "End-to-end video instance segmentation with transformers",
    ),
}
# Published figures, as the fact sheet has them: a row's name -> its cells
TABLES = {
    "0_task_data_measures": {
        "videos": "22 14 96 59 50 90 4,453", "categories": "14 11 10 16 - - 94",
        "objects": "22 24 96 139 50 205 7,822",
        "annotations": "6,331 1,475 1,692 1,465 3,440 13,543 191,378", "minutes": "3.52 0.59 9.01 7.70 2.88 5.17 345",
    },
    "1_online_learning": {
        "OSVOS": "yes 59.8 54.2 60.5 60.7 10", "MaskTrack": "yes 59.9 45.0 59.5 47.9 12",
        "OnAVOS": "yes 60.1 46.6 62.7 51.4 13", "S2S w/o OL": "no 66.7 48.2 65.5 50.3 0.16",
        "OSMN": "no 60.0 40.6 60.1 44.0 0.14/0.108*/0.065†", "RVOS-Mask-ST+": "no 63.6 45.5 67.2 51.0 0.067*/0.044†",
        "OSVOS ": "79.8/80.6 60.3 50.9 ~9(recalled)", "OnAVOS ": "86.1/84.9 65.4 52.8 13(recalled)",
        "OSMN ": "74.0/72.9 54.8 41.3 0.14",
    },
    "2_mask_propagation": {"OSVOS": "79.8/80.6 58.8 10", "MaskTrack": "79.7/75.4 53.1 12"},
    "3_flow_propagation": {
        "two streams": "yes yes no 80.9", "one stream": "yes yes no 80.3", "FusionSeg": "zero-shot 70.7/65.3 -",
        "MaskTrack (stage 2)": "one-shot 79.7/75.4 -", "MaskRNN": "one-shot 80.4/82.3(recalled) -",
        "LucidTracker": "one-shot 83.9/82.0 66.7",
    },
    "4_rnn": {
        "OSVOS": "yes 59.8 54.2 60.5 60.7 10", "MaskTrack": "yes 59.9 45.0 59.5 47.9 12",
        "OnAVOS": "yes 60.1 46.6 62.7 51.4 13", "S2S w/o OL": "no 66.7 48.2 65.5 50.3 0.16",
        "OSMN": "no 60.0 40.6 60.1 44.0 0.14/0.108*/0.065†", "RVOS-Mask-ST+": "no 63.6 45.5 67.2 51.0 0.067*/0.044†",
        "S2S": "one-shot,withOL 79.1/-(recalled) - 0.16(recalled,withoutOL)",
        "Visual memory": "zero-shot 75.9/72.1 - -", "RVOS": "one-shot - 60.6 0.044", "RVOS ": "zero-shot - 41.2 0.044",
    },
    "5_transformers": {
        "STM": "88.7/90.1 81.7 72.2 79.4 0.16s", "STCN": "90.4/93.0 85.3 79.9 84.3 20fps",
        "CFBI": "- 81.9 - 81.8 5.9fps", "SSTVOS": "- 78.4 - 81.8(2019) -",
        "AOT-T": "86.5/88.4 79.2 73.7 80.2 51fps", "R50-AOT-L": "90.4/93.0 85.2 79.5 84.6 18fps",
    },
}
# Figures that are drawn once something has been measured: name -> what of which stage
LATER = {"objects_time": (3, "objects"), "identities_time": (5, "identities"), "sparse_cost": (5, "sparse")}


def source(page: str) -> str:
    return (LECTURES / f"{page}.md").read_text(encoding="utf-8")


def blocks(text: str, kind: str) -> list[tuple[str, str]]:
    """(argument, body) of each `:::{kind} argument` block."""
    return re.findall(rf"^:::\{{{kind}\}} *([^\n]*)\n(.*?)^:::$", text, re.M | re.S)


# ---- the sources

@pytest.mark.parametrize("page", PAGES)
def test_every_question_of_the_lecture_is_stated_and_answered(page):
    asked = blocks(source(page), "question")
    for words in QUESTIONS[page]:
        (answer,) = [body for question, body in asked if words in question]
        assert len(answer.split()) >= 40, words
    assert all(question.strip().endswith("?") or "?" in question for question, _ in asked)


@pytest.mark.parametrize("page", PAGES)
def test_every_statement_of_the_slides_is_there(page):
    text = " ".join(source(page).split())
    assert [words for words in SAID[page] if words not in text] == []


@pytest.mark.parametrize("page", PAGES)
def test_published_tables_are_the_published_figures(page):
    lines = [line.strip("| ").split("|") for line in source(page).splitlines() if line.startswith("|")]
    lines = [[re.sub(r"[*\\]", "", cell).strip() for cell in line] for line in lines]
    rows = [[name, " ".join(re.sub(r"\s", "", cell) for cell in cells)] for name, *cells in lines]
    for name, cells in TABLES[page].items():
        assert [name.strip(), cells.replace("*", "")] in rows, (name, [r for r in rows if r[0] == name.strip()])


@pytest.mark.parametrize("page", PAGES)
def test_what_others_published_is_marked_and_what_is_ours_says_on_what(page):
    text = source(page)
    for table in re.split(r"\n\n", text):
        if table.startswith("|") and re.search(r"\d\d\.\d", table):
            assert "ublished" in text[max(0, text.index(table) - 400) : text.index(table) + len(table) + 200], table
    for match in re.finditer(r"(\*\*Ours\*\*|^Ours:)", text, re.M):
        near = text[match.start() : match.start() + 600]
        assert re.search(r"DAVIS|YouTube-VOS|toy", near) and "seed 0" in near, near


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_exists_and_is_described(page):
    figures = blocks(source(page), "figure")
    assert len(figures) >= 5
    for path, body in figures:
        assert (LECTURES / path).is_file(), path
        alt = re.search(r"^:alt: (.*)$", body, re.M)
        assert alt and len(alt[1].split()) >= 15, f"{path}: describe it in :alt:"


def test_every_figure_is_made_by_code_and_shown_somewhere():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (LECTURES / "figures").glob("stage*.py")]
    makers = {f.name for tree in trees for f in tree.body if isinstance(f, ast.FunctionDef)
              and any(getattr(d, "id", "") == "figure" for d in f.decorator_list)}
    files = {p.stem: p for p in (LECTURES / "figures").iterdir() if p.suffix in (".png", ".jpg", ".svg")}
    measured = {n: json.loads((LECTURES / "figures" / f"stage{n}.json").read_text(encoding="utf-8")) for n in (3, 5)}
    assert set(LATER) <= makers
    assert set(files) == makers - {name for name, (stage, what) in LATER.items() if what not in measured[stage]}
    shown = "".join(map(source, PAGES)) + (ROOT / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in files.values() if f"figures/{p.name}" not in shown] == []
    assert all(p.stat().st_size < 1_000_000 for p in files.values())


@pytest.mark.parametrize("page", PAGES)
def test_files_of_the_package_that_a_page_names_exist(page):
    named = re.findall(r"`(vos_teach/[\w/.]+|tests/[\w/.]+)`", source(page))
    assert len(named) >= 4
    assert [path for path in named if not (ROOT / path).exists()] == []
    labs = re.findall(r"`(notebooks/[\w/.]+)`", source(page))
    assert labs
    if (ROOT / "notebooks").is_dir():
        assert [path for path in labs if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, "index"])
def test_no_solution_of_a_lab_is_given_away(page):
    text = source(page)
    assert "```python" not in text and not re.search(r"^\s*(def |import |from \w+ import )", text, re.M)
    lines = set()
    for lab in (ROOT / "assignments" / "labs").glob("*.py"):
        for body in re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", lab.read_text(encoding="utf-8"), re.S):
            lines |= {line.strip() for line in body.splitlines() if len(line.strip()) > 20}
    assert [line for line in lines if line in text] == []


def test_places_for_what_is_measured_later_stay_marked():
    for page, names in {"1_online_learning": ("stage 1", "finetuning"), "2_mask_propagation": ("spoil", "stage 2"),
                        "3_flow_propagation": ("warping", "objects", "systems", "composites", "streams"),
                        "4_rnn": ("borrowed", "recurrence", "growth", "table", "systems", "composites"),
                        "5_transformers": ("memory", "affinity", "backbone", "sparse", "identities", "systems",
                                           "composites")}.items():
        for name in names:
            assert all(source(page).count(f"<!-- {end}measured: {name} -->") == 1 for end in ("", "/")), name


# ---- the build

@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Pages in DIR, decks in DIR/slides; any warning fails."""
    for module in ("sphinx", "myst_parser", "sphinx_book_theme", "sphinx_revealjs"):
        pytest.importorskip(module, reason="the lectures' tools are not installed: pip install -e '.[site]'")
    home = tmp_path_factory.mktemp("lectures")
    src, out = home / "lectures", home / "out"
    shutil.copytree(LECTURES, src, ignore=shutil.ignore_patterns("__pycache__"))
    for builder, where in (("html", out), ("revealjs", out / "slides")):
        made = subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", builder, "-d",
                               str(home / "doctrees"), str(src), str(where)], capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
    return out


class Reader(HTMLParser):
    """Collects tags with their attributes, and the ids."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def built(site: Path) -> list[Path]:
    return sorted(p for p in site.rglob("*.html") if "_static" not in p.parts)


@pytest.mark.slow
def test_pages_and_decks_are_built(site):
    for page in (*PAGES, "index"):
        assert (site / f"{page}.html").is_file() and (site / "slides" / f"{page}.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_answers_are_folded_on_the_page_and_a_fragment_in_the_deck(site, page):
    n = len(blocks(source(page), "question"))
    text = (site / f"{page}.html").read_text(encoding="utf-8")
    assert text.count('<details class="question"><summary>') == n and "<details open" not in text
    deck = (site / "slides" / f"{page}.html").read_text(encoding="utf-8")
    assert deck.count('<section class="question">') == deck.count('<div class="fragment answer">') == n
    assert deck.count('<aside class="notes">') == len(blocks(source(page), "talk"))
    assert deck.count("<section") == deck.count("</section>")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_formulas_are_mathml(site, page):
    formulas = source(page).count("$$") // 2
    for path in (site / f"{page}.html", site / "slides" / f"{page}.html"):
        text = path.read_text(encoding="utf-8")
        assert text.count('display="block"') == formulas
        assert not re.search(r"<script[^>]*mathjax", text, re.I) and "\\frac" not in text


@pytest.mark.slow
def test_nothing_is_loaded_from_the_network(site):
    outside = re.compile(r"^(https?:)?//")
    sheets = set()
    for path in built(site):
        for tag, attrs in Reader(path.read_text(encoding="utf-8")).tags:
            for key in ("src", "href", "poster", "data", "srcset"):
                if (tag, key) == ("a", "href") or not attrs.get(key):
                    continue
                assert not outside.match(attrs[key]), f"{path.name}: <{tag} {key}={attrs[key]}>"
                if tag == "link" and attrs.get("rel") == "stylesheet":
                    sheets.add((path.parent / urldefrag(attrs[key])[0].split("?")[0]).resolve())
    assert sheets
    while sheets:  # what the style sheets load, and what those load
        sheet = sheets.pop()
        text = sheet.read_text(encoding="utf-8")
        for url in re.findall(r"(?:@import\s+|url\()\s*(?:url\()?['\"]?([^'\")\s]+)", text):
            assert not outside.match(url), f"{sheet.name} loads {url}"
            if url.endswith(".css"):
                sheets.add((sheet.parent / url).resolve())


@pytest.mark.slow
def test_no_link_leads_to_a_missing_file(site):
    for path in built(site):
        for tag, attrs in Reader(path.read_text(encoding="utf-8")).tags:
            for key in ("src", "href"):
                link = urldefrag(attrs.get(key) or "")[0].split("?")[0]
                if link and not re.match(r"^\w+:", link):
                    assert (path.parent / unquote(link)).exists(), f"{path.name}: <{tag} {key}={attrs[key]}>"
        for _, attrs in (t for t in Reader(path.read_text(encoding="utf-8")).tags if t[0] == "img"):
            assert attrs.get("alt"), f"{path.name}: a picture without a description"


@pytest.mark.slow
def test_a_browser_shows_them(site):
    """Chromium, without a network: formulas have a size, pages fit a phone, every slide fits its screen."""
    chromium = next((c for c in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if c), None)
    if chromium is None:
        pytest.skip("there is no Chromium here")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as p:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = p.chromium.launch(executable_path=chromium, args=flags)
        wanted: list[str] = []
        for page in PAGES:
            for width, height in ((1280, 900), (390, 844)):
                tab = browser.new_page(viewport={"width": width, "height": height})
                tab.on("request", lambda r: wanted.append(r.url))
                tab.goto((site / f"{page}.html").as_uri())
                assert tab.evaluate("document.documentElement.scrollWidth") <= width
                sizes = tab.evaluate("[...document.querySelectorAll('main div.math > math')]"
                                     ".map(m => [m.getBoundingClientRect().width, m.getBoundingClientRect().height])")
                assert sizes and all(w > 50 and h > 12 for w, h in sizes)
                assert not tab.locator("details.question .answer").first.is_visible()
                tab.locator("details.question summary").first.click()
                assert tab.locator("details.question .answer").first.is_visible()
                tab.close()
            tab = browser.new_page(viewport={"width": 1280, "height": 720})
            tab.on("request", lambda r: wanted.append(r.url))
            tab.goto((site / "slides" / f"{page}.html").as_uri())
            tab.wait_for_function("window.Reveal && Reveal.isReady()")
            places = tab.evaluate("Reveal.getSlides().map(s => Reveal.getIndices(s))")
            for place in places:
                tab.evaluate(f"Reveal.slide({place['h']}, {place.get('v') or 0}, 99)")
                w, tall, said = tab.evaluate("(s => [s.scrollWidth, s.scrollHeight, s.innerText.slice(0, 40)])"
                                             "(Reveal.getCurrentSlide())")
                assert w <= 1281 and tall <= 720, f"{page}: the slide '{said}' is {w}x{tall}"
            tab.close()
        browser.close()
    assert wanted and [url for url in wanted if not url.startswith(("file:", "data:"))] == []
