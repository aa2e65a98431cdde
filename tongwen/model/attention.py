"""Attention with rotary positions.

Shape suffixes in this file: B batch, T query tokens, S key tokens, H query heads,
K key-value heads, G query heads for each key-value head, D head_dim (even).

Sources: RoPE, Su et al. 2021, arXiv:2104.09864. GQA, Ainslie et al. 2023, arXiv:2305.13245.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor
from torch.torch_version import TorchVersion

from tongwen.model import causal_attention
from tongwen.model.huggingface import RopeScaling
from tongwen.model.rope import scaled_frequencies

# Rows of 128 took 0.04 s under a mask, 0.05 cut: docs/experiments/training.md.
MATRIX_ATTENTION_TOKENS = 512
SEGMENT_TOKENS = 16
"""On a CPU stretches are attended to one by one when they are so long on average. Forward and
backward of a row of 4,096, 4 heads of 64, one thread: as documents of 512 0.14 s so and 1.14 under
a mask, of 16 0.09 and 1.07 (AVX2, 2026-11)."""
_VARLEN_TAKES_GROUPS = TorchVersion(torch.__version__) >= "2.13"


def rope_tables(
    positions_BT: Tensor, head_dim: int, theta: float, scaling: RopeScaling | None = None
) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine of every (position, channel) angle, float32, shape (B, T, 1, D).

    The sine of the first half of the channels is negated, as `apply_rope` needs it. Not
    bfloat16: position 200,000 would be rounded to the nearest multiple of 1,024.
    """
    channels = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions_BT.device)
    inverse_frequency = 1.0 / theta ** (channels / head_dim)
    if scaling is not None:
        inverse_frequency = scaled_frequencies(
            inverse_frequency, positions_BT, head_dim, theta, scaling
        )
    angle = positions_BT[..., None, None].float() * inverse_frequency
    cosine, sine = angle.cos(), angle.sin()
    if scaling is not None and scaling.attention_factor != 1:
        cosine, sine = cosine * scaling.attention_factor, sine * scaling.attention_factor
    return torch.cat([cosine, cosine], dim=-1), torch.cat([-sine, sine], dim=-1)


class _Rotation(torch.autograd.Function):
    """A rotation; its gradient is the rotation by the opposite angle, so only angles are kept."""

    @staticmethod
    def forward(ctx: Any, x_BTHD: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _rotate(x_BTHD, cosine, sine)

    @staticmethod
    def backward(ctx: Any, gradient_BTHD: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _rotate(gradient_BTHD, cosine, -sine), None, None


def _rotate(x_BTHD: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    # Whole rows in float32: 4 times faster on a CPU than writing the halves one by one.
    wide = x_BTHD.float()
    first, second = wide.chunk(2, dim=-1)
    swapped = torch.cat([second, first], dim=-1)
    return (wide * cosine).addcmul_(swapped, sine).to(x_BTHD.dtype)


def apply_rope(x_BTHD: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate channel pairs (d, d + D/2) by their position's angle: Llama's halves, not neighbours.

    Keeps the norm and the dtype; the arithmetic is float32.
    """
    rotated: Tensor = _Rotation.apply(x_BTHD, cosine, sine)  # type: ignore[no-untyped-call]
    return rotated


@dataclass(frozen=True)
class KeyStretches:
    """The keys that each stretch of queries attends to.

    Attributes:
        places: int64, where the keys of the first stretch are among all keys of all rows laid end
            to end, then those of the second, and so on.
        ends: int32, where each stretch's keys end in `places`, after a leading zero.
        longest_tokens: no stretch has more keys.
    """

    places: Tensor
    ends: Tensor
    longest_tokens: int


@dataclass(frozen=True)
class Segments:
    """Stretches of the rows laid end to end; tokens attend to earlier ones of their own stretch.

    Attributes:
        ends: int32, where each stretch ends, after a leading zero.
        longest_tokens: no stretch is longer.
        keys: those of each stretch, if they are not its own tokens': its last query sees all of
            them, the one before all but the last, and so on.
        window_tokens: how many keys a query sees at most, its own with them.
    """

    ends: Tensor
    longest_tokens: int
    keys: KeyStretches | None = None
    window_tokens: int | None = None


def after_zero(ends: Tensor) -> Tensor:
    """Ends of stretches as `Segments` has them: int32, after a leading zero."""
    return F.pad(ends, (1, 0)).to(torch.int32)


PART_TOKENS = 64
"""Queries that a masked row attends to at a time on a CPU."""


@dataclass(frozen=True)
class Part:
    """Neighbouring queries of one row that see few of its keys.

    Attributes:
        queries: which.
        keys: int64, the places of the keys that any of them sees.
        mask: True where a query sees one of these, (1, 1, T, S).
    """

    queries: slice
    keys: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Visibility:
    """Which keys each query of a forward pass attends to.

    Attributes:
        mask: True where a query may attend, (B, 1, T, S).
        segments: the same said by stretches, which are attended to one by one.
        is_causal: without either: a query sees the keys up to its own place only; else all.
        earlier_keys: with `is_causal`: so many keys come before that of the first query, in every
            row, and all queries see them.
        threads: that compute it; known here, as compiled layers cannot ask.
        places_BT: where each query's own key is among the keys, unless `is_causal` or `segments`
            say so; what a sliding window is counted from.
        parts: the same as the mask of one row says, by parts, which are attended to one by one.
    """

    mask: Tensor | None = None
    segments: Segments | None = None
    is_causal: bool = False
    earlier_keys: int = 0
    threads: int = field(default_factory=torch.get_num_threads)
    places_BT: Tensor | None = None
    parts: Sequence[Part] | None = None

    @classmethod
    def among_themselves(cls, documents_BT: Tensor | None) -> "Visibility":
        """Each token sees the earlier ones of its row that have its document number."""
        if documents_BT is None:
            return cls(is_causal=True)
        tokens, device = documents_BT.shape[1], documents_BT.device
        is_last = torch.ones_like(documents_BT, dtype=torch.bool)
        is_last[:, :-1] = documents_BT[:, 1:] != documents_BT[:, :-1]
        ends = is_last.flatten().nonzero().flatten() + 1
        if len(ends) == len(documents_BT):  # whole rows: nothing to keep apart
            return cls(is_causal=True)
        on_gpu = device.type == "cuda"
        is_long = tokens > MATRIX_ATTENTION_TOKENS
        if on_gpu or (is_long and documents_BT.numel() >= SEGMENT_TOKENS * len(ends)):
            return cls(segments=Segments(after_zero(ends), tokens))
        causal_TT = torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()
        is_same = documents_BT[:, None, :, None] == documents_BT[:, None, None, :]
        return cls(mask=is_same & causal_TT, places_BT=torch.arange(tokens, device=device)[None])

    def in_parts(self) -> "Visibility":
        """The same by parts of the queries, where that is less work: the mask of one row, CPU.

        A masked kernel computes what the mask hides: 256 queries that see a few of 300 keys took
        1.8 times the time of four parts (3 heads, AVX2, 2026-12).
        """
        mask = self.mask
        if mask is None or mask.device.type != "cpu" or mask.shape[0] != 1:
            return self
        parts = []
        for start in range(0, mask.shape[2], PART_TOKENS):
            queries = slice(start, min(start + PART_TOKENS, mask.shape[2]))
            seen_TS = mask[0, 0, queries]
            keys = seen_TS.any(0).nonzero()[:, 0]
            parts.append(Part(queries, keys, seen_TS[None, None, :, keys]))
        return replace(self, parts=parts)

    def of_queries(self, wanted_T: Tensor) -> "Visibility":
        """The same for some queries of what a mask says."""
        assert self.mask is not None, "only a mask can be taken apart"
        wanted = Visibility(mask=self.mask[:, :, wanted_T])
        return wanted if self.parts is None else wanted.in_parts()

    def within(self, window_tokens: int, queries: int, device: torch.device) -> "Visibility":
        """The same without keys `window_tokens` and more before a query's own place.

        Args:
            window_tokens: as Mistral counts them (Jiang et al. 2023, arXiv:2310.06825, section 2).
            queries: T.
            device: of the queries.
        """
        if self.segments is not None:
            return replace(self, segments=replace(self.segments, window_tokens=window_tokens))
        places_BT = self.places_BT
        if self.is_causal:
            keys = self.earlier_keys + queries
            places_BT = torch.arange(self.earlier_keys, keys, device=device)[None]
        elif self.mask is not None:
            keys = self.mask.shape[-1]
        else:
            keys = 1 if places_BT is None else int(places_BT.max()) + 1
        if keys <= window_tokens:
            return self
        assert places_BT is not None, "these keys have no places that a window is counted from"
        distance = places_BT[:, None, :, None] - torch.arange(keys, device=device)
        mask = (distance < window_tokens) & (distance >= 0)
        return Visibility(mask=mask if self.mask is None else mask & self.mask)


def attend(q_BTHD: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, visibility: Visibility) -> Tensor:
    """Softmax attention scaled by 1/sqrt(D), (B, T, H, D).

    K divides H: query heads G*k to G*k+G-1 read key-value head k.
    """
    mask = visibility.mask
    if visibility.segments is not None:
        return _segment_attention(q_BTHD, k_BSKD, v_BSKD, visibility.segments)
    if visibility.parts is not None:
        return torch.cat(
            [
                _masked(q_BTHD[:, p.queries], k_BSKD[:, p.keys], v_BSKD[:, p.keys], p.mask)
                for p in visibility.parts
            ],
            dim=1,
        )
    if visibility.is_causal and visibility.earlier_keys:
        return _attend_after(q_BTHD, k_BSKD, v_BSKD, visibility.earlier_keys)
    if visibility.is_causal and causal_attention.takes(q_BTHD, k_BSKD, visibility.threads):
        return causal_attention.causal_attention(q_BTHD, k_BSKD, v_BSKD)
    if (
        mask is not None
        and q_BTHD.requires_grad
        and q_BTHD.dtype == torch.bfloat16
        and q_BTHD.device.type == "cpu"
        and k_BSKD.shape[1] <= MATRIX_ATTENTION_TOKENS
    ):
        return _matrix_attention(q_BTHD, k_BSKD, v_BSKD, mask)
    return _masked(q_BTHD, k_BSKD, v_BSKD, mask, is_causal=visibility.is_causal)


def _masked(
    q_BTHD: Tensor,
    k_BSKD: Tensor,
    v_BSKD: Tensor,
    mask: Tensor | None,
    *,
    is_causal: bool = False,
) -> Tensor:
    out_BHTD = F.scaled_dot_product_attention(
        q_BTHD.transpose(1, 2),
        k_BSKD.transpose(1, 2),
        v_BSKD.transpose(1, 2),
        attn_mask=mask,
        is_causal=is_causal,
        enable_gqa=q_BTHD.shape[2] != k_BSKD.shape[2],
    )
    return out_BHTD.transpose(1, 2)


def _attend_after(q_BTHD: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, earlier: int) -> Tensor:
    """Attention of tokens that follow `earlier` keys which all of them see.

    Without a mask: earlier keys and their own, each by the fused kernel, and the two weighted by
    their sums of exponentials, as FlashAttention joins blocks (Dao et al. 2022, arXiv:2205.14135,
    section 3.1). A masked kernel computes what the mask hides: a prompt of 4,096 in pieces of 1,024
    took 1.9 times a plain causal pass so, and takes 1.04 (CPU, float32, 2026-12).
    """
    scores_at_once = causal_attention.is_known() and q_BTHD.device.type == "cpu"
    q, k, v = (x.transpose(1, 2) for x in (q_BTHD, k_BSKD, v_BSKD))
    if not scores_at_once or q.requires_grad or k.requires_grad:
        pairs = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device)
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=pairs.tril(earlier), enable_gqa=q.shape[1] != k.shape[1]
        )
        return out.transpose(1, 2)
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    own, own_log_sum = flash(q, k[:, :, earlier:], v[:, :, earlier:], 0.0, True)
    before, log_sum = flash(q, k[:, :, :earlier], v[:, :, :earlier], 0.0, False)
    share = torch.sigmoid(own_log_sum - log_sum)[..., None]
    joined: Tensor = torch.lerp(before.float(), own.float(), share).to(own.dtype)
    return joined.transpose(1, 2)


def _matrix_attention(q_BTHD: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, mask: Tensor) -> Tensor:
    """The same by plain matrix products, with the scores in bfloat16.

    torch's fused CPU kernel multiplies bfloat16 no faster than float32. Forward and backward
    of 8,192 tokens, 6 heads of 64, 2 cores with AVX512-BF16, 2026-11: 69 -> 17 ms for rows of
    128 tokens, 73 -> 43 for 256, 128 -> 108 for 512.
    """
    batch, tokens, heads, head_dim = q_BTHD.shape
    keys, key_heads = k_BSKD.shape[1:3]
    group = heads // key_heads
    scaled = q_BTHD * head_dim**-0.5
    q = scaled.unflatten(2, (key_heads, group)).permute(0, 2, 3, 1, 4)  # B K G T D
    q = q.reshape(batch * key_heads, group * tokens, head_dim)
    k = k_BSKD.transpose(1, 2).reshape(batch * key_heads, keys, head_dim)
    v = v_BSKD.transpose(1, 2).reshape(batch * key_heads, keys, head_dim)
    bias = torch.zeros(mask.shape, dtype=q.dtype).masked_fill_(~mask, -torch.inf)
    scores = torch.bmm(q, k.transpose(1, 2)).view(batch, heads, tokens, keys) + bias
    weights = torch.softmax(scores, dim=-1).view(batch * key_heads, group * tokens, keys)
    out = torch.bmm(weights, v).view(batch, key_heads, group, tokens, head_dim)
    return out.permute(0, 3, 1, 2, 4).flatten(2, 3)


def _segment_attention(
    q_BTHD: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, segments: Segments
) -> Tensor:
    """Attention within stretches: on a GPU by torch's flash kernel for different lengths."""
    q, k, v = (x.flatten(0, 1) for x in (q_BTHD, k_BSKD, v_BSKD))
    ends, longest = segments.ends, segments.longest_tokens
    key_ends, most_keys = ends, longest
    if segments.keys is not None:
        k, v = (x.index_select(0, segments.keys.places) for x in (k, v))
        key_ends, most_keys = segments.keys.ends, segments.keys.longest_tokens
    window = segments.window_tokens
    if q.device.type == "cpu":
        return _stretch_by_stretch(q, k, v, ends, key_ends, window).view(q_BTHD.shape)
    from torch.nn.attention.varlen import varlen_attn  # CUDA alone has it

    groups = q.shape[1] // k.shape[1]
    options: dict[str, Any] = {}
    if _VARLEN_TAKES_GROUPS:
        options["enable_gqa"] = groups > 1
    elif groups > 1:
        k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
    before = -1 if window is None else window - 1
    out: Any = varlen_attn(
        q, k, v, ends, key_ends, longest, most_keys, window_size=(before, 0), **options
    )
    out_BTHD: Tensor = out.unflatten(0, q_BTHD.shape[:2])
    return out_BTHD


def _stretch_by_stretch(
    q_NHD: Tensor,
    k_NKD: Tensor,
    v_NKD: Tensor,
    ends: Tensor,
    key_ends: Tensor,
    window_tokens: int | None,
) -> Tensor:
    tokens, keys = ends.diff().tolist(), key_ends.diff().tolist()
    stretches = (torch.split(x, n) for x, n in ((q_NHD, tokens), (k_NKD, keys), (v_NKD, keys)))
    out = []
    for q, k, v in zip(*stretches, strict=True):
        sees = Visibility(is_causal=True)
        earlier = len(k) - len(q)
        if earlier:
            all_pairs = torch.ones(1, 1, len(q), len(k), dtype=torch.bool)
            places = torch.arange(earlier, len(k))[None]
            sees = Visibility(mask=all_pairs.tril(earlier), places_BT=places)
        if window_tokens is not None:
            sees = sees.within(window_tokens, len(q), q.device)
        out.append(attend(q[None], k[None], v[None], sees)[0])
    return torch.cat(out)
