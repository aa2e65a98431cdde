"""Texts of our own for the curate tests: good pages in both languages, and variations of them."""

import random
from collections import Counter

from tongwen.curate.records.edits import KINDS, apply
from tongwen.curate.rules.personal import personal_edits

ENGLISH = """The lighthouse on the northern cape was built by hand over eleven summers. Its \
keeper, a quiet man with a love of maps, wrote down the weather every morning and \
the ships every evening.

When the storm of that year broke the lower windows, the fishermen carried planks up the hill and \
closed the gaps before night fell. Nobody was paid, and nobody asked to be.

Visitors can still read his notebooks in the small museum near the harbour. They have more to say \
about patience than about the sea, which is perhaps what he wanted us to find there."""

CHINESE = """北边海角上的灯塔，是用十一个夏天一块石头一块石头垒起来的。守塔的人不爱说话，\
却很喜欢地图；他每天早晨记下天气，每天傍晚记下来往的船。

有一年大风吹坏了低处的窗户，渔民们扛着木板上山，赶在天黑以前把缺口堵住。没有人领工钱，也没有人想过要领。

如今在港口旁边的小博物馆里，还能读到他的笔记本。里面写得更多的是耐心，\
而不是大海——也许这正是他希望我们发现的东西。"""

TRADITIONAL = """北邊海角上的燈塔，是用十一個夏天一塊石頭一塊石頭壘起來的。守塔的人不愛說話，\
卻很喜歡地圖；他每天早晨記下天氣，每天傍晚記下來往的船。

有一年大風吹壞了低處的窗戶，漁民們扛著木板上山，趕在天黑以前把缺口堵住。沒有人領工錢，也沒有人想過要領。"""

_ENGLISH_WORDS = [
    "river", "mountain", "letter", "window", "garden", "teacher", "morning", "winter", "bridge",
    "market", "engine", "silver", "window", "paper", "stone", "village", "number", "question",
    "answer", "evening", "doctor", "music", "forest", "island", "history", "winter", "captain",
    "table", "kitchen", "summer", "planet", "story", "letter", "railway", "museum", "colour",
    "machine", "farmer", "weather", "copper", "basket", "harbour", "valley", "library", "journey",
    "station", "painter", "shadow", "blanket", "concert", "ladder",
]  # fmt: skip
_ENGLISH_FRAMES = (
    "The {0} of the {1} was known to have a {2} beside the {3}.",
    "Nobody in the {0} had seen that {1} with its {2} and the old {3}.",
    "In the {0} they built a {1}, and the {2} was to be near the {3}.",
    "We have asked the {0} about the {1}, the {2} and the missing {3}.",
)
_CHINESE_WORDS = [
    "河流", "山谷", "书信", "窗户", "花园", "老师", "早晨", "冬天", "石桥", "集市", "机器",
    "白银", "图书", "石头", "村庄", "数字", "问题", "回答", "傍晚", "医生", "音乐", "森林",
    "岛屿", "历史", "船长", "桌子", "厨房", "夏天", "行星", "故事", "铁路", "展馆", "颜色",
    "农民", "天气", "黄铜", "篮子", "港口", "旅行", "车站", "画家", "影子",
]  # fmt: skip
_CHINESE_FRAMES = (
    "{0}旁边的{1}，是为了{2}和{3}而修的。",
    "没有人见过{0}里的{1}，也没有人问起{2}或者{3}。",
    "他们在{0}里找到了{1}，后来又把{2}送给了{3}。",
    "我们谈到了{0}与{1}，还有那不见了的{2}和{3}。",
)


def story(seed: int, lang: str = "en", sentences: int = 14) -> str:
    """A text like no other one of its language, long enough for every rule."""
    draw = random.Random(f"{lang} {seed}")
    words = _ENGLISH_WORDS if lang == "en" else _CHINESE_WORDS
    frames = _ENGLISH_FRAMES if lang == "en" else _CHINESE_FRAMES
    lines = [draw.choice(frames).format(*draw.sample(words, 4)) for _ in range(sentences)]
    space = " " if lang == "en" else ""
    return "\n\n".join(space.join(lines[start : start + 3]) for start in range(0, sentences, 3))


def edited(text: str, old: str, new: str) -> str:
    """The text with one phrase exchanged."""
    assert old in text
    return text.replace(old, new, 1)


def redacted(text: str, *, is_code: bool = False) -> tuple[str, dict[str, int]]:
    """The text with personal data replaced, and how many spans of each kind were."""
    edits = personal_edits(text, is_code=is_code)
    return apply(text, edits).text, dict(Counter(KINDS[kind] for kind in edits["kind"].tolist()))
