"""What tags, classes and ids promise about the text inside: the main content, or something else.

Words are those that themes and portals use, in English and in Pinyin.
"""

from typing import Any

import numpy as np

from tongwen.curate.html import names as html_names
from tongwen.curate.html.names import HASH_PRIME, HASH_START, Bytes, look_up
from tongwen.kernels import inner

_BOILERPLATE_ROLES_NAMES = """
navigation banner contentinfo complementary search menu menubar dialog alert toolbar
"""
_BOILERPLATE_ROLES = frozenset(_BOILERPLATE_ROLES_NAMES.split())
# Whole words of a class or id (split at "-", "_", space and case changes).
_FOREIGN_NAMES = """
comment comments commentlist disqus gitalk gitment valine livere respond reply replies pinglun
sidebar navbar breadcrumb breadcrumbs mianbaoxie tagcloud related xiangguan tuijian recommended
recommendations
"""
_FOREIGN_WORDS = frozenset(_FOREIGN_NAMES.split())
_BOILERPLATE_WORDS_NAMES = """
nav navigation navi menu submenu dropdown side sidenav aside footer foot ft bottom crumb crumbs
crumbnav share sharing social bdshare jiathis addthis sns relate relative recommend
recommendation recommends promo promotion advert advertisement ad ads adv adsense adsbygoogle
guanggao sponsor sponsored banner popup modal overlay cookie cookies consent gdpr newsletter
subscribe subscription signup login signin register pagination pager pagenav paginator prevnext
tag tags taglist keywords categories category cat widget widgets toolbar tools tool print
copyright copy license reward donate dashang author byline authorinfo bio postmeta meta metadata
entrymeta hidden skip outbrain taboola gutter lineno linenos toc qrcode erweima weixin wechat
weibo feedback report jubao more archive archives links friendlink youlian hot rank ranking
paihang search searchbox masthead disclaimer rating poll survey trending popular editsection
noprint navbox timestamp
"""
_BOILERPLATE_WORDS = frozenset(_BOILERPLATE_WORDS_NAMES.split())
_CONTENT_WORDS_NAMES = """
article articlebody articlecontent articletext post postbody postcontent entry entrycontent
content contents maincontent main story storybody body text txt detail details zhengwen neirong
wenzhang richtext markdown prose hentry blogpost artibody
"""
_CONTENT_WORDS = frozenset(_CONTENT_WORDS_NAMES.split())
_STATE_WORDS = frozenset({"has", "with", "no", "without", "open", "closed", "enabled", "is"})

# Bits of a word: what it is in a class or id, and what it is as a role or itemprop.
_STATE, _FOREIGN, _BOILERPLATE, _CONTENT, _BOILERPLATE_ROLE, _CONTENT_ROLE, _BODY = (
    1 << bit for bit in range(7)
)


def words() -> dict[str, int]:
    """Every word that promises something, with its bits."""
    found: dict[str, int] = {}
    for bit, listed in (
        (_STATE, _STATE_WORDS),
        (_FOREIGN, _FOREIGN_WORDS),
        (_BOILERPLATE, _BOILERPLATE_WORDS),
        (_CONTENT, _CONTENT_WORDS),
        (_BOILERPLATE_ROLE, _BOILERPLATE_ROLES),
        (_CONTENT_ROLE, frozenset({"main"})),
        (_BODY, frozenset({"articlebody"})),
    ):
        for word in listed:
            found[word] = found.get(word, 0) | bit
    return found


@inner
def prior_of(source: Bytes, traits: int, spans: Any, table: Any) -> Any:
    """1: the element says it is the main content; -1: it says it is not; -2: it holds what other
    people or other pages say; 0: nothing can be said.

    `traits`: bits of its tag; `spans`: start and end in `source` of each value of
    `html_names.ATTRIBUTES`, -1 where it has none.
    """
    role = _bits(source, spans, html_names.ROLE, table)
    if traits & html_names.BOILERPLATE or role & _BOILERPLATE_ROLE:
        return -1
    if _bits(source, spans, html_names.PROPERTY, table) & _BODY or role & _CONTENT_ROLE:
        return 1
    if traits & html_names.NAMED_CONTENT:
        return 1
    if traits & html_names.PLAIN:
        return 0
    is_content, is_boilerplate, is_foreign = False, False, False
    for key in (html_names.CLASS, html_names.ID):
        position, end = spans[key, 0], spans[key, 1]
        while 0 <= position < end:
            start = position
            while position < end and source[position] > 32:
                position += 1
            if position > start:
                verdict = _verdict(source, start, position, table)
                is_content |= verdict == 1
                is_boilerplate |= verdict == -1
                is_foreign |= verdict == -2
            position += 1
    if is_foreign and not is_content:
        return -2
    return int(is_content) - int(is_boilerplate or is_foreign)


@inner
def _bits(source: Bytes, spans: Any, key: int, table: Any) -> Any:
    """Bits of a whole value."""
    if spans[key, 0] < 0:
        return np.int64(0)
    found = look_up(table, html_names.hash_lower(source, spans[key, 0], spans[key, 1]))
    return max(found, np.int64(0))


@inner
def _verdict(source: Bytes, start: int, end: int, table: Any) -> Any:
    """The promise of one class or id: of its words and of all of it without "-" and "_".

    Words end where the case changes, or at anything that is no letter.
    """
    bits = np.int64(0)
    whole, word = HASH_START, HASH_START
    length, uppers = 0, 0  # of the word in hand
    for position in range(start, end + 1):
        byte = np.uint64(source[position]) if position < end else np.uint64(0)
        is_upper = np.uint64(65) <= byte <= np.uint64(90)
        is_lower = np.uint64(97) <= byte <= np.uint64(122)
        if is_upper:
            byte += np.uint64(32)
        is_end = not (is_upper or is_lower)
        if (is_upper and uppers < length) or (is_lower and length > 1 and uppers == length):
            is_end = True
        if is_end and length:
            bits |= max(look_up(table, word), np.int64(0))
            word, length, uppers = HASH_START, 0, 0
        if is_upper or is_lower:
            word = (word ^ byte) * HASH_PRIME
            length += 1
            uppers += int(is_upper)
        if position < end and byte != np.uint64(45) and byte != np.uint64(95):
            whole = (whole ^ byte) * HASH_PRIME
    bits |= max(look_up(table, whole), np.int64(0))
    if bits & _STATE:
        return 0  # "has-sidebar" and "comments-open" stand on the whole page
    if bits & _FOREIGN:
        return -2
    # "content-footer" and "share-content" are both: nothing can be said.
    return int(bits & _CONTENT != 0) - int(bits & _BOILERPLATE != 0)
