"""Web addresses: their normal form, and rules that drop a page before it is parsed.

Lists of domains are files of the user, one domain a line, as those of the UT1 categories
(Université Toulouse Capitole): the name of the file is the category. The built-in words are our own
and few: a hard word alone condemns an address, soft ones only in pairs (the form of FineWeb's
address filter, Penedo et al. 2024, arXiv 2406.17557). Everything is compared in lower case.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from tongwen.errors import RecipeError

HARD_WORDS = (
    # English
    "porn", "porno", "pornhub", "pornstar", "xxx", "xvideos", "hentai", "camgirl", "camgirls",
    "milf", "onlinecasino", "casinoonline", "sexcam", "sexcams", "livesex", "escortgirls",
    "cumshot", "blowjob", "gangbang",
    # Chinese in pinyin: gambling houses, lotteries, blue films, call girls
    "bocai", "baijiale", "yulecheng", "duchang", "liuhecai", "shishicai", "laohuji", "zhenrenyule",
    "caipiaowang", "xinpujing", "aomenduchang", "seqing", "huangpian", "chengrenwang", "luoliao",
    "yuepao", "maiyin", "zuqiutouzhu", "saichekaijiang",
)  # fmt: skip
"""Words that stand alone between the signs and digits of an address."""

SOFT_WORDS = (
    "adult", "babe", "babes", "bet", "bets", "betting", "bingo", "bonus", "casino", "cam", "cams",
    "dating", "erotic", "escort", "escorts", "fetish", "free", "gamble", "gambling", "girls",
    "hookup", "hot", "jackpot", "loan", "loans", "lottery", "naked", "nude", "payday", "pills",
    "poker", "replica", "roulette", "sex", "sexy", "slot", "slots", "teen", "teens", "viagra",
    "video", "videos", "webcam",
    "caijin", "caipiao", "daikuan", "dubo", "kaijiang", "meinv", "mianfei", "qipai", "songcaijin",
    "touzhu", "weinisiren", "xiazhu", "yule", "zhenren", "zhibo", "zhuce", "chengren", "shipin",
)  # fmt: skip
"""Words of which two different ones condemn; `adult` or `video` alone say nothing."""

_WEAK_WORDS = frozenset((
    "free", "video", "videos", "hot", "bonus", "girls", "teen", "teens", "mianfei", "yule", "zhibo",
    "zhuce", "shipin", "meinv",
))  # fmt: skip
_HARD = frozenset(HARD_WORDS)
_SOFT = frozenset(SOFT_WORDS)
_FEWEST_SOFT_WORDS = 2  # one is in the names of honest hosts too
_ADDRESS = re.compile(r"\s*https?://([^/?#\\]*)(.*?)\s*\Z", re.IGNORECASE | re.DOTALL)
_LETTERS = re.compile("[a-z]+")
_PLAIN_HOST = re.compile(r"[a-z0-9_.-]+\Z")
_LINE_DOMAIN = re.compile(r"(?:[a-z][a-z0-9+.-]*://)?(?:[^/\s@]*@)?([^/\s:?#]+)")
_ALLOWED_SUFFIXES = (".gov", ".edu", ".mil", "wikipedia.org", "wikimedia.org", "wikisource.org")
_COUNTRY_SUFFIX = re.compile(r"\.(?:gov|edu|ac|mil)\.[a-z]{2}\Z")


@dataclass(frozen=True)
class AddressRules:
    """What addresses are held against.

    Attributes:
        blocked: domain -> category; its subdomains are blocked with it.
        allowed: domains that no word and no list condemns, with their subdomains.
        use_words: whether the built-in words count.
    """

    blocked: dict[str, str] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()
    use_words: bool = True


def split_address(url: str) -> tuple[str, str] | None:
    """Host and what follows it, percent signs undone and both in lower case; None for what is no
    web address. The host is in ASCII form, without user, port or final dot.
    """
    found = _ADDRESS.match(url)
    if found is None:
        return None
    host, path = found[1].rpartition("@")[2].lower(), found[2].lower()
    is_number = host.startswith("[")
    host = host[: host.find("]") + 1] if is_number else host.partition(":")[0].strip(".")
    if not host.isascii():
        host = _ascii_host(host)
    if "%" in path:
        path = unquote(path, errors="replace").lower()
    return (host, path) if host else None


def _ascii_host(host: str) -> str:
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def address_problem(url: str, rules: AddressRules) -> str | None:
    """Why an address is dropped: `not_an_address`, `blocked_domain:CATEGORY`, `hard_word:WORD`,
    `soft_words:WORD+WORD`; None when it stays. Cost: about 10 microseconds.
    """
    parts = split_address(url)
    if parts is None:
        return "not_an_address"
    host, path = parts
    category = None
    domain = host
    while domain:
        if domain in rules.allowed:
            return None
        if category is None:
            category = rules.blocked.get(domain)
        domain = domain.partition(".")[2]
    if category is not None:
        return f"blocked_domain:{category}"
    if not rules.use_words or _is_trusted(host):
        return None
    words = set(_LETTERS.findall(f"{host} {path}"))
    hard = words & _HARD
    if hard:
        return f"hard_word:{min(hard)}"
    soft = words & _SOFT
    if len(soft) >= _FEWEST_SOFT_WORDS and not soft <= _WEAK_WORDS:
        return f"soft_words:{'+'.join(sorted(soft)[:_FEWEST_SOFT_WORDS])}"
    return None


def _is_trusted(host: str) -> bool:
    """Whether a host is a state's, a university's or an encyclopedia's."""
    if host.endswith(_ALLOWED_SUFFIXES):
        start = next(len(host) - len(end) for end in _ALLOWED_SUFFIXES if host.endswith(end))
        return host[start] == "." or start == 0 or host[start - 1] == "."
    return _COUNTRY_SUFFIX.search(host) is not None


def read_rules(
    block: Sequence[Path] = (), allow: Sequence[Path] = (), *, use_words: bool = True
) -> AddressRules:
    """Rules from files of domains, one a line; a folder stands for its files. `#` begins a remark.

    A file named `domains`, as UT1 has it, has the category of its folder. A domain in two files has
    the category of the first.

    Raises:
        RecipeError: a file is missing, or a line is no domain.
    """
    blocked: dict[str, str] = {}
    for path in domain_files(block):
        category = path.parent.name if path.name == "domains" else path.stem
        for domain in _domains(path):
            blocked.setdefault(domain, category)
    allowed = frozenset(domain for path in domain_files(allow) for domain in _domains(path))
    return AddressRules(blocked, allowed, use_words)


def domain_files(paths: Iterable[Path]) -> list[Path]:
    """The files of lists of domains; a folder stands for all of its files, sorted.

    Raises:
        RecipeError: one is not there.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise RecipeError(
                f"list of domains {path} does not exist",
                hint="give a text file with one domain a line, or a folder of such files",
            )
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        found += inside if path.is_dir() else [path]
    return found


def _domains(path: Path) -> Iterable[str]:
    with path.open(encoding="utf-8", errors="strict") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                entry = line.partition("#")[0].strip().lower()
                if entry:
                    yield _domain(entry, path, number)
        except UnicodeDecodeError as error:
            raise RecipeError(f"{path} is not UTF-8 text", hint=str(error)) from error


def _domain(entry: str, path: Path, number: int) -> str:
    match = _LINE_DOMAIN.match(entry)
    domain = match[1].strip(".") if match else ""
    domain = domain if domain.isascii() else _ascii_host(domain)
    # One label alone would block a whole top-level domain.
    if "." not in domain or not _PLAIN_HOST.match(domain):
        raise RecipeError(
            f"{path}, line {number}: {entry!r} is no domain",
            hint="write one domain a line, such as example.com",
        )
    return domain
