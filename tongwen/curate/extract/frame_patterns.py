"""What the lines of a page's frame say: menus, buttons, counters, notices.

Beside each pattern stand its signs: lower-case strings of which every match has at least one, so
that a single pass (see `automaton`) tells where the pattern need not be tried.
"""

import re

WHOLE_ENGLISH = re.compile(
    r"""(?:home|menu|search|share(?:\s(?:this|on|via)\b.*)?|tweet|like|print(?:\sthis\spage)?|e-?mail|
    read\smore\W*|continue\sreading\W*|learn\smore\W*|(?:view|show|load|see)\s(?:more|all)\b.*|
    (?:log|sign)[\s-]?(?:in|out|up)\b.*|register|subscribe\b.*|follow\sus\b.*|contact(?:\sus)?|
    about(?:\sus)?|(?:previous|next|older|newer)(?:\s(?:post|article|page|entry|entries)s?)?\W*|
    leave\sa\s(?:comment|reply)\b.*|(?:no|[\d.,]+\s?[km]?\+?)\s(?:comments?|likes?|shares?|views?|retweets?|repl(?:y|ies)|followers?|
    reads?|downloads?)|(?:comments?|likes?|shares?|views?|reads?)\s*[:(]\s*\d[\d.,]*\)?|
    post\sa\scomment|reply|back\sto\stop|skip\sto\s.*|related\s(?:posts?|articles?)|advertisement|
    (?:posted|filed)\s(?:in|under|by)\b.*|tags?:.*|categories:.*|(?:\d+\s)?items?\sin\s(?:your\s)?(?:cart|basket|bag)\b.*|
    your\s(?:cart|basket)\sis\sempty\W*|forgot(?:ten)?\s(?:your\s)?password\W*|
    please\s(?:log|sign)\sin\b.*|you\s(?:must|need\sto)\s(?:be\slogged\sin|log\sin|sign\sin)\b.*|
    we\svalue\syour\sprivacy\W*|(?:accept|reject|allow)\sall\W*|
    add\sto\scart|privacy\spolicy|terms\s(?:of\s(?:use|service)|(?:and|&)\sconditions)|site\s?map)""",
    re.IGNORECASE | re.VERBOSE,
)
_ENGLISH_HEADS = """
    home menu search share tweet like print email e-mail read continue learn view show load see
    log sign register subscribe follow contact about previous next older newer leave no comments
    post reply back skip related advertisement posted filed tags categories items add privacy
    terms site your forgot please you we accept reject allow
"""
ENGLISH_HEADS = tuple(_ENGLISH_HEADS.split())
"""What a line that is all button or counter begins with, if not with a digit."""

INSIDE_ENGLISH = re.compile(
    r"""(?:accept|use|uses|using|our)\s(?:of\s)?(?:all\s)?cookies|cookie\s(?:policy|settings|notice|preferences|consent)|
    (?:read|see|view|accept|agree\s(?:to|with))\s(?:our|the)\s(?:privacy|terms\s(?:of|and))\b|
    browser\sdoes(?:\snot|n['’]t)\ssupport|(?:read\smore|continue\sreading)\W*$|
    all\srights\sreserved|copyright\s(?:©|\(c\)|\d{4})|©\s*\d{4}|powered\sby\s[\w.\ ]{1,30}$|
    (?:enable|requires?)\sjavascript|javascript\s(?:is\s)?(?:disabled|required)|
    (?:share|follow)\s(?:this\s)?(?:on|us\son)\s(?:facebook|twitter|weibo|x\b)|
    sign\sup\sfor\sour\s(?:free\s)?newsletter|click\shere\sto\s(?:subscribe|log|sign|download)""",
    re.IGNORECASE | re.VERBOSE,
)
INSIDE_SIGNS = (
    "cookie", "reserved", "copyright", "©", "powered", "javascript", "share", "follow",
    "newsletter", "click", "privacy", "terms", "browser", "read",
)  # fmt: skip

CHINESE = re.compile(
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
    (?:使用|接受).{0,6}cookie|请先登录|請先登[錄入]|登[录錄入][后後](?:可|才|查看|评论|評論)|[您你]需要登[录錄入]|
    ^忘[记記]密[码碼]|(?:启用|开启|啟用|開啟).{0,4}javascript|[浏瀏][览覽]器(?:不支持|不支援|版本[过過]低)|
    ^[\d.,]+\s?[万萬]?\s?[次人条條个個]?\s?(?:阅读|浏览|评论|評論|点赞|转发|收藏|回复|播放|观看|下载)(?:量|数|次数)?$""",
    re.IGNORECASE | re.VERBOSE,
)
_CHINESE_SIGNS = """
    版权 版權 © ⓒ copyright icp 公网安备 公安备案 上一 下一 返回 回到 转载 轉載 责任编辑
    責任編輯 原文链接 本文链接 本文地址 文章来源 点击 點擊 展开 展開 关注 關注 扫码 扫描 掃碼
    加微信 加我微信 登录 登陸 登錄 登入 注册 註冊 分享 收藏 设为首页 点赞 打赏 赞赏 举报 打印
    关闭 阅读 浏览 評論 评论 相关 猜你喜欢 热门 最新 友情链接 相關 熱門 網站地圖 网站地图
    关于我们 联系我们 隐私政策 服务条款 關於我們 聯絡我們 隱私權政策 發表評論 发表 添加 閱讀
    查看 更多 cookie 登录后 登錄後 登入後 需要登 忘记密 忘記密 javascript 浏览器 瀏覽器 转发
    回复 播放 观看 下载
"""
CHINESE_SIGNS = tuple(_CHINESE_SIGNS.split())

MENU = re.compile(
    r"""\b(?:home|about(?:\sus)?|contact(?:\sus)?|help|faq|news|events?|photos?|gallery|shop|store|blog|
    archives?|categories|forums?|careers|jobs|support|services|products|login|log\sin|sign\s(?:in|up)|
    register|subscribe|search|sitemap|privacy|terms|menu|account|cart|downloads?|travel|culture|
    sports?|business|technology|politics|health|entertainment|video)\b|
    首[页頁]|关于(?:我们)?|關於(?:我們)?|联系(?:我们)?|聯[絡繫](?:我們)?|帮助|幫助|新[闻聞]|活[动動]|照片|相[册冊]|商城|
    商店|博客|[归歸][档檔]|分[类類]|[论論][坛壇]|招聘|服[务務]|[产產]品|登[录陸錄入]|注[册冊]|[订訂][阅閱]|搜索|搜[尋寻]|隐私|隱私|
    [导導]航|下[载載]|旅行|旅游|文化|[体體]育|[财財][经經]|科技|[娱娛][乐樂]|[视視][频頻]""",
    re.IGNORECASE | re.VERBOSE,
)
_MENU_SIGNS = """
    home about contact help faq news event photo gallery shop store blog archives categories
    forum careers jobs support services products login log sign register subscribe search
    sitemap privacy terms menu account cart download travel culture sport business technology
    politics health entertainment video 首页 首頁 关于 關於 联系 聯絡 聯繫 帮助 幫助 新闻 新聞
    活动 活動 照片 相册 相冊 商城 商店 博客 归档 归檔 歸档 歸檔 分类 分類 论坛 论壇 論坛 論壇
    招聘 服务 服務 产品 產品 登录 登陸 登錄 登入 注册 注冊 订阅 订閱 訂阅 訂閱 搜索 搜尋 搜寻
    隐私 隱私 导航 導航 下载 下載 旅行 旅游 文化 体育 體育 财经 财經 財经 財經 科技 娱乐 娱樂
    娛乐 娛樂 视频 视頻 視频 視頻
"""
MENU_SIGNS = tuple(_MENU_SIGNS.split())

COUNTER = re.compile(
    r"""^(?:no|[\d.,]+\s?[kKmM万萬]?\+?)\s?(?:comments?|likes?|shares?|views?|retweets?|repl(?:y|ies)|
    followers?|reads?|downloads?|items?\b.*|[次条個个人位篇]?(?:阅读|浏览|评论|評論|点赞|转发|收藏|回复)|
    次(?:播放|观看|下载))|
    ^(?:阅读|浏览|点击|評論|评论|回复|转发|点赞|收藏|播放)\S{0,2}\s*[:：(（]?\s*\d|
    ^(?:comments?|likes?|shares?|views?|reads?)\s*[:(]\s*\d""",
    re.IGNORECASE | re.VERBOSE,
)
NOTICE = re.compile(
    r"""cookie|copyright|©|Ⓒ|rights\sreserved|javascript|policy|terms|powered\sby|浏览器|瀏覽器|
    版[权權]|ICP|公安|转载|轉載|责任编辑|責任編輯|原文链接|本文链接|本文地址|文章来源|隐私|隱私|服务条款""",
    re.IGNORECASE | re.VERBOSE,
)
