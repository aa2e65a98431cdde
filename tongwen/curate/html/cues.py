"""First words of short texts that belong to a page's frame, in English and Chinese.

A word, two words, or two Chinese characters; each group is a number the model looks at.
"""

from functools import cache

import numpy as np

from tongwen.curate.html.names import HASH_PRIME, Table, hash_of

CUES = {
    "share": """
        share|tweet|pin|follow|facebook|twitter|分享|关注|转发|收藏|点赞|扫一|微信
        """,
    "related": """
        related|recommended|you may|you might|more from|see also|also read|read next|up next|
        don't miss|trending|popular|most|latest|recent|相关|推荐|猜你|热门|最新|更多|延伸|精彩
        """,
    "byline": """
        by|posted|written|author|published|updated|last updated|edited|作者|责任|责编|记者|发布|
        更新|编辑
        """,
    "source": """
        source|via|photo|image|credit|getty|来源|图片|图源|资料
        """,
    "turn": """
        previous|next|older|newer|back|return|上一|下一|返回|上篇|下篇|首页|末页|尾页
        """,
    "comment": """
        comments|comment|reply|leave|log in|sign in|replies|add a|评论|留言|回复|发表|登录|注册|
        跟帖
        """,
    "legal": """
        copyright|all rights|terms|privacy|cookie|we use|disclaimer|©|版权|转载|本文|声明|免责|
        备案
        """,
    "subscribe": """
        subscribe|sign up|newsletter|join|get the|enter your|register|订阅|加入|下载|注册
        """,
    "tags": """
        tags|tag|filed|categories|category|posted in|topics|keywords|标签|分类|关键|专题|归档
        """,
    "more": """
        read more|continue|view|show|see all|load|click|learn more|more|阅读|查看|点击|展开|
        全文|打开
        """,
    "buy": """
        add to|buy|price|shipping|quantity|in stock|out of|free|sale|checkout|价格|购买|加入|
        立即|库存
        """,
    "print": """
        print|email|e mail|download|save|advertisement|sponsored|skip to|jump to|打印|广告|赞助|
        复制
        """,
    "question": """
        q|question|answer|a|how|what|why|re|quote|asked|answered|问|答|问题|回答|如何|什么|怎么
        """,
    "votes": """
        votes|vote|likes|like|views|points|score|joined|posts|location|浏览|阅读|次数|人气|楼主|
        积分
        """,
}


@cache
def cue_table() -> Table:
    """The place of each cue's group, by the hash of one word or of two."""
    entries: dict[int, int] = {}
    for place, listed in enumerate(CUES.values()):
        for cue in "".join(listed.split("\n")).split("|"):
            words = cue.split()
            key = int(hash_of(words[0]))
            if len(words) > 1:
                both = int(hash_of(words[0])) ^ (int(hash_of(words[1])) * int(HASH_PRIME))
                key = both & 0xFFFFFFFFFFFFFFFF
            entries.setdefault(key, place)
    size = 1 << (2 * len(entries)).bit_length()
    table = Table(np.zeros(size, np.uint64), np.zeros(size, np.int64))
    for key, value in entries.items():
        place = key & (size - 1)
        while table.keys[place]:
            place = (place + 1) & (size - 1)
        table.keys[place], table.values[place] = key, value
    return table
