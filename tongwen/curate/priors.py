"""What tags, classes and ids promise about the text inside: the main content, or something else.

Words are those that themes and portals use, in English and in Pinyin.
"""

import re
from collections.abc import Mapping

_BOILERPLATE_TAGS = frozenset({"nav", "footer", "aside", "form", "menu", "fieldset", "figcaption"})
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
# Their classes say how they look or what a script does with them.
_PLAIN_TAGS = frozenset({"html", "body", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "tr"})
_STATE_WORDS = frozenset({"has", "with", "no", "without", "open", "closed", "enabled", "is"})
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def prior_of(tag: str, values: Mapping[str, str]) -> int:
    """1: the element says it is the main content; -1: it says it is not; -2: it holds what other
    people or other pages say; 0: nothing can be said.

    `values`: its class, id, role and itemprop attributes, as far as it has them.
    """
    if tag in _BOILERPLATE_TAGS or values.get("role") in _BOILERPLATE_ROLES:
        return -1
    if values.get("itemprop") == "articleBody" or values.get("role") == "main":
        return 1
    if tag in ("article", "main"):
        return 1
    if tag in _PLAIN_TAGS:
        return 0
    verdicts = {_verdict(name) for key in ("class", "id") for name in values.get(key, "").split()}
    if -2 in verdicts and 1 not in verdicts:
        return -2
    return (1 in verdicts) - (-1 in verdicts or -2 in verdicts)


def _verdict(name: str) -> int:
    """The promise of one class or id."""
    words = {word.lower() for word in _WORDS.findall(name)}
    words.add(re.sub(r"[-_]", "", name).lower())
    if not words.isdisjoint(_STATE_WORDS):
        return 0  # "has-sidebar" and "comments-open" stand on the whole page
    if not words.isdisjoint(_FOREIGN_WORDS):
        return -2
    # "content-footer" and "share-content" are both: nothing can be said.
    return (not words.isdisjoint(_CONTENT_WORDS)) - (not words.isdisjoint(_BOILERPLATE_WORDS))
