"""Rules by name: their setting's, and in Chinese also what it means."""

import re

from markupsafe import Markup

_VALUES = {
    "alphabetic_word_share": "含字母词的比例",
    "boilerplate_share": "套话比例",
    "bracket_share": "【】比例",
    "bullet_line_share": "项目符号行比例",
    "characters": "字符数",
    "coherence": "连贯性",
    "digit_share": "数字比例",
    "duplicate_line_character_share": "重复行的字符比例",
    "duplicate_line_share": "重复行比例",
    "ellipsis_line_share": "省略号行比例",
    "entropy_bits": "用词的熵",
    "function_words": "功能词数",
    "han_share": "汉字比例",
    "language_confidence": "语言识别概率",
    "link_share": "链接比例",
    "longest_line_characters": "最长行",
    "mean_line_characters": "平均行长",
    "mean_word_characters": "平均词长",
    "mixed_share": "其他语言段落比例",
    "mojibake_share": "乱码比例",
    "newlines_per_character": "换行与字符之比",
    "newlines_per_word": "换行与词之比",
    "perplexity_percentile": "困惑度百分位",
    "placeholders": "占位文字",
    "punctuation_share": "标点比例",
    "quality": "质量分",
    "remaining_characters": "剩余字符数",
    "repeated_share": "重复片段比例",
    "replaced_share": "丢失字符比例",
    "safety_level": "安全等级",
    "safety_score": "不安全概率",
    "sentences": "句数",
    "short_line_share": "短行比例",
    "spam_share": "推销用语比例",
    "symbol_share": "符号比例",
    "symbols_per_word": "符号与词之比",
    "terminal_line_share": "句末标点行比例",
    "words": "词数",
}
"""Measured value -> Chinese; the rules `minimum_X` and `maximum_X` are named after it."""
_OTHERS = {
    "bad_encoding": "编码无法识别",
    "bad_json": "JSON 有误",
    "blocked_domain": "域名在名单上",
    "bomb": "解压后过大",
    "cluster_label": "聚类标签",
    "contaminated_item_share": "含一道试题的大部分",
    "contaminated_items": "含多道试题",
    "content_type": "不是可读的类型",
    "encrypted": "已加密",
    "http_status": "HTTP 状态",
    "language": "不保留的语言",
    "malformed": "格式有误",
    "near_duplicate": "近似重复",
    "no_text": "没有正文",
    "not_an_address": "不是网址",
    "quarantined": "已隔离",
    "same_text": "相同文本",
    "same_url": "相同网址",
    "scanned": "扫描件，没有文字",
    "too_large": "过大",
    "truncated": "不完整",
    "unreadable": "无法读取",
}
_GRAMS = {"top": "最常见的 {} 元组比例", "repeated": "重复的 {} 元组比例"}


def rule_name(rule: str) -> Markup:
    """The setting's name as code; where the page is Chinese, what it means comes before it."""
    chinese = chinese_name(rule)
    code = Markup("<code>{}</code>").format(rule)
    if not chinese:
        return code
    return Markup('<span class="zh" lang="zh-Hans">{} </span>{}').format(chinese, code)


def chinese_name(rule: str) -> str:
    """What a rule of ours drops, in Chinese; nothing for a rule that a user has added."""
    if rule in _OTHERS:
        return _OTHERS[rule]
    side, _, value = rule.partition("_")
    end = {"minimum": "过低", "maximum": "过高"}.get(side)
    if end is None:
        return ""
    gram = re.fullmatch(r"(top|repeated)_(\d+)_gram_share", value)
    name = _GRAMS[gram[1]].format(gram[2]) if gram else _VALUES.get(value, "")
    return name and name + end
