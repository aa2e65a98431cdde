"""Which packages this installation has, and in which versions."""

import importlib.metadata
import re

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


def package_versions(*extras: str) -> dict[str, str | None]:
    """Version of tongwen and of every package that it, or one of its extras, requires.

    In the order of `pyproject.toml`; None for a package that is not installed, and nothing at all
    where tongwen itself is not installed but only read from its source.
    """
    try:
        found: dict[str, str | None] = {"tongwen": importlib.metadata.version("tongwen")}
        requirements = importlib.metadata.requires("tongwen") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    for requirement in requirements:
        extra = _EXTRA.search(requirement)
        name = _NAME.match(requirement)
        if name is not None and (extra is None or extra[1] in extras):
            found[name[0]] = _version(name[0])
    return found


def installed_versions(*extras: str) -> dict[str, str]:
    """`package_versions` without the packages that are not installed."""
    return {name: item for name, item in package_versions(*extras).items() if item is not None}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
