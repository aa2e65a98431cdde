"""Stuffing with sales terms: gambling, loans, pills, escorts, forged papers, ranking trade.

A short list of our own, meant as a density: one term in an article about the trade is harmless, a
page that is one twenty-fifth sales terms is not. Terms are in simplified characters and lower
case; none contains another.
"""

from functools import cache

import numpy as np

from tongwen.curate.text.automaton import Automaton, automaton_of, count_terms
from tongwen.curate.text.characters import CodePoints, script_tables
from tongwen.curate.text.traits import lower_table

ENGLISH = (
    "casino", "jackpot", "free spins", "slot machine", "online slots", "poker online", "betting",
    "place your bet", "baccarat", "roulette", "welcome bonus", "deposit bonus", "payday loan",
    "fast cash", "instant loan", "instant approval", "bad credit", "no credit check",
    "cash advance", "quick loan", "same day loan", "cheap loan", "viagra", "cialis", "levitra",
    "buy cheap", "cheap pills", "no prescription", "without prescription", "weight loss pill",
    "lose weight fast", "male enhancement", "replica watch", "replica handbags",
    "designer replica", "best price", "buy now", "order now", "click here", "limited time offer",
    "limited offer", "act now", "100% free", "risk free", "money back", "lowest price",
    "best deals", "discount code", "promo code", "free shipping", "make money", "earn money",
    "work from home", "get rich", "double your", "backlink", "seo service", "rank on google",
    "escort", "hot singles", "live sex", "adult chat", "xxx", "porn", "crypto giveaway",
    "forex signals", "binary options", "guaranteed profit", "cheap flights deal",
)  # fmt: skip
CHINESE = (
    "博彩", "赌场", "赌博", "投注", "下注", "彩票", "六合彩", "时时彩", "快三", "北京赛车",
    "赛车pk10", "开奖", "百家乐", "老虎机", "棋牌", "真人娱乐", "娱乐城", "娱乐平台", "娱乐场",
    "现金网", "威尼斯人", "葡京", "太阳城", "皇冠体育", "澳门新", "外围", "盘口", "注册送",
    "注册就送", "彩金", "首存", "返水", "提现", "代理加盟", "贷款", "小额贷", "网贷", "无抵押",
    "当天放款", "秒到账", "秒批", "套现", "征信", "黑户", "借款", "低息", "开发票", "发票代开",
    "办证", "代办", "刻章", "文凭", "包过", "刷单", "兼职日结", "日赚", "月入过万", "躺赚",
    "赚钱", "伟哥", "壮阳", "丰胸", "减肥药", "增大", "迷药", "催情", "特效药", "祖传秘方",
    "包治", "根治", "一夜情", "约炮", "上门服务", "全套服务", "援交", "裸聊", "色情", "成人电影",
    "成人视频", "无码", "在线观看", "免费观看", "私服", "外挂", "快速排名", "seo优化",
    "网站优化", "关键词排名", "外链", "代刷", "加微信", "加qq", "客服微信", "联系客服",
    "厂家直销", "批发价", "价格优惠", "抢购", "秒杀", "特价", "优惠券", "免费领取", "点击领取",
    "点击进入", "立即注册", "立即下载", "立即咨询", "立即购买", "官方网址", "官网入口",
    "app下载", "最新网址", "备用网址",
)  # fmt: skip


_FEWEST_TERMS = 3
"""Different ones: a law about gambling says one of them over and over."""


@cache
def _automaton() -> Automaton:
    """The terms of both languages, for any text: lower case and simplified are by character."""
    simplified = script_tables()[0]
    normal = simplified[np.minimum(lower_table(), len(simplified) - 1)]
    return automaton_of((*ENGLISH, *CHINESE), normal)


def spam_characters(points: CodePoints) -> int:
    """Characters of sales terms in a text, upper or lower case, simplified or traditional; 0 when
    there are fewer than three different ones, which is no stuffing.
    """
    automaton = _automaton()
    counts = count_terms(points, automaton)
    return int(counts @ automaton.lengths) if (counts > 0).sum() >= _FEWEST_TERMS else 0
