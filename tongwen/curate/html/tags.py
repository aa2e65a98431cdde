"""Tags of HTML and attributes that the reader looks at, as numbers; what a tag does, as bits."""

import numpy as np
import numpy.typing as npt

# What a tag does; the names are those of the HTML standard, section 13.2.
INLINE, VOID, DROPPED, RAW = 1, 2, 4, 8
CLOSES_PARAGRAPH, SPECIAL, SCOPED, BOUNDARY = 16, 32, 64, 128
LEAVES_FOREIGN, TABLE_PART, HEADING, MARKER = 256, 512, 1024, 2048
ORDINARY, TRANSPARENT = 4096, 8192

_HEADINGS = "h1 h2 h3 h4 h5 h6"
_TAG_NAMES: dict[int, str] = {
    INLINE: """
        abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark nobr q
        rb rp rt rtc ruby s samp small span strike strong sub sup time tt u var wbr picture source
        """,
    VOID: """
        area base br col embed hr img input link meta source track wbr param frame basefont bgsound
        keygen
        """,
    DROPPED: """
        script style noscript template svg math iframe object applet canvas audio video map
        textarea select datalist noembed noframes xmp plaintext dialog title
        """,
    RAW: "script style iframe textarea noembed noframes xmp plaintext title",
    CLOSES_PARAGRAPH: f"""
        address article aside blockquote center details dialog dir div dl fieldset figcaption figure
        footer header hgroup main menu nav ol p search section summary ul pre listing form li dd dt
        plaintext hr xmp table {_HEADINGS}
        """,
    SPECIAL: f"""
        address applet article aside blockquote body button caption center dd details dir div dl dt
        fieldset figcaption figure footer form frameset head header hgroup html li listing main
        marquee menu nav noembed noframes noscript object ol p plaintext pre search section select
        summary table td template th tr ul {_HEADINGS}
        """,
    SCOPED: """
        address applet article aside blockquote button center dd details dialog dir div dl dt
        fieldset figcaption figure footer header hgroup listing main marquee menu nav object ol pre
        search section summary ul
        """,
    BOUNDARY: "applet caption html table td th marquee object template svg math foreignobject",
    LEAVES_FOREIGN: f"""
        b big blockquote body br center code dd div dl dt em embed head hr i img li menu meta nobr
        ol p pre ruby s small span strong strike sub sup table tt u ul var {_HEADINGS}
        """,
    TABLE_PART: "tr td th tbody thead tfoot caption col colgroup",
    HEADING: _HEADINGS,
    MARKER: "td th caption applet object marquee template",
    ORDINARY: "legend",
}
TAG_NAMES = ("", *sorted({name for names in _TAG_NAMES.values() for name in names.split()}))
_IDS = {name: number for number, name in enumerate(TAG_NAMES)}

BODY, HTML, HEAD, TITLE = (_IDS[name] for name in ("body", "html", "head", "title"))
FORM, BUTTON, SELECT, TEXTAREA = (_IDS[name] for name in ("form", "button", "select", "textarea"))
PARAGRAPH, ITEM, TERM, DEFINITION = (_IDS[name] for name in ("p", "li", "dt", "dd"))
TABLE, ROW, CELL, HEAD_CELL = (_IDS[name] for name in ("table", "tr", "td", "th"))
BULLETED, NUMBERED, CODE, BREAK = (_IDS[name] for name in ("ul", "ol", "pre", "br"))
RULE, SVG, MATH, TEMPLATE = (_IDS[name] for name in ("hr", "svg", "math", "template"))
FOREIGN_OBJECT, PLAINTEXT, INPUT = (_IDS[name] for name in ("foreignobject", "plaintext", "input"))
CAPTION, HEADING_1, SCRIPT, KEYGEN = (_IDS[name] for name in ("caption", "h1", "script", "keygen"))
XMP = _IDS["xmp"]
DIVISION, ADDRESS = (_IDS[name] for name in ("div", "address"))
RUBY, RUBY_BASE, READING = (_IDS[name] for name in ("ruby", "rb", "rt"))
READING_BRACKET, READINGS, INLINE_CODE = (_IDS[name] for name in ("rp", "rtc", "code"))
LINK = len(TAG_NAMES)  # the tag `a`
OTHER = LINK + 1  # an element that HTML does not know, such as a custom one
TAGS = OTHER + 1
assert TAG_NAMES[HEADING_1 + 5] == "h6"


ATTRIBUTES = (
    "class", "id", "role", "itemprop", "style", "hidden", "aria-hidden", "start", "value",
    "shadowrootmode",
)  # fmt: skip
CLASS, ID, ROLE, PROPERTY, STYLE, HIDDEN, ARIA_HIDDEN, START, VALUE, SHADOW = range(10)


def numbers_of_tags() -> dict[str, int]:
    """The number of each tag."""
    return {name: number for name, number in _IDS.items() if name} | {"a": LINK}


def traits_of_tags() -> npt.NDArray[np.int64]:
    """The bits of each number."""
    traits = np.zeros(TAGS, np.int64)
    for bit, listed in _TAG_NAMES.items():
        for name in listed.split():
            traits[_IDS[name]] |= bit
    traits[LINK], traits[OTHER] = INLINE, TRANSPARENT
    return traits
