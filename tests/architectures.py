"""Networks from their papers' tables, in torch, for tests that read them; without weights they are made on the device "meta".

What is no convolution and no matrix product is left out where sizes do not need it: it multiplies nothing that is counted.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def conv(M: int, N: int, D_K: int = 1, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(M, N, D_K, stride, dilation * (D_K - 1) // 2, dilation, groups, bias=False)


class Pooled(nn.Module):
    """A body, the mean over its map, and a classifier."""

    def __init__(self, body: nn.Module, *classifier: nn.Module) -> None:
        super().__init__()
        self.body, self.classifier = body, nn.Sequential(*classifier)

    def forward(self, F: Tensor) -> Tensor:
        return self.classifier(self.body(F).mean((2, 3)))


class Residual(nn.Module):
    """Branches that are added up."""

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, F: Tensor) -> Tensor:
        return sum(branch(F) for branch in self.children())


class Concatenated(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, F: Tensor) -> Tensor:
        return torch.cat([branch(F) for branch in self.branches], 1)


def resnet_50_body(dilated: bool = False) -> nn.Sequential:
    """arXiv 1512.03385, table 1, with the stride in the 3 x 3; `dilated`: the last two stages keep the map of the second."""
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    M, dilation = 64, 1
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            step = stride if block == 0 else 1
            first = dilation
            if dilated and width >= 256 and block == 0:
                dilation, step = dilation * 2, 1
            used = first if block == 0 else dilation
            deep = nn.Sequential(conv(M, width), conv(width, width, 3, step, dilation=used), conv(width, 4 * width))
            short = conv(M, 4 * width, 1, step) if block == 0 else nn.Identity()
            layers.append(Residual(deep=deep, short=short))
            M = 4 * width
    return nn.Sequential(*layers)


def resnet_50() -> nn.Module:
    return Pooled(resnet_50_body(), nn.Linear(2048, 1000))


class DeepLab(nn.Module):
    """The head, and the auxiliary one on the stage before the last, each on the map of a body."""

    def __init__(self) -> None:
        super().__init__()
        body = resnet_50_body(dilated=True)
        self.early, self.last = body[:-3], body[-3:]
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(2048, 256), nn.Upsample(scale_factor=65))
        pyramid = Concatenated(conv(2048, 256), *(conv(2048, 256, 3, dilation=rate) for rate in (12, 24, 36)), pooled)
        self.head = nn.Sequential(pyramid, conv(1280, 256), conv(256, 256, 3), conv(256, 21))
        self.auxiliary = nn.Sequential(conv(1024, 256, 3), conv(256, 21))

    def forward(self, F: Tensor) -> tuple[Tensor, Tensor]:
        early = self.early(F)
        return self.head(self.last(early)), self.auxiliary(early)


def deeplab_v3() -> nn.Module:
    """arXiv 1706.05587 over ResNet-50 at output stride 8, 21 classes, on 520 x 520."""
    return DeepLab()


def vgg_16() -> nn.Module:
    """arXiv 1409.1556, configuration D."""
    layers: list[nn.Module] = []
    M = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers.append(conv(M, width, 3))
            M = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 49, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000))


INCEPTION = (
    *((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    *((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64)),
    *((112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128)),
    *((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def inception_v1(last: int = 5) -> nn.Module:
    """arXiv 1409.4842, table 1; torchvision has windows of `last` = 3 where the paper has 5."""
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), conv(64, 64), conv(64, 192, 3), nn.MaxPool2d(3, 2, 1)]
    M = 192
    for number, (one, reduce3, three, reduce5, five, pool) in enumerate(INCEPTION):
        if number in (2, 7):
            layers.append(nn.MaxPool2d(3, 2, 1))
        branches = (
            conv(M, one),
            nn.Sequential(conv(M, reduce3), conv(reduce3, three, 3)),
            nn.Sequential(conv(M, reduce5), conv(reduce5, five, last)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(M, pool)),
        )
        layers.append(Concatenated(*branches))
        M = one + three + five + pool
    return Pooled(nn.Sequential(*layers), nn.Linear(M, 1000))


def mobilenet_v1() -> nn.Module:
    """arXiv 1704.04861, table 1, the last depthwise with stride 1."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2)]
    M = 32
    strides_and_widths = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5, (2, 1024), (1, 1024))
    for stride, N in strides_and_widths:
        layers.append(nn.Sequential(conv(M, M, 3, stride, M), conv(M, N)))
        M = N
    return Pooled(nn.Sequential(*layers), nn.Linear(M, 1000))


class Squeezed(nn.Module):
    """Squeeze and excitation: two convolutions on a map of one pixel."""

    def __init__(self, M: int, within: int) -> None:
        super().__init__()
        self.narrow, self.wide = conv(M, within), conv(within, M)

    def forward(self, F: Tensor) -> Tensor:
        return F * self.wide(self.narrow(F.mean((2, 3), keepdim=True)))


def inverted(M: int, within: int, N: int, D_K: int, stride: int, squeezed: int = 0) -> nn.Sequential:
    """The block of MobileNet-V2 and what came after it."""
    expand = [conv(M, within)] if within != M else []
    squeeze = [Squeezed(within, squeezed)] if squeezed else []
    return nn.Sequential(*expand, conv(within, within, D_K, stride, within), *squeeze, conv(within, N))


def mobilenet_v2() -> nn.Module:
    """arXiv 1801.04381, table 2."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2)]
    M = 32
    for t, N, count, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):  # fmt: skip  # noqa: E501
        for block in range(count):
            layers.append(inverted(M, t * M, N, 3, stride if block == 0 else 1))
            M = N
    return Pooled(nn.Sequential(*layers, conv(320, 1280)), nn.Linear(1280, 1000))


MOBILENET_V3 = (  # D_K, within, N, squeezed, stride
    *((3, 16, 16, 0, 1), (3, 64, 24, 0, 2), (3, 72, 24, 0, 1), (5, 72, 40, 24, 2), (5, 120, 40, 32, 1), (5, 120, 40, 32, 1)),
    *((3, 240, 80, 0, 2), (3, 200, 80, 0, 1), (3, 184, 80, 0, 1), (3, 184, 80, 0, 1), (3, 480, 112, 120, 1)),
    *((3, 672, 112, 168, 1), (5, 672, 160, 168, 2), (5, 960, 160, 240, 1), (5, 960, 160, 240, 1)),
)


def mobilenet_v3() -> nn.Module:
    """arXiv 1905.02244, table 1 (large)."""
    layers: list[nn.Module] = [conv(3, 16, 3, 2)]
    M = 16
    for D_K, within, N, squeezed, stride in MOBILENET_V3:
        layers.append(inverted(M, within, N, D_K, stride, squeezed))
        M = N
    return Pooled(nn.Sequential(*layers, conv(160, 960)), nn.Linear(960, 1280), nn.Linear(1280, 1000))


EFFICIENTNET_B0 = (  # t, D_K, N, blocks, stride
    *((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2)),
    *((6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1)),
)


def efficientnet_b0() -> nn.Module:
    """arXiv 1905.11946, table 1; squeeze and excitation to a quarter of a block's input."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2)]
    M = 32
    for t, D_K, N, count, stride in EFFICIENTNET_B0:
        for block in range(count):
            layers.append(inverted(M, t * M, N, D_K, stride if block == 0 else 1, M // 4))
            M = N
    return Pooled(nn.Sequential(*layers, conv(320, 1280)), nn.Linear(1280, 1000))


class ChannelsLast(nn.Module):
    """Pixel by pixel, as ConvNeXt writes its pointwise convolutions."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, F: Tensor) -> Tensor:
        return self.layers(F.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext_t() -> nn.Module:
    """arXiv 2201.03545, table 9."""
    layers: list[nn.Module] = [nn.Conv2d(3, 96, 4, 4)]
    M = 96
    for width, count in ((96, 3), (192, 3), (384, 9), (768, 3)):
        if width != M:
            layers.append(nn.Conv2d(M, width, 2, 2))
            M = width
        for _ in range(count):
            block = nn.Sequential(conv(M, M, 7, groups=M), ChannelsLast(nn.Linear(M, 4 * M), nn.Linear(4 * M, M)))
            layers.append(Residual(block=block, short=nn.Identity()))
    return Pooled(nn.Sequential(*layers), nn.Linear(M, 1000))


# By name: what makes it, the width of its input, how many convolutions it has, and the multiply-adds that are published with
# the weights of torchvision 0.28 in units of 10^9, of convolutions and fully connected layers; of MobileNet-V1 its paper's.
ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], int, int, float]] = {
    "ResNet-50": (resnet_50, 224, 53, 4.089),
    "VGG-16": (vgg_16, 224, 13, 15.47),
    "Inception-V1": (lambda: inception_v1(3), 224, 57, 1.498),
    "MobileNet-V1": (mobilenet_v1, 224, 27, 0.569),
    "MobileNet-V2": (mobilenet_v2, 224, 52, 0.301),
    "MobileNet-V3": (mobilenet_v3, 224, 62, 0.217),
    "EfficientNet-B0": (efficientnet_b0, 224, 81, 0.386),
    "ConvNeXt-T": (convnext_t, 224, 58, 4.456),
    "DeepLab-v3": (deeplab_v3, 520, 63, 178.722),
}


def without_weights(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()
