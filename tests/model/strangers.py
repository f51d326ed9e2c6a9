"""Models as a stranger writes them: blocks of published kinds, in the spelling of their first authors."""

import torch
import torch.nn.functional as F
from torch import nn

WIDTH = 256


class Inverted(nn.Module):
    """Two inverted residual blocks with squeeze and excite, as of EfficientNet."""

    def __init__(self, *, extent: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.SiLU())
        self.wide = nn.ModuleList(_conv(64, WIDTH, 1) for _ in range(2))
        self.deep = nn.ModuleList(_conv(WIDTH, WIDTH, extent, groups=WIDTH) for _ in range(2))
        self.squeeze = nn.ModuleList(nn.Conv2d(WIDTH, 64, 1) for _ in range(2))
        self.excite = nn.ModuleList(nn.Conv2d(64, WIDTH, 1) for _ in range(2))
        self.narrow = nn.ModuleList(_conv(WIDTH, 64, 1)[:2] for _ in range(2))
        self.top, self.head = _conv(64, WIDTH, 1), nn.Linear(WIDTH, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        layers = zip(self.wide, self.deep, self.squeeze, self.excite, self.narrow, strict=True)
        for wide, deep, squeeze, excite, narrow in layers:
            y = deep(wide(x))
            gate = torch.sigmoid(excite(F.silu(squeeze(y.mean((2, 3), keepdim=True)))))
            x = x + narrow(y * gate)
        return self.head(F.adaptive_avg_pool2d(self.top(x), 1).flatten(1))


def _conv(before: int, after: int, extent: int, *, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, extent, padding=extent // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.SiLU())


class Windows(nn.Module):
    """Attention in windows of 4 × 4, every second time moved by 2, as of Swin."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.first = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(depth))
        self.inner = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH) for _ in range(depth))
        self.outer = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.second = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(WIDTH, 4 * WIDTH) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(4 * WIDTH, WIDTH) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 100)
        places = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
        regions = (places[:, None] * 3 + places[None, :]).view(2, 4, 2, 4).permute(0, 2, 1, 3).reshape(4, 1, 16)
        self.register_buffer("mask", (regions != regions.transpose(1, 2)).float()[:, None] * -100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        for number in range(len(self.inner)):
            x = x + self.attended(self.first[number](x), number, moved=2 * (number % 2))
            x = x + self.down[number](F.gelu(self.up[number](self.second[number](x))))
        return self.head(self.norm(x).mean((1, 2)))

    def attended(self, x: torch.Tensor, number: int, *, moved: int) -> torch.Tensor:
        count = x.shape[0]
        x = torch.roll(x, (-moved, -moved), (1, 2)) if moved else x
        rows = x.view(count, 2, 4, 2, 4, WIDTH).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, WIDTH)
        q, k, v = self.inner[number](rows).view(-1, 16, 3, 4, 64).permute(2, 0, 3, 1, 4)
        logits = q @ k.transpose(-2, -1) / 8
        if moved:
            logits = (logits.view(count, 4, 4, 16, 16) + self.mask).view(-1, 4, 16, 16)
        rows = self.outer[number]((logits.softmax(-1) @ v).transpose(1, 2).reshape(-1, 16, WIDTH))
        x = rows.view(count, 2, 2, 4, 4, WIDTH).permute(0, 1, 3, 2, 4, 5).reshape(count, 8, 8, WIDTH)
        return torch.roll(x, (moved, moved), (1, 2)) if moved else x


class Heads(nn.Module):
    """Attention whose heads talk before and after the softmax, or share one head of keys and values."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.query, self.outer = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.rest = nn.Linear(WIDTH, 64 if kind == "shared" else 2 * WIDTH)
        self.before, self.after = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query = self.query(x).view(*x.shape[:2], 8, 32)
        if self.kind == "shared":
            key, value = self.rest(x).chunk(2, -1)
            weights = torch.softmax(torch.einsum("bihd,bjd->bhij", query, key) / 32**0.5, -1)
            made = torch.einsum("bhij,bjd->bihd", weights, value)
        else:
            key, value = (each.view(*x.shape[:2], 8, 32) for each in self.rest(x).chunk(2, -1))
            logits = self.before(torch.einsum("bihd,bjhd->bijh", query, key) / 32**0.5)
            weights = self.after(logits.permute(0, 3, 1, 2).softmax(-1).permute(0, 2, 3, 1))
            made = weights.permute(0, 3, 1, 2) @ value.transpose(1, 2)
            made = made.transpose(1, 2)
        return x + self.outer(made.reshape(x.shape))


class Shuffled(nn.Module):
    """Half of the channels go through a depthwise block, then both halves are shuffled, as of ShuffleNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTH, 3, 2, 1), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.blocks = nn.ModuleList(_half() for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            first, second = x.chunk(2, 1)
            x = F.channel_shuffle(torch.cat([first, block(second)], 1), 2)
        return x.mean((2, 3))


def _half() -> nn.Sequential:
    half = WIDTH // 2
    deep = nn.Conv2d(half, half, 3, padding=1, groups=half)
    ends = [(nn.Conv2d(half, half, 1), nn.BatchNorm2d(half), nn.ReLU()) for _ in range(2)]
    return nn.Sequential(*ends[0], deep, nn.BatchNorm2d(half), *ends[1])
