"""Rows of unequal length laid end to end, so that nothing is computed for padding.

Everything that works on one piece at a time (linear layers, norms, activations) sees one line of all real pieces; attention sees
blocks of rows of equal length, each row attending to itself alone. No mask is needed and no number is spent on padding.
Shapes: B rows, T pieces of the longest row, N real pieces of all rows, H heads, K width of a head, R rows of one length L.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from danlu.nn.dropout import BITS, WIDTH, draw, keep_signs

NAME = "danlu_rows"  # in transformers' registry of attention
_WINDOWS = ("sliding_window", "local_attention", "attention_window", "block_size")  # settings of models that do not look at whole rows


class Rows:
    """Where the rows of one padded batch stand in the line: rows of equal length side by side, the shortest first.

    Without `packed` the padding stands in the line too, in one block under a mask: the plain way, to compare with.
    """

    def __init__(self, lengths_B: Tensor, width: int, packed: bool = True) -> None:
        self.shape, self.mask_RL = (len(lengths_B), width), None
        order_B = torch.argsort(lengths_B, stable=True)
        real_BT = torch.arange(width, device=lengths_B.device)[None, :] < lengths_B[order_B, None]
        if packed:
            found, counts = torch.unique_consecutive(lengths_B[order_B], return_counts=True)
            self.blocks = list(zip(counts.tolist(), found.tolist(), strict=True))  # (R, L)
        else:
            self.blocks, self.mask_RL = [self.shape], real_BT
        row_N, self.place_N = (real_BT if packed else torch.ones_like(real_BT)).nonzero(as_tuple=True)
        self.index_N = order_B[row_N] * width + self.place_N
        self.order_B, self.first_B = order_B, (self.place_N == 0).nonzero()[:, 0]  # of each row in the line, its number and its first piece

    def pack(self, x_BTx: Tensor) -> Tensor:
        """[B, T, ...] -> [N, ...]."""
        return x_BTx.flatten(0, 1).index_select(0, self.index_N)

    def unpack(self, x_Nx: Tensor) -> Tensor:
        """[N, ...] -> [B, T, ...] with zeros for padding."""
        rows, width = self.shape
        return x_Nx.new_zeros(rows * width, *x_Nx.shape[1:]).index_copy(0, self.index_N, x_Nx).unflatten(0, self.shape)

    def unpack_first(self, x_Bx: Tensor) -> Tensor:
        """Of each row in the line its first piece, [B, ...] -> [B, 1, ...] in the order of the batch."""
        return x_Bx.new_empty(x_Bx.shape).index_copy(0, self.order_B, x_Bx)[:, None]

    def attend(
        self,
        q_NHK: Tensor,
        k_NHK: Tensor,
        v_NHK: Tensor,
        scale: float | None = None,
        drop: float = 0.0,
        causal: bool = False,
        prefix_2HPK: Tensor | None = None,
    ) -> Tensor:
        """Attention inside each row: [N, H, K]. Keys and values may have fewer heads, each then serving a group of queries.

        `prefix_2HPK` are P keys and values that every row sees before its own. Queries may be those of the first piece of each row alone,
        [B, H, K], and so is then the answer.
        """
        sizes = [rows * length for rows, length in self.blocks]
        asking = self.blocks if len(q_NHK) == sum(sizes) else [(rows, 1) for rows, _ in self.blocks]
        mask_RxxL = None if self.mask_RL is None else self.mask_RL[:, None, None, :]
        seen = []
        queries = q_NHK.split([rows * length for rows, length in asking])
        for ask, block, q, k, v in zip(asking, self.blocks, queries, k_NHK.split(sizes), v_NHK.split(sizes), strict=True):
            q_RHLK, k_RHLK, v_RHLK = (part.unflatten(0, form).transpose(1, 2) for part, form in ((q, ask), (k, block), (v, block)))
            mask, whole = mask_RxxL, causal
            if prefix_2HPK is not None:
                k_RHLK, v_RHLK = (
                    torch.cat([ahead.to(own).expand(len(own), -1, -1, -1), own], 2)
                    for ahead, own in zip(prefix_2HPK, (k_RHLK, v_RHLK), strict=True)
                )
                mask, whole = _with_prefix(mask, causal, q_RHLK.shape[2], block[1], k_RHLK), False
            seen.append(attention(q_RHLK, k_RHLK, v_RHLK, mask, scale, drop, whole).transpose(1, 2).flatten(0, 1))
        return torch.cat(seen)


class Watched(Rows):
    """Rows that remember the keys and values of each layer, [2, H, N, K], in the order in which they were attended to."""

    def __init__(self, lengths_B: Tensor, width: int) -> None:
        super().__init__(lengths_B, width)
        self.seen: list[Tensor] = []

    def attend(self, q_NHK: Tensor, k_NHK: Tensor, v_NHK: Tensor, *others: Any, **named: Any) -> Tensor:
        self.seen.append(torch.stack([k_NHK, v_NHK]).transpose(1, 2).float())
        return super().attend(q_NHK, k_NHK, v_NHK, *others, **named)


def _with_prefix(mask_R11L: Tensor | None, causal: bool, asking: int, length: int, k_RHLK: Tensor) -> Tensor | None:
    """The mask where the first keys are a prefix that every query sees, of `asking` queries: [R, 1, 1 or Q, P + L]."""
    ahead = k_RHLK.shape[2] - length
    if mask_R11L is not None:
        mask_R11L = torch.nn.functional.pad(mask_R11L, (ahead, 0), value=True)
    if not causal:
        return mask_R11L
    past_QL = torch.ones(asking, ahead + length, dtype=torch.bool, device=k_RHLK.device).tril(ahead)
    return past_QL if mask_R11L is None else mask_R11L & past_QL


def attention(
    q_RHLK: Tensor, k_RHLK: Tensor, v_RHLK: Tensor, mask: Tensor | None, scale: float | None, drop: float, causal: bool
) -> Tensor:
    """Scaled dot-product attention: [R, H, L, K]. `mask` is False where nobody looks."""
    grouped = q_RHLK.shape[1] != k_RHLK.shape[1]
    learning = drop or (torch.is_grad_enabled() and q_RHLK.requires_grad)  # torch's own is slow on the way back
    if not learning or q_RHLK.device.type != "cpu" or q_RHLK.dtype not in BITS or mask is not None or causal or grouped:
        settings = {"dropout_p": drop, "is_causal": causal, "scale": scale, "enable_gqa": grouped}
        return scaled_dot_product_attention(q_RHLK, k_RHLK, v_RHLK, mask, **settings)
    return _Attended.apply(q_RHLK, k_RHLK, v_RHLK, q_RHLK.shape[-1] ** -0.5 if scale is None else scale, drop)


class _Attended(torch.autograd.Function):
    """Attention with dropout of its shares. What the backward pass needs of them is one tensor in the type of the values: a share is never
    negative, so its sign bit is free to say that the share was kept.

    Softmax is computed in float32 whatever the type, which is also faster; shares are rounded to the type of the values, as in torch's own.
    """

    @staticmethod
    def forward(ctx: Any, q_RHLK: Tensor, k_RHLK: Tensor, v_RHLK: Tensor, scale: float, drop: float) -> Tensor:
        with torch.autocast(q_RHLK.device.type, enabled=False):
            q, k, v = (q_RHLK * scale).contiguous(), k_RHLK.contiguous(), v_RHLK.contiguous()
            shares = torch.softmax((q @ k.transpose(-1, -2)).float(), dim=-1).to(q.dtype)
            signs, ctx.grown = keep_signs(shares, drop, draw()) if drop else (None, 1.0)
            ctx.scale, ctx.dropped = scale, bool(drop)
            if signs is None:
                ctx.save_for_backward(q, k, v, shares)
                return shares @ v
            bits = shares.view(signs.dtype)
            ctx.save_for_backward(q, k, v, (signs & torch.iinfo(signs.dtype).min).bitwise_or_(bits).view(q.dtype))
            return (bits & signs.bitwise_right_shift_(WIDTH[q.dtype] - 1)).view(q.dtype) @ v * ctx.grown

    @staticmethod
    def backward(ctx: Any, grad_RHLK: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, shares = ctx.saved_tensors
        with torch.autocast(grad_RHLK.device.type, enabled=False):
            grad = (grad_RHLK * ctx.grown).contiguous()
            inner, used = grad @ v.transpose(-1, -2), shares
            if ctx.dropped:
                signed = shares.view(BITS[shares.dtype])
                kept = signed >> WIDTH[shares.dtype] - 1  # all bits set, or none
                shares = signed & torch.iinfo(signed.dtype).max
                used = (shares & kept).view(q.dtype)
                shares, inner = shares.view(q.dtype), inner.view(kept.dtype).bitwise_and_(kept).view(q.dtype)
            v_grad = used.transpose(-1, -2) @ grad
            inner = torch._softmax_backward_data(inner, shares, -1, shares.dtype)
            return inner @ k * ctx.scale, inner.transpose(-1, -2) @ q, v_grad, None, None


class PackedLayers:
    """Makes the layers of a transformers network work on packed rows: what enters the first is packed, what leaves the last unpacked.

    `rows` says which; None lets the network work on padded batches as it was written. Where only the first piece of each row is read from
    the last layer, that layer need not compute the others: its attention still looks at all pieces, everything else in it sees the first ones.
    """

    def __init__(self, net: nn.Module, layers: nn.ModuleList) -> None:
        from transformers import AttentionInterface

        AttentionInterface.register(NAME, _attend)
        self.net, self.last, self.rows = net, layers[-1], None
        self.only_first = False
        self._all: Tensor | None = None  # [1, N, D], all pieces that came to the last layer; kept, since it may be computed again
        self._attending: nn.Module | None = None  # in the last layer
        self._own = net.config._attn_implementation
        for module in layers.modules():
            module.packed_layers = self
        for layer in layers:
            layer.register_forward_pre_hook(self._enter, with_kwargs=True)
        layers[-1].register_forward_hook(self._leave)

    def use(self, rows: Rows | None, only_first: bool = False) -> None:
        """Chooses how the next forward pass works. `only_first`: of the last layer's answers the first of each row is enough."""
        self.rows, self._all = rows, None
        self.only_first = only_first and rows is not None and self._can_narrow()
        wanted = self._own if rows is None else NAME
        if self.net.config._attn_implementation != wanted:
            self.net.set_attn_implementation(wanted)

    def narrows(self, module: nn.Module) -> bool:
        """Whether `module`, which attends, does so for the first piece of each row alone."""
        return self.only_first and module is self._attending

    def _can_narrow(self) -> bool:
        """Whether the attention of the last layer can be told apart: it looks at all pieces, and the first ones go on."""
        if self._attending is None:
            found = [module for module in self.last.modules() if hasattr(module, "attends")]
            if len(found) != 1:
                return False
            self._attending = found[0]
            self._attending.register_forward_pre_hook(self._widen, with_kwargs=True)
            self._attending.register_forward_hook(self._narrow)
        return True

    def _enter(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        if self.rows is None:
            return None
        args, kwargs = tuple(map(self._packed, args)), {name: self._packed(value) for name, value in kwargs.items()}
        if layer is self.last and self.only_first:
            self._all = args[0] if args else kwargs["hidden_states"]
            args, kwargs = self._swapped(args, kwargs, self._all, self._all[:, self.rows.first_B])
        return args, kwargs

    def _widen(self, attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        if not self.only_first:
            return None
        narrow = args[0] if args else kwargs["hidden_states"]
        return self._swapped(args, kwargs, narrow, self._all)

    def _narrow(self, attention: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not self.only_first:
            return None
        return (output[0][:, self.rows.first_B], *output[1:]) if isinstance(output, tuple) else output[:, self.rows.first_B]

    @staticmethod
    def _swapped(args: tuple[Any, ...], kwargs: dict[str, Any], old: Tensor, new: Tensor) -> tuple[Any, Any]:
        return tuple(new if x is old else x for x in args), {name: new if x is old else x for name, x in kwargs.items()}

    def _leave(self, layer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if self.rows is None:
            return None
        first, *others = output if isinstance(output, tuple) else (output,)
        whole = self.rows.unpack_first(first[0]) if self.only_first else self.rows.unpack(first[0])
        return (whole, *others) if isinstance(output, tuple) else whole

    def _packed(self, value: Any) -> Any:
        """Tensors [B, T, ...] (or [1, T, ...], one for all rows) as [1, N, ...]; anything else as it is."""
        if isinstance(value, tuple):
            return tuple(map(self._packed, value))
        if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[1] != self.rows.shape[1]:
            return value
        if value.shape[0] == 1:
            value = value.expand(self.rows.shape[0], *value.shape[1:])
        return self.rows.pack(value)[None] if value.shape[0] == self.rows.shape[0] else value


def can_pack(config: Any) -> bool:
    """Whether a network of this configuration looks at whole rows; windows and stripes are left to its own code."""
    return not any(getattr(config, name, None) for name in _WINDOWS)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """As transformers calls attention: query [1, H, N, K] -> [1, N, H, K]."""
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    module.attends = True
    prefix = module.prefix() if hasattr(module, "prefix") else None
    q_NHK, k_NHK, v_NHK = (x[0].transpose(0, 1) for x in (query, key, value))
    packed = module.packed_layers
    rows = packed.rows
    if not packed.narrows(module):
        return rows.attend(q_NHK, k_NHK, v_NHK, scaling, dropout, causal, prefix)[None], None
    seen_BHK = rows.attend(q_NHK[rows.first_B], k_NHK, v_NHK, scaling, dropout, causal, prefix)
    return torch.zeros_like(q_NHK).index_copy(0, rows.first_B, seen_BHK)[None], None
