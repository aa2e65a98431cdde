"""What tags, classes and ids promise about the text inside: the main content, or something else.

Words are those that themes and portals use, in English and in Pinyin.
"""

import re
from collections.abc import Mapping

_BOILERPLATE_TAGS = frozenset({"nav", "footer", "aside", "form", "menu", "fieldset", "address"})
_BOILERPLATE_ROLES_NAMES = """
navigation banner contentinfo complementary search menu menubar dialog alert toolbar
"""
_BOILERPLATE_ROLES = frozenset(_BOILERPLATE_ROLES_NAMES.split())
# Whole words of a class or id (split at "-", "_", space and case changes).
_BOILERPLATE_WORDS_NAMES = """
nav navbar navigation navi menu submenu dropdown sidebar side sidenav aside footer foot ft
bottom breadcrumb breadcrumbs crumb crumbs crumbnav mianbaoxie comment comments commentlist
disqus gitalk gitment valine livere respond reply replies pinglun share sharing social bdshare
jiathis addthis sns related relate relative recommend recommended recommendation recommendations
recommends xiangguan tuijian promo promotion advert advertisement ad ads adv adsense adsbygoogle
guanggao sponsor sponsored banner popup modal overlay cookie cookies consent gdpr newsletter
subscribe subscription signup login signin register pagination pager pagenav paginator prevnext
tag tags tagcloud taglist keywords categories category cat widget widgets toolbar tools tool
print copyright copy license reward donate dashang author byline authorinfo bio postmeta meta
metadata entrymeta hidden skip outbrain taboola gutter lineno linenos toc qrcode erweima weixin
wechat weibo feedback report jubao more archive archives links friendlink youlian hot rank
ranking paihang search searchbox masthead disclaimer rating poll survey trending popular
editsection noprint navbox timestamp
"""
_BOILERPLATE_WORDS = frozenset(_BOILERPLATE_WORDS_NAMES.split())
_CONTENT_WORDS_NAMES = """
article articlebody articlecontent articletext post postbody postcontent entry entrycontent
content contents maincontent main story storybody body text txt detail details zhengwen neirong
wenzhang richtext markdown prose hentry blogpost artibody
"""
_CONTENT_WORDS = frozenset(_CONTENT_WORDS_NAMES.split())
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def prior_of(tag: str, values: Mapping[str, str]) -> int:
    """1 for an element that says it is the main content, -1 for one that says it is not, else 0.

    `values`: its class, id, role and itemprop attributes, as far as it has them.
    """
    if tag in _BOILERPLATE_TAGS or values.get("role") in _BOILERPLATE_ROLES:
        return -1
    if values.get("itemprop") == "articleBody" or values.get("role") == "main":
        return 1
    if tag in ("article", "main"):
        return 1
    if tag in ("body", "html"):
        return 0
    words = _split(values.get("class", "")) | _split(values.get("id", ""))
    is_content = not words.isdisjoint(_CONTENT_WORDS)
    if words.isdisjoint(_BOILERPLATE_WORDS):
        return 1 if is_content else 0
    # "article-content with-sidebar" is a theme's word for the main column.
    return 0 if is_content else -1


def _split(value: str) -> set[str]:
    """The words of a class or id attribute, each also as it was written."""
    if not value:
        return set()
    words = {word.lower() for word in _WORDS.findall(value)}
    words.update(re.sub(r"[-_]", "", name).lower() for name in value.split())
    return words
