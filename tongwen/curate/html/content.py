"""Which blocks of a page are its main content, compiled; `extract` tells the idea."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.html import blocks as text_of
from tongwen.curate.html import names as name_of
from tongwen.curate.html.blocks import ELEMENT, KIND, LENGTH, LINKED_LENGTH, SIZE, Rows
from tongwen.curate.html.names import Integers
from tongwen.curate.html.tree import END, IS_HIDDEN, PARENT, PRIOR, TAG
from tongwen.kernels import inner, kernel

Numbers = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


class Thresholds(NamedTuple):
    """What is fitted by `bench/extraction_fit.py`. Sizes are those of a block, shares 0 to 1.

    Attributes:
        prose_size: a text of at least this size that has a sentence mark is prose.
        long_size: a text of at least this size is prose without one.
        container_share: so much of the mass is in the content element.
        named_container_share: the same where its name says that it is the content.
        inner_share: the same for an element inside one that says so.
        home_share: a place with so much of the mass is a main one.
        one_place_share: with so much of the mass in main places, what stands elsewhere is a
            caption, a box or a teaser.
        short_weight, item_weight: mass of what is no prose, and of prose in a list.
        lonely_mass: a place with so little mass counts half.
        boilerplate_share: an element that says it is something else is content when it holds so
            much of the mass.
        foreign_share: the same for comments and texts of other pages.
        link_list_share: an element with so much of its text in links is a list of links.
    """

    prose_size: float = 80.0
    long_size: float = 200.0
    container_share: float = 0.75
    named_container_share: float = 0.5
    inner_share: float = 0.9
    home_share: float = 0.2
    one_place_share: float = 0.9
    short_weight: float = 0.2
    item_weight: float = 0.5
    lonely_mass: float = 500.0
    boilerplate_share: float = 0.5
    foreign_share: float = 0.85
    link_list_share: float = 0.6


@kernel(allocates=True)
def content_blocks(traits: Integers, elements: Rows, blocks: Rows, limits: Thresholds) -> Any:
    """Indices of the blocks that are content, before any is read.

    Where much of the prose stands side by side, short and linked texts belong to it. Elsewhere
    lists of links go, and so do the short texts before the first and after the last prose.
    Gives the indices, and whether each stands in a main place.
    """
    chosen = np.zeros(len(blocks), np.int8)
    is_prose = _prose(blocks, limits)
    homes = _homes(traits, elements)
    masses = _masses(elements, blocks, homes, is_prose, limits)
    left_out = _left_out(elements, blocks, masses, limits)
    container = _container(traits, elements, blocks, masses, left_out, limits)
    end = elements[container, END]
    home_masses = np.zeros(len(elements))
    total, first, last = 0.0, -1, -1
    for n in range(len(blocks)):
        element = blocks[n, ELEMENT]
        if container <= element < end and not left_out[element]:
            chosen[n] = 1
            home_masses[homes[element]] += masses[n]
            total += masses[n]
            if is_prose[n]:
                first = n if first < 0 else first
                last = n
    if first < 0:
        chosen[:] = 0
        return chosen
    main_mass = 0.0
    for mass in home_masses:
        if mass > 0 and mass >= limits.home_share * total:
            main_mass += mass
    is_in_one_place = main_mass >= limits.one_place_share * total
    sections = _sections(blocks, chosen, homes, len(elements))
    lists = _link_lists(elements, blocks, container, limits)
    for n in range(len(blocks)):
        element = blocks[n, ELEMENT]
        home = homes[element]
        if not chosen[n] or (
            (home_masses[home] > 0 or total == 0.0)
            and (home_masses[home] >= limits.home_share * total)
        ):
            continue
        is_text = blocks[n, KIND] in (text_of.TEXT_KIND, text_of.ITEM_KIND)
        if (
            lists[element]
            or (is_in_one_place and is_text and not sections[home])
            or not first <= n <= last
            or _is_linked_line(blocks[n], limits)
        ):
            chosen[n] = 0
    return chosen


@inner(allocates=True)
def _is_linked_line(block: Any, limits: Any) -> Any:
    return (
        block[KIND] == text_of.TEXT_KIND
        and block[LINKED_LENGTH] > 0.8 * block[LENGTH]
        and block[SIZE] < limits.long_size
    )


@inner(allocates=True)
def _prose(blocks: Rows, limits: Any) -> Any:
    is_prose = np.zeros(len(blocks), np.bool_)
    for n in range(len(blocks)):
        size = blocks[n, SIZE]
        if blocks[n, KIND] == text_of.CODE_KIND:
            is_prose[n] = True
        elif 2 * blocks[n, LINKED_LENGTH] <= blocks[n, LENGTH]:
            is_sentence = size >= limits.prose_size and blocks[n, text_of.ENDS_SENTENCE]
            is_prose[n] = size >= limits.long_size or is_sentence
    return is_prose


@inner(allocates=True)
def _homes(traits: Integers, elements: Rows) -> Any:
    """For each element the nearest one around it (or itself) that is no part of running text."""
    homes = np.zeros(len(elements), np.int64)
    for index in range(1, len(elements)):
        is_part = traits[elements[index, TAG]] & name_of.PART_OF_TEXT
        homes[index] = homes[elements[index, PARENT]] if is_part else index
    return homes


@inner(allocates=True)
def _masses(elements: Rows, blocks: Rows, homes: Integers, is_prose: Truths, limits: Any) -> Any:
    """How much each block speaks for being main content.

    A paragraph among many weighs more than one that stands alone, as teasers of other pages do.
    """
    masses, home_masses = np.zeros(len(blocks)), np.zeros(len(elements))
    for n in range(len(blocks)):
        free = 1.0 - blocks[n, LINKED_LENGTH] / blocks[n, LENGTH]
        mass = blocks[n, SIZE] * free * free
        if not is_prose[n]:
            mass *= limits.short_weight
        elif blocks[n, KIND] == text_of.ITEM_KIND:
            mass *= limits.item_weight
        masses[n] = mass
        home_masses[homes[blocks[n, ELEMENT]]] += mass
    for n in range(len(blocks)):
        home = home_masses[homes[blocks[n, ELEMENT]]]
        masses[n] *= home / (home + limits.lonely_mass)
    return masses


@inner(allocates=True)
def _sum_up(elements: Rows, sums: Numbers) -> None:
    """Turn the sums of elements into those of everything inside them."""
    for index in range(len(sums) - 1, 0, -1):
        sums[elements[index, PARENT]] += sums[index]


@inner(allocates=True)
def _left_out(elements: Rows, blocks: Rows, masses: Numbers, limits: Any) -> Any:
    """Which elements are boilerplate by name or hidden, unless they hold most of the mass."""
    sums = np.zeros(len(elements))
    for n in range(len(blocks)):
        sums[blocks[n, ELEMENT]] += masses[n]
    _sum_up(elements, sums)
    left_out = np.zeros(len(elements), np.bool_)
    for index in range(1, len(elements)):
        prior = elements[index, PRIOR]
        if left_out[elements[index, PARENT]]:
            left_out[index] = True
        elif elements[index, IS_HIDDEN] or prior < 0:
            share = limits.foreign_share if prior == -2 else limits.boilerplate_share
            left_out[index] = sums[index] < share * sums[0]
    return left_out


@inner(allocates=True)
def _container(
    traits: Integers, elements: Rows, blocks: Rows, masses: Numbers, left_out: Truths, limits: Any
) -> Any:
    """The deepest element with most of the mass; 0 (the body) when it is spread."""
    sums = np.zeros(len(elements))
    for n in range(len(blocks)):
        if not left_out[blocks[n, ELEMENT]]:
            sums[blocks[n, ELEMENT]] += masses[n]
    _sum_up(elements, sums)
    if sums[0] <= 0.0:
        return 0
    best, needed = 0, limits.container_share * sums[0]
    named = min(needed, limits.named_container_share * sums[0])
    for index in range(1, len(sums)):
        if best and index >= elements[best, END]:
            break
        if not traits[elements[index, TAG]] & name_of.CONTAINER:
            continue
        wanted = named if elements[index, PRIOR] > 0 else needed
        if elements[best, PRIOR] > 0:
            wanted = limits.inner_share * sums[best]
        if sums[index] >= wanted:
            best = index
    return best


@inner(allocates=True)
def _sections(blocks: Rows, chosen: Any, homes: Integers, count: int) -> Any:
    """Homes with a heading of their own and no link at all: short answers, not teasers."""
    sections = np.zeros(count, np.bool_)
    for n in range(len(blocks)):
        if chosen[n] and blocks[n, KIND] == text_of.HEADING_KIND:
            sections[homes[blocks[n, ELEMENT]]] = True
    for n in range(len(blocks)):
        if chosen[n] and blocks[n, LINKED_LENGTH]:
            sections[homes[blocks[n, ELEMENT]]] = False
    return sections


@inner(allocates=True)
def _link_lists(elements: Rows, blocks: Rows, container: int, limits: Any) -> Any:
    """For each element from `container` on whether it is inside a list of links."""
    count = len(elements)
    characters, linked, numbers = np.zeros(count), np.zeros(count), np.zeros(count)
    for n in range(len(blocks)):
        element = blocks[n, ELEMENT]
        characters[element] += blocks[n, LENGTH]
        linked[element] += blocks[n, LINKED_LENGTH]
        numbers[element] += 1
    for sums in (characters, linked, numbers):
        _sum_up(elements, sums)
    found = np.zeros(count, np.bool_)
    for index in range(container + 1, elements[container, END]):
        found[index] = found[elements[index, PARENT]] or (
            linked[index] > limits.link_list_share * characters[index]
            and characters[index] < limits.long_size * numbers[index]
        )
    return found
