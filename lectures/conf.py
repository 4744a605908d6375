"""Builds the lectures with Sphinx: `-b html` gives the pages to read, `-b revealjs` the decks to show.

Nothing is loaded from the network: themes and reveal.js come with their packages, and formulas become MathML.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "vos_teach"
author = "the authors of vos_teach"
copyright = "2026, the authors of vos_teach; text and figures CC BY 4.0"
language = "en"

extensions = ["myst_parser", "sphinx_revealjs", "page_and_deck"]
myst_enable_extensions = ["colon_fence", "dollarmath", "attrs_inline", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_math_renderer = "mathml"

html_theme = "sphinx_book_theme"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system has it
html_title = "Video object segmentation, from OSVOS to transformers"
html_static_path = ["_static"]
html_css_files = ["page.css"]
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
html_theme_options = {
    "use_download_button": False, "use_fullscreen_button": False, "show_toc_level": 2, "home_page_in_toc": True,
    "navbar_persistent": [],
}

revealjs_static_path = ["_static"]
revealjs_style_theme = "white"
revealjs_css_files = ["deck.css"]
revealjs_use_section_ids = True
revealjs_notes_from_comments = False  # comments in a page are for its authors
revealjs_script_conf = {
    "width": 1280, "height": 720, "margin": 0.04, "hash": True, "slideNumber": "c/t", "center": False,
    "transition": "none",
}
revealjs_script_plugins = [{"src": "revealjs/plugin/notes/notes.js", "name": "RevealNotes"}]
