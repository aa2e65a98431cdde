"""Words that themes, portals and frameworks use in classes, ids and roles, by what they announce.

English and Pinyin. A name is split at "-", "_" and changes of case; each of its words is looked up,
and the whole name without "-" and "_" too, so that `hljs-ln-numbers` is found as `hljslnnumbers`.
A word with "=" before it counts only as a whole name. A group is one bit. The first groups are used
by the reader and the rest only by the model, which learns from gold pages what each is worth.
"""

# What the reader itself acts on.
_READ = {
    "line numbers": """
        lineno linenos =linenumber =linenumbersrows =blobnum =hljslnnumbers =hljslnn
        =rougegutter =ln =lnt =lnnum =codelineno =crayonnums =linenodiv =lineindex
        """,
    "gutter": "=gutter =linenums =linenumbers",  # line numbers if it is inside of code
    "code": """
        highlight hljs codehilite =sourcecode syntaxhighlighter rouge crayon =blobwrapper
        =codeblock =highlighttable =rougetable =jsfilelinecontainer prism =codetoolbar =lntable
        =literalblock
        """,
    "rendered formula": """
        =katexhtml =mathjax =mathjaxdisplay =mathjaxpreview =mathjaxsvg =mathjaxsvgdisplay
        =mathjaxchtml =mathjaxchtmldisplay =mjxchtml
        """,
    "formula": """
        =katexmathml =mwemathelement =mwemathmathmlinline =mwemathmathmldisplay
        =mwemathmathmla11y
        """,
    "permalink": "headerlink =mweditsection =editsection =anchorjslink =headerpermalink",
}

# What the model learns from.
_LEARNED = {
    "state": "has with no without open closed enabled is active",
    "comment": """
        comment comments commentlist disqus gitalk gitment valine livere respond reply replies
        pinglun waline twikoo utterances giscus
        """,
    "related": """
        related relate relative xiangguan tuijian recommend recommended recommendation
        recommendations recommends upnext readnext similar seealso youmaylike alsolike
        """,
    "navigation": """
        nav navi navigation navbar menu menubar submenu dropdown subnav megamenu topnav sitenav
        daohang
        """,
    "side": "side sidenav sidebar aside complementary rail rightcol leftcol secondary",
    "head": "header head masthead banner topbar navhead hd",
    "foot": "footer foot ft bottom contentinfo colophon bt",
    "breadcrumb": "breadcrumb breadcrumbs crumb crumbs crumbnav mianbaoxie",
    "share": """
        share sharing social bdshare jiathis addthis sns sharedaddy weixin wechat weibo facebook
        twitter whatsapp qrcode erweima follow
        """,
    "advertisement": """
        ad ads adv advert advertisement adsense adsbygoogle guanggao sponsor sponsored promo
        promotion promoted outbrain taboola dfp advertising
        """,
    "dialog": "popup modal overlay dialog cookie cookies consent gdpr lightbox toast alert",
    "subscribe": """
        newsletter subscribe subscription signup login signin register optin mailchimp paywall
        """,
    "pages": "pagination pager pagenav paginator prevnext page-numbers pagenumbers prev next fanye",
    "tags": "tag tags taglist tagcloud keywords categories category cat topics labels biaoqian",
    "widget": "widget widgets toolbar tools tool plugin module",
    "legal": "copyright copy license disclaimer legal terms privacy banquan",
    "thanks": "reward donate dashang zanshang like likes vote votes voting",
    "byline": "author authors byline authorinfo bio authorbio contributor zuozhe writer avatar",
    "user": "user users username profile member nick nickname poster postprofile userinfo karma",
    "about": """
        meta metadata entrymeta postmeta info timestamp date time datetime published updated
        pubdate posted infobar laiyuan source
        """,
    "hidden": """
        hidden hide skip skiplink sr only sronly screenreadertext visuallyhidden noprint
        offscreen invisible print
        """,
    "contents": "toc tableofcontents contentsnav mulu onthispage pagetoc localtoc",
    "more": "more readmore archive archives links friendlink youlian viewall seeall loadmore",
    "ranking": "hot rank ranking paihang trending popular latest recent newest top mostread jubao",
    "search": "search searchbox searchform sousuo filter filters facet facets sort sorting refine",
    "form": "form field input feedback report poll survey contact quiz",
    "button": "button btn buttons cta calltoaction action actions controls control",
    "article": """
        article articlebody articlecontent articletext artibody storybody story newstext
        articledetail post postbody postcontent posttext blogpost hentry entry entrycontent
        wenzhang
        """,
    "content": """
        content contents maincontent main body bodycontent text txt detail details zhengwen
        neirong richtext markdown prose rte wysiwyg mwparseroutput document bd
        """,
    "summary": """
        summary excerpt lead intro introduction abstract dek standfirst teaser zhaiyao jianjie
        """,
    "title": "title headline subtitle subhead heading biaoti subheading kicker",
    "thread": """
        forum thread topic topics message messages messagebody msg postmessage discussion
        conversation cooked bbs tiezi luntan lou reply-content
        """,
    "question": "question questions answer answers qa faq faqs faqitem wenda wenti huida accordion",
    "product": """
        product products item sku shop store goods shangpin productdetail productdescription pdp
        woocommerce productinfo productpage
        """,
    "price": """
        price prices pricing cost sale discount stock cart basket checkout buy quantity qty
        jiage
        """,
    "description": """
        description desc describe overview miaoshu features feature benefits highlights
        """,
    "specification": """
        spec specs specification specifications attributes attribute properties details
        dimensions
        """,
    "review": "review reviews rating ratings stars star testimonial testimonials pingjia feedback",
    "card": "card cards tile tiles teaser teasers grid gallery carousel slider slide swiper slick",
    "list": "list listing listings items results result feed collection archivelist liebiao",
    "caption": """
        caption credit figcaption imagecaption wpcaptiontext photocredit media image img photo
        video
        """,
    "note": """
        note notes tip tips warning admonition callout infobox box panel theorem proof
        definition example exercise step steps hint important aside-note
        """,
    "table": "table tables datatable navbox wikitable chart",
    "hero": "hero jumbotron splash section sections block blocks banner",
    "service": "service services pricing plan plans team testimonials contact location office",
    "quote": "quote blockquote quoted signature sig cite bbcodequote",
    "documentation": "docs doc documentation api reference guide tutorial sphinx mkdocs docusaurus",
    "reference": "references reflist footnotes footnote citation bibliography reference",
    "event": "event events schedule calendar venue job jobs course courses recipe ingredients",
}

GROUPS = (*_READ, *_LEARNED)
"""Names of the groups; the place of a name is the bit's number."""

LINE_NUMBERS, GUTTER, CODE_NAME, RENDERED_FORMULA, FORMULA, PERMALINK, *_ = (
    1 << place for place in range(len(GROUPS))
)
STATE_NAME = 1 << GROUPS.index("state")
assert len(GROUPS) <= 63


def class_words() -> dict[str, int]:
    """Every word, and every whole name with "=" before it, with the bits of its groups."""
    found: dict[str, int] = {}
    for place, words in enumerate((*_READ.values(), *_LEARNED.values())):
        for word in words.split():
            name = word.removeprefix("=").replace("-", "")
            for key in {"=" + name} if word[0] == "=" else {name, "=" + name}:
                found[key] = found.get(key, 0) | 1 << place
    return found
