"""MathML without TeX beside it, as TeX: what can be said in a line."""

import re
from html import unescape

_TOKEN = re.compile(r"<(/?)(?:[a-zA-Z]+:)?([a-zA-Z]+)([^<>]*?)(/?)>|([^<]+)")
_LEAVES = frozenset(("mi", "mn", "mo", "mtext", "ms"))
_SIGNS = {
    "−": "-", "×": r"\times ", "÷": r"\div ", "·": r"\cdot ", "⋅": r"\cdot ", "±": r"\pm ",
    "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ", "∞": r"\infty ",
    "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "∂": r"\partial ", "∇": r"\nabla ",
    "∈": r"\in ", "∉": r"\notin ", "⊂": r"\subset ", "⊆": r"\subseteq ", "∪": r"\cup ",
    "∩": r"\cap ", "∀": r"\forall ", "∃": r"\exists ", "→": r"\to ", "⇒": r"\Rightarrow ",
    "⇔": r"\Leftrightarrow ", "↦": r"\mapsto ", "…": r"\ldots ", "⋯": r"\cdots ", "′": "'",
    "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "#": r"\#", "\u2061": "", "\u2062": "",
    "\u2063": ",", "\u2064": "",
    "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "ε": r"\epsilon ",
    "ϵ": r"\epsilon ", "ζ": r"\zeta ", "η": r"\eta ", "θ": r"\theta ", "ι": r"\iota ",
    "κ": r"\kappa ", "λ": r"\lambda ", "μ": r"\mu ", "ν": r"\nu ", "ξ": r"\xi ", "π": r"\pi ",
    "ρ": r"\rho ", "σ": r"\sigma ", "τ": r"\tau ", "φ": r"\phi ", "ϕ": r"\phi ", "χ": r"\chi ",
    "ψ": r"\psi ", "ω": r"\omega ", "Γ": r"\Gamma ", "Δ": r"\Delta ", "Θ": r"\Theta ",
    "Λ": r"\Lambda ", "Ξ": r"\Xi ", "Π": r"\Pi ", "Σ": r"\Sigma ", "Φ": r"\Phi ", "Ψ": r"\Psi ",
    "Ω": r"\Omega ",
}  # fmt: skip
_ACCENTS = {
    "^": "hat", "ˆ": "hat", "~": "tilde", "˜": "tilde", "¯": "bar", "‾": "bar", "→": "vec",
    "⃗": "vec", "˙": "dot", ".": "dot",
}  # fmt: skip
_FUNCTIONS = """
sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp lim max min sup inf det dim
gcd ker arg deg
"""
_NAMES = frozenset(_FUNCTIONS.split())
_MOST_DEPTH = 100  # no formula is so deep; a broken page may be


def tex_of_mathml(inside: str) -> str:
    """TeX of what stands between `<math>` and `</math>`; "" when nothing does. Never raises."""
    stack: list[tuple[str, list[str]]] = [("math", [])]
    for found in _TOKEN.finditer(inside):
        end, name, _, is_empty, text = found.groups()
        if text is not None:
            if stack[-1][0] in _LEAVES:
                stack[-1][1].append(text)
        elif is_empty:
            stack[-1][1].append("")
        elif not end:
            if len(stack) < _MOST_DEPTH:
                stack.append((name.lower(), []))
        elif len(stack) > 1 and any(open_name == name.lower() for open_name, _ in stack[1:]):
            while True:
                closed, parts = stack.pop()
                stack[-1][1].append(_tex(closed, parts))
                if closed == name.lower():
                    break
    while len(stack) > 1:
        closed, parts = stack.pop()
        stack[-1][1].append(_tex(closed, parts))
    return re.sub(r" +", " ", "".join(stack[0][1])).strip()


def _tex(name: str, parts: list[str]) -> str:
    """TeX of an element whose children's TeX is in `parts`."""
    if name in _LEAVES:
        return _leaf(name, " ".join(unescape("".join(parts)).split()))
    if name in ("annotation", "annotation-xml", "annotationxml", "none", "mspace", "mprescripts"):
        return ""
    if len(parts) >= 2:
        first, second = parts[0], parts[1]
        if name == "mfrac":
            return rf"\frac{{{first}}}{{{second}}}"
        if name == "mroot":
            return rf"\sqrt[{second}]{{{first}}}"
        if name in ("msup", "msub", "mover", "munder"):
            accent = _ACCENTS.get(second.strip())
            if name == "mover" and (accent or second.strip() == r"\to"):
                return rf"\{accent or 'vec'}{{{first}}}"
            return f"{_base(first)}{'_' if name in ('msub', 'munder') else '^'}{_braced(second)}"
        if name in ("msubsup", "munderover") and len(parts) >= 3:
            return f"{_base(first)}_{_braced(second)}^{_braced(parts[2])}"
    inside = "".join(parts)
    if name == "msqrt":
        return rf"\sqrt{{{inside}}}"
    if name == "mtable":
        return rf"\begin{{matrix}}{inside.removesuffix(chr(92) * 2 + ' ')}\end{{matrix}}"
    if name == "mtr":
        return inside.removesuffix(" & ") + r"\\ "
    if name == "mtd":
        return inside + " & "
    if name == "mfenced":
        return f"({','.join(parts)})"
    return inside


def _leaf(name: str, text: str) -> str:
    if not text:
        return ""
    if name in ("mtext", "ms"):
        return rf"\text{{{text}}}"
    if name == "mi" and len(text) > 1 and text.isascii() and text.isalpha():
        return rf"\{text} " if text in _NAMES else rf"\mathrm{{{text}}}"
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def _base(tex: str) -> str:
    """What an index or exponent is put on."""
    tex = tex.strip()
    return (
        tex if len(tex) <= 1 or re.fullmatch(r"\\?\w+|\w+\{[^{}]*\}|\(.*\)", tex) else f"{{{tex}}}"
    )


def _braced(tex: str) -> str:
    tex = tex.strip()
    return tex if len(tex) == 1 else f"{{{tex}}}"
