"""What a kernel says of itself: a fact about a kernel is declared and travels with its results; none is read from a name."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from sepconv_bench.model.dtypes import Dtype

OURS = "ours"
USER = "user"  # the library of a kernel that somebody else registered without naming one
DEVICES = ("cpu", "cuda")

Word = Annotated[str, Meta(pattern=r"^[a-z]+\Z")]
Variant = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
OperatorName = Literal["standard", "depthwise", "pointwise", "separable"]
# direct: every multiplication that theory counts; im2col: the same, on a copy of the windows; winograd: fewer; chosen: the
# library chooses for each shape.
Algorithm = Literal["direct", "im2col", "winograd", "chosen"]


class Declaration(Struct, frozen=True):
    """A kernel's name and what must be known to judge its times.

    `library` is whose code computes: "ours", a peer's name, or "user". `passes` are the operators that run over memory one
    after the other, each moving its own tensors once: one for a fused kernel, two for a separable one that writes the
    intermediate map. `like` is the variant of standard that a separable kernel is compared with. `dtypes` are those of the
    shapes it takes.
    """

    device: Word
    operator: OperatorName
    variant: Variant
    library: str
    passes: tuple[OperatorName, ...]
    like: Variant
    algorithm: Algorithm = "direct"
    dtypes: Annotated[tuple[Dtype, ...], Meta(min_length=1)] = ("f32",)

    @property
    def name(self) -> str:
        return f"{self.device}.{self.operator}.{self.variant}"

    @property
    def is_peer(self) -> bool:
        """Whether it is the convolution of another library, which ours and a user's are measured against."""
        return self.library not in (OURS, USER)

    @property
    def beyond_peak(self) -> bool:
        """Whether the peak of multiplications is no roof for it: it does fewer of them than theory counts, by Winograd's
        algorithm."""
        return self.algorithm == "winograd"

    @property
    def standard(self) -> str:
        """Name of the standard kernel that this one, of separable, is compared with."""
        return f"{self.device}.standard.{self.like}"
