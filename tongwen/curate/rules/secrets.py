"""Keys to services that were published with a text: to be forgotten, in prose and in code."""

import re
from collections.abc import Iterator

KEY_SIGNS = (
    "AKI", "ASI", "sk-", "k_l", "hp_", "ho_", "hu_", "hs_", "hr_", "b_p", "glp", "xox", "AIz",
    "hf_", "eyJ", "E K",
)  # fmt: skip
"""Three letters, of which every key has one of these."""

_KEYS = re.compile(
    r"""(?<![A-Za-z0-9_/+-])(?:
    (?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])
    |sk-(?:proj-|ant-[a-z0-9]{2,8}-|svcacct-)?[A-Za-z0-9_-]{20,200}
    |[sr]k_live_[A-Za-z0-9]{16,200}
    |gh[pousr]_[A-Za-z0-9]{36,255}
    |github_pat_[A-Za-z0-9_]{22,255}
    |glpat-[A-Za-z0-9_-]{20,60}
    |xox[abeprs]-[A-Za-z0-9-]{10,250}
    |AIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])
    |hf_[A-Za-z0-9]{34}(?![0-9A-Za-z])
    |eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,16384}\.[A-Za-z0-9_-]{8,2048}
    )""",
    re.VERBOSE,
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"[A-Za-z0-9+/=\s:,.\\()-]{32,16384}?"
    r"-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
)
_PLACEHOLDER = re.compile(r"example|xxxx|your|\*{3}|placeholder|(.)\1{7}", re.IGNORECASE)


def api_keys(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of keys of the usual services, web tokens and private key blocks.

    What a manual shows in their place (`AKIAIOSFODNN7EXAMPLE`, `sk-xxxx...`) is none.
    """
    for found in _KEYS.finditer(text):
        has_digit = any(map(str.isdigit, found.group()))
        if has_digit and not _PLACEHOLDER.search(found.group()):
            yield found.start(), found.end()
    for found in _PRIVATE_KEY.finditer(text):
        yield found.start(), found.end()
