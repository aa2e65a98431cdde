"""Every key of a recipe with its type, default and meaning: for `--explain` and the reference."""

import dataclasses
from dataclasses import dataclass

from tongwen.errors import UsageError
from tongwen.recipe.loader import hints_of, nearest, table_kind
from tongwen.recipe.meanings import Key, keys_of, section_meaning
from tongwen.road.recipe import TRAIN, Recipe


@dataclass(frozen=True)
class Section:
    """One section of a recipe.

    Attributes:
        name: as it is written in brackets.
        meaning: in a sentence.
        keys: all that it may hold.
        own: those that are not [train]'s, or have another default than there.
    """

    name: str
    meaning: str
    keys: tuple[Key, ...]
    own: tuple[Key, ...]


def sections() -> list[Section]:
    """The sections in the order of a resolved recipe."""
    found: list[Section] = []
    train = _train_section()
    usual = {key.name.partition(".")[2]: key for key in train.keys}
    for name, hint in hints_of(Recipe).items():
        kind = table_kind(hint)
        assert kind is not None
        keys = tuple(keys_of(kind, name))
        own = keys
        if name in TRAIN.kinds:
            if train not in found:
                found.append(train)
            own = tuple(key for key in keys if not _is_usual(key, usual))
        found.append(Section(name, section_meaning(kind), keys, own))
    return found


def explain(name: str) -> list[Key]:
    """The keys that `name` means: one key, a whole section or table, or a key of any section.

    Raises:
        UsageError: no such key.
    """
    wanted = _plain(name.strip().strip("[]"))
    everything: list[Key] = []
    for section in sections():
        meaning = section.meaning
        if section.name in TRAIN.kinds:
            meaning += f" Every key of [{TRAIN.name}] may be written here too."
        everything += [Key(section.name, "section", None, meaning), *section.keys]
        if wanted == section.name:
            return [everything[-len(section.keys) - 1], *section.own]
    exact = [key for key in everything if _plain(key.name) == wanted]
    below = [key for key in everything if _plain(key.name).startswith(f"{wanted}.")]
    anywhere = [key for key in everything if key.name.rpartition(".")[2] == wanted]
    if not exact and not anywhere:
        names = {_plain(key.name) for key in everything}
        last = {key.name.rpartition(".")[2] for key in everything}
        raise UsageError(
            f"no section and no key of a recipe is named `{name}`",
            hint=nearest(wanted, sorted(names if "." in wanted else names | last)),
        )
    return [*exact, *below] or anywhere


def _train_section() -> Section:
    """[train], with the default of each stage that has another."""
    keys: dict[str, Key] = {}
    others: dict[str, list[str]] = {}
    for section, kind in TRAIN.kinds.items():
        for key in keys_of(kind, TRAIN.name):
            inner = key.name.partition(".")[2]
            if _plain(inner).partition(".")[0] in TRAIN.hints:
                first = keys.setdefault(inner, key)
                if key.default != first.default:
                    others.setdefault(inner, []).append(f"{key.default} in [{section}]")
    for inner, defaults in others.items():
        default = "; ".join([str(keys[inner].default), *defaults])
        keys[inner] = dataclasses.replace(keys[inner], default=default)
    return Section(
        TRAIN.name,
        "What pretrain, extend and tune have in common; each may write a key for itself.",
        tuple(keys.values()),
        tuple(keys.values()),
    )


def _is_usual(key: Key, usual: dict[str, Key]) -> bool:
    """Whether a stage's key is just the one of [train]."""
    shared = usual.get(key.name.partition(".")[2])
    return shared is not None and str(shared.default).partition("; ")[0] == str(key.default)


def _plain(name: str) -> str:
    """`crawl.sources[].path`, `crawl.sources.0.path` and `crawl.sources.path` are one key."""
    return ".".join(part.removesuffix("[]") for part in name.split(".") if not part.isdecimal())
