"""Lines that belong to a page's frame, not to its text: cookies, sharing, log-in, copyright."""

import re
from collections import Counter
from dataclasses import dataclass

_LONGEST_ENGLISH_WORDS = 12
_LONGEST_CHINESE_CHARACTERS = 40
_LONGEST_SIGNATURE = 40
_FEWEST_REPEATS = 3
_MARKDOWN = re.compile(r"^[\s>#*\-+|•·●»›]+")

_WHOLE_ENGLISH = re.compile(
    r"""(?:home|menu|search|share(?:\s(?:this|on|via)\b.*)?|tweet|like|print(?:\sthis\spage)?|e-?mail|
    read\smore\W*|continue\sreading\W*|learn\smore\W*|(?:view|show|load|see)\s(?:more|all)\b.*|
    (?:log|sign)[\s-]?(?:in|out|up)\b.*|register|subscribe\b.*|follow\sus\b.*|contact(?:\sus)?|
    about(?:\sus)?|(?:previous|next|older|newer)(?:\s(?:post|article|page|entry|entries)s?)?\W*|
    leave\sa\s(?:comment|reply)\b.*|(?:no|\d+)\s(?:comments?|likes?|shares?|views?|retweets?)|
    post\sa\scomment|reply|back\sto\stop|skip\sto\s.*|related\s(?:posts?|articles?)|advertisement|
    (?:posted|filed)\s(?:in|under|by)\b.*|tags?:.*|categories:.*|items?\sin\s(?:your\s)?cart\b.*|
    add\sto\scart|privacy\spolicy|terms\s(?:of\s(?:use|service)|(?:and|&)\sconditions)|site\s?map)""",
    re.IGNORECASE | re.VERBOSE,
)
_INSIDE_ENGLISH = re.compile(
    r"""(?:accept|use|uses|using|our)\s(?:of\s)?(?:all\s)?cookies|cookie\s(?:policy|settings)|
    all\srights\sreserved|copyright\s(?:©|\(c\)|\d{4})|©\s*\d{4}|powered\sby\s[\w.\ ]{1,30}$|
    (?:enable|requires?)\sjavascript|javascript\s(?:is\s)?(?:disabled|required)|
    (?:share|follow)\s(?:this\s)?(?:on|us\son)\s(?:facebook|twitter|weibo|x\b)|
    sign\sup\sfor\sour\s(?:free\s)?newsletter|click\shere\sto\s(?:subscribe|log|sign|download)""",
    re.IGNORECASE | re.VERBOSE,
)
_CHINESE = re.compile(
    r"""版[权權]所有|[©Ⓒ]\s*\d{4}|copyright\s*(?:©|\(c\)|\d{4})|ICP[备備证證]|公网安备|公安备案|
    ^(?:上一[篇页章条]|下一[篇页章条]|上一頁|下一頁)|^(?:返回|回到)(?:首页|顶部|列表|首頁|頂部|目录)|
    ^(?:转载请注明|轉載請註明|责任编辑|責任編輯|原文链接|本文链接|本文地址|文章来源)|
    点击(?:加载|展开|查看更多|这里下载)|點擊(?:加載|展開)|展开(?:全文|阅读)|展開全文|
    (?:关注|關注|扫码|扫描|掃碼).{0,12}(?:公众号|公眾號|微信|二维码|二維碼)|加(?:我)?微信|
    ^(?:登录|登陸|登錄|登入|注册|註冊|立即注册|免费注册)(?:[/|·、\s].*)?$|
    ^(?:分享到|分享至|分享給|分享给|收藏本站|加入收藏|设为首页|收藏|点赞|打赏|赞赏|举报|打印|关闭)\W*$|^分享[到至]|
    ^(?:阅读(?:量|次数|数)?|浏览(?:量|次数)?|点击(?:量|次数)?|評論|评论(?:数)?)\s*[:：(（]?\s*\d|
    ^(?:相关(?:文章|阅读|推荐|链接)|猜你喜欢|热门(?:文章|推荐|标签)|最新(?:文章|评论)|友情链接|
    相關(?:文章|閱讀)|熱門文章|網站地圖|网站地图|关于我们|联系我们|隐私政策|服务条款|關於我們|
    聯絡我們|隱私權政策|發表評論|发表评论|添加评论|阅读更多|閱讀更多|查看更多|更多)\W*$|
    (?:使用|接受).{0,6}cookie""",
    re.IGNORECASE | re.VERBOSE,
)
_MENU = re.compile(
    r"""\b(?:home|about(?:\sus)?|contact(?:\sus)?|help|faq|news|events?|photos?|gallery|shop|store|blog|
    archives?|categories|forums?|careers|jobs|support|services|products|login|log\sin|sign\s(?:in|up)|
    register|subscribe|search|sitemap|privacy|terms|menu|account|cart|downloads?|travel|culture|
    sports?|business|technology|politics|health|entertainment|video)\b|
    首[页頁]|关于(?:我们)?|關於(?:我們)?|联系(?:我们)?|聯[絡繫](?:我們)?|帮助|幫助|新[闻聞]|活[动動]|照片|相[册冊]|商城|
    商店|博客|[归歸][档檔]|分[类類]|[论論][坛壇]|招聘|服[务務]|[产產]品|登[录陸錄入]|注[册冊]|[订訂][阅閱]|搜索|搜[尋寻]|隐私|隱私|
    [导導]航|下[载載]|旅行|旅游|文化|[体體]育|[财財][经經]|科技|[娱娛][乐樂]|[视視][频頻]""",
    re.IGNORECASE | re.VERBOSE,
)
_FEWEST_MENU_WORDS = 4
_MENU_SHARE = 0.6


@dataclass(frozen=True)
class CleanedLines:
    """A text without boilerplate lines, and what went.

    Attributes:
        text: the lines that stay.
        lines, characters: number of lines taken out and of characters in them.
    """

    text: str
    lines: int
    characters: int


def is_boilerplate(line: str) -> bool:
    """Whether a line is part of the page's frame. Long lines never are."""
    bare = _MARKDOWN.sub("", line).strip()
    if not bare:
        return False
    if len(bare) <= _LONGEST_CHINESE_CHARACTERS and _CHINESE.search(bare):
        return True
    if _is_menu(bare):
        return True
    if len(bare.split()) > _LONGEST_ENGLISH_WORDS or len(bare) > 120:
        return False
    return bool(_WHOLE_ENGLISH.fullmatch(bare) or _INSIDE_ENGLISH.search(bare))


def _is_menu(line: str) -> bool:
    """Whether a line is mostly the words of menus, as when a row of links became one line."""
    if len(line) > 200 or line.endswith((".", "。", "!", "！", "?", "？")):
        return False
    words = _MENU.findall(line)
    letters = sum(1 for character in line if character.isalnum())
    found = sum(1 for word in words for character in word if character.isalnum())
    return len(words) >= _FEWEST_MENU_WORDS and found >= _MENU_SHARE * letters


def remove_boilerplate(text: str) -> CleanedLines:
    """Take out the lines of the page's frame, and all but the first of a short line that stands
    there three times: buttons and signatures beside every comment.

    Lines inside fenced code blocks and tables stay.
    """
    repeated = _repeated_lines(text)
    seen: set[str] = set()
    kept: list[str] = []
    lines = characters = 0
    is_code = False
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        bare = line.strip()
        if not is_code and (bare in seen or is_boilerplate(line)):
            lines += 1
            characters += len(line)
        else:
            kept.append(line)
            if bare in repeated and not is_code:
                seen.add(bare)
    if not lines:
        return CleanedLines(text, 0, 0)
    cleaned = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip("\n")
    return CleanedLines(cleaned, lines, characters)


def _repeated_lines(text: str) -> frozenset[str]:
    counts = Counter(
        bare
        for line in text.split("\n")
        if (bare := line.strip()) and len(bare) <= _LONGEST_SIGNATURE and bare[0] not in "|`"
    )
    return frozenset(line for line, number in counts.items() if number >= _FEWEST_REPEATS)
