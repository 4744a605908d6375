"""A Sphinx extension: what lets one Markdown source be both a page to read and a deck to show.

    talk        what is said: text on the page, speaker's notes in the deck (key S)
    question    a question of the lecture and its answer: folded on the page; in the deck a slide of its own, the
                answer a fragment that the next key press reveals
    other-form  a link from the page to its deck, and back

Headings of levels 1 to 3 begin slides. Formulas become MathML, which browsers draw by themselves, by docutils' own
converter: no script, no font and no LaTeX is needed.
"""

from __future__ import annotations

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

DECKS = "slides"  # the decks' folder beside the pages
logger = logging.getLogger(__name__)


class talk(nodes.General, nodes.Element):
    """What is said aloud."""


class question(nodes.General, nodes.Element):
    """A question (the first child, inline) and its answer (the other children)."""


class other_form(nodes.General, nodes.Element):
    """A link from the page to its deck, or back."""


class Talk(SphinxDirective):
    """`:::{talk}` text `:::`."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Parse the content."""
        node = talk()
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


class Question(SphinxDirective):
    """`:::{question} the question` answer `:::`."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Parse question and answer; an answer is required."""
        self.assert_has_content()
        ask, messages = self.state.inline_text(self.arguments[0], self.lineno)
        node = question("", nodes.inline("", "", *ask))
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node, *messages]


class OtherForm(SphinxDirective):
    """`:::{other-form}` `:::`: a link from page to deck and from deck to page."""

    def run(self) -> list[nodes.Node]:
        """Nothing to parse."""
        return [other_form("", doc=self.env.docname)]


def is_deck(writer: HTML5Translator) -> bool:
    """Whether slides are being written."""
    return writer.builder.name == "revealjs"


def visit_talk(writer: HTML5Translator, node: talk) -> None:
    """Notes in the deck, plain text on the page."""
    if is_deck(writer):
        writer.body.append('<aside class="notes">\n')


def depart_talk(writer: HTML5Translator, node: talk) -> None:
    """Close what `visit_talk` opened."""
    if is_deck(writer):
        writer.body.append("</aside>\n")


def visit_question(writer: HTML5Translator, node: question) -> None:
    """A folded answer on the page; a slide with a fragment in the deck."""
    ask, *answer = node.children
    deck = is_deck(writer)
    if deck:  # what comes before the question has had its slide
        writer.body.append('</section>\n<section class="question">\n<p class="label">Question</p>\n<p class="ask">')
    else:
        writer.body.append('<details class="question"><summary><span class="label">Question</span> ')
    for child in ask.children:
        child.walkabout(writer)
    writer.body.append('</p>\n<div class="fragment answer">\n' if deck else '</summary>\n<div class="answer">\n')
    for child in answer:
        child.walkabout(writer)
    writer.body.append("</div>\n" if deck else "</div>\n</details>\n")
    raise nodes.SkipNode


def visit_other_form(writer: HTML5Translator, node: other_form) -> None:
    """The link."""
    name = f"{node['doc']}.html"
    if is_deck(writer):
        writer.body.append(f'<p class="other-form"><a href="../{name}">the same to read</a></p>\n')
    else:
        writer.body.append(f'<p class="other-form"><a href="{DECKS}/{name}">This page as slides</a> '
                           f'(arrow keys; S for the speaker\'s notes)</p>\n')
    raise nodes.SkipNode


def mathml(writer: HTML5Translator, node: nodes.Element, block: bool) -> None:
    """LaTeX -> MathML; what docutils cannot convert is a warning, and so fails the build."""
    text = node.astext()
    try:
        markup = tex2mathml(text, as_block=block)
    except MathError as error:
        logger.warning("this formula cannot be converted (%s): %s", error, text, location=node)
        markup = f"<code>{writer.encode(text)}</code>"
    writer.body.append(f'<div class="math">{markup}</div>\n' if block else f'<span class="math">{markup}</span>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what is above."""
    app.add_node(talk, html=(visit_talk, depart_talk))
    app.add_node(question, html=(visit_question, None))
    app.add_node(other_form, html=(visit_other_form, None))
    app.add_directive("talk", Talk)
    app.add_directive("question", Question)
    app.add_directive("other-form", OtherForm)
    app.add_html_math_renderer("mathml", (lambda w, n: mathml(w, n, False), None),
                               (lambda w, n: mathml(w, n, True), None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
