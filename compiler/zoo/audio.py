"""Audio models with trained weights, written here so that the wheels' signal-processing imports are not needed."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compiler.zoo.configs import Built
from compiler.zoo.files import package_file

RATE = 16000


def tone(samples: int, hertz: float = 220.0) -> Tensor:
    """A tone with two overtones at 16 kHz: shape [samples], f32."""
    t = torch.arange(samples) / RATE
    return sum((torch.sin(2 * math.pi * hertz * k * t) / k for k in (1, 2, 3)), torch.zeros(samples))


class Crepe(nn.Module):
    """CREPE (torchcrepe.Crepe): frames [B, 1024] at 16 kHz -> activation of 360 pitch bins."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        for k, (c_in, c_out) in enumerate(zip((1, *channels[:-1]), channels, strict=True), start=1):
            kernel, stride = ((512, 1), (4, 1)) if k == 1 else ((64, 1), (1, 1))
            setattr(self, f"conv{k}", nn.Conv2d(c_in, c_out, kernel, stride))
            setattr(self, f"conv{k}_BN", nn.BatchNorm2d(c_out, eps=0.0010000000474974513))
        self.classifier = nn.Linear(4 * channels[-1], 360)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1024] -> [B, 360] in 0..1."""
        x = x[:, None, :, None]
        for k in range(1, 7):
            x = F.pad(x, (0, 0, 254, 254) if k == 1 else (0, 0, 31, 32))
            x = self.get_submodule(f"conv{k}_BN")(F.relu(self.get_submodule(f"conv{k}")(x)))
            x = F.max_pool2d(x, (2, 1), (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))


def _crepe(capacity: str, channels: tuple[int, ...], frames: int) -> Built:
    model = Crepe(channels)
    path = package_file("torchcrepe", f"assets/{capacity}.pth")
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    window = tone(1024 + 160 * (frames - 1)).unfold(0, 1024, 160)
    return model, ((window - window.mean(1, keepdim=True)) / window.std(1, keepdim=True),)


def crepe_full() -> Built:
    """The full model (22 M parameters) on one frame."""
    return _crepe("full", (1024, 128, 128, 128, 256, 512), 1)


def crepe_tiny() -> Built:
    """The tiny model (0.5 M parameters) on eight frames."""
    return _crepe("tiny", (128, 16, 16, 16, 32, 64), 8)


class SileroVad(nn.Module):
    """Silero VAD 6, 16 kHz (silero_vad/tinygrad_model.py): one chunk of 64 + 512 samples and the LSTM state."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """samples [1, 576], state [2, 1, 128] -> (speech probability [1, 1], new state)."""
        x = self.stft_conv(F.pad(x.unsqueeze(1), (0, 64), mode="reflect"))
        x = torch.sqrt(x[:, :129] ** 2 + x[:, 129:] ** 2)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.relu(conv(x))
        h, c = self.lstm_cell(x.squeeze(-1), (state[0], state[1]))
        speech = torch.sigmoid(self.final_conv(F.relu(h).unsqueeze(-1)))
        return speech.squeeze(1), torch.stack((h, c))


def silero_vad() -> Built:
    """The 16 kHz detector on one chunk, from its zero state."""
    from safetensors.torch import load_file

    model = SileroVad()
    model.load_state_dict(load_file(package_file("silero_vad", "data/silero_vad_16k.safetensors")))
    return model, (tone(576)[None] * 0.1, torch.zeros(2, 1, 128))


class SpeakerEncoder(nn.Module):
    """Resemblyzer's VoiceEncoder: 3 LSTM layers of 256 over mel frames, then a unit-length embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels: Tensor) -> Tensor:
        """mel frames [B, T, 40] -> embeddings [B, 256]."""
        hidden = self.lstm(mels)[1][0]
        raw = F.relu(self.linear(hidden[-1]))
        return raw / torch.sqrt((raw * raw).sum(1, keepdim=True))


def resemblyzer() -> Built:
    """The pretrained speaker encoder on 160 frames of positive noise, as mel energies are."""
    model = SpeakerEncoder()
    saved = torch.load(package_file("resemblyzer", "pretrained.pt"), map_location="cpu", weights_only=True)
    model.load_state_dict(saved["model_state"], strict=False)
    return model, (torch.rand(1, 160, 40) * 0.1,)
