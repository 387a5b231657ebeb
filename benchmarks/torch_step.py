"""A training step of the same U-Net in PyTorch, for benchmarks/training.py, which starts this.

It needs no more than PyTorch, and takes a step and prints its seconds for every line that comes in.
"""

import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    sys.exit(0)  # without a word, which says enough


class UNet(nn.Module):
    """As nets/unet.py has it by default."""

    def __init__(self, filters, classes):
        super().__init__()
        widths = [filters * 2**level for level in range(5)]
        self.down = nn.ModuleList(
            _two_convs(before, width) for before, width in zip([3, *widths], widths, strict=False)
        )
        self.upconvs = nn.ModuleList(
            nn.Conv2d(2 * width, width, 2, padding="same") for width in widths[:4]
        )
        self.up = nn.ModuleList(_two_convs(2 * width, width) for width in widths[:4])
        self.logits = nn.Conv2d(filters, classes, 1)

    def forward(self, x):
        """From images `[B, 3, H, W]` to logits `[B, K, H, W]`."""
        skips = []
        for level, convs in enumerate(self.down):
            x = convs(functional.max_pool2d(x, 2) if level else x)
            x = functional.dropout(x, 0.5, self.training) if level > 2 else x
            skips.append(x)
        for level in reversed(range(4)):
            x = functional.relu(self.upconvs[level](functional.interpolate(x, scale_factor=2.0)))
            x = self.up[level](torch.cat([skips[level], x], 1))
        return self.logits(x)


def _two_convs(before, width):
    return nn.Sequential(
        nn.Conv2d(before, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
    )


def main():
    """Takes steps."""
    filters, classes, batch, height, width, half = map(int, sys.argv[1:])
    torch.manual_seed(0)
    model = UNet(filters, classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, weight_decay=1e-3)
    images = torch.rand(batch, 3, height, width).to(memory_format=torch.channels_last)
    masks = torch.randint(classes, (batch, height, width))
    print(torch.__version__, sum(p.numel() for p in model.parameters()), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(half)):
            logits = model(images)
        functional.cross_entropy(logits.float(), masks, ignore_index=255).backward()
        optimizer.step()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
