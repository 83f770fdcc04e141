"""The output head: chunks that fit into memory change nothing, and float32 where it is asked for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_train.config import OptimConfig
from forge_train.learn.head import Head
from tests.train.memory import peak_bytes
from tests.train.models import qwen3

CPU = torch.device("cpu")
WIDE, HIDDEN = 4000, 16


class Outer(torch.nn.Module):
    """No more of a model than its output head."""

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.head = head

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head


def wide(tokens: int, **optim) -> tuple[Head, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    head = Head(Outer(torch.nn.Linear(HIDDEN, WIDE)), OptimConfig(**optim), CPU)
    return head, torch.randn(tokens, HIDDEN, requires_grad=True), torch.randint(WIDE, (tokens,))


def results(head, hidden, target, temperature=0.8):
    logprobs, entropy = head(hidden, target, temperature)
    weight = torch.linspace(-1, 1, len(target))
    parameters = [hidden, *head.model.parameters()]
    return [logprobs, entropy, *torch.autograd.grad((weight * logprobs).sum(), parameters)]


@given(st.integers(1, 60), st.sampled_from([0.01, 0.3, 1.0]), st.sampled_from([0.7, 1.0]))
@settings(max_examples=15)
def test_chunks_give_the_same_logprobs_and_gradients(tokens, megabytes, temperature):
    chunked = results(*wide(tokens, head_mb=megabytes), temperature)
    whole = results(*wide(tokens, head_mb=1000.0), temperature)
    for a, b in zip(chunked, whole, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tokens", [400, 1600])
def test_memory_is_what_was_asked_for_however_many_tokens(tokens):
    """Counted, forward and backward; beside logits there are only gradients of the head and hidden states."""
    beside = 4 * (3 * WIDE * (HIDDEN + 1) + 30 * tokens * HIDDEN)
    peak = peak_bytes(lambda: results(*wide(tokens, head_mb=4.0)))
    assert peak < 4 * 2**20 + beside
    assert peak_bytes(lambda: results(*wide(tokens, head_mb=1000.0))) > 4 * 3 * tokens * WIDE


def test_a_chunk_has_at_least_one_token():
    assert wide(1, head_mb=0.001)[0].rows == 1


def test_by_default_the_device_decides():
    model = qwen3()
    on_gpu = Head(model, OptimConfig(), torch.device("cuda")).rows
    assert on_gpu > 6 * Head(model, OptimConfig(), CPU).rows


@pytest.mark.parametrize("megabytes", [0.01, 100.0])
def test_a_head_in_float32_is_exact_under_autocast(megabytes):
    found = []
    for dtype in ("auto", "float32"):
        head, hidden, target = wide(40, head_dtype=dtype, head_mb=megabytes)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(head(hidden, target, 1.0)[0].detach())
    exact = wide(40)[0](hidden, target, 1.0)[0].detach()
    rough, close = (float((f - exact).abs().max()) for f in found)
    assert close < 1e-5 < 1e-3 < rough


def test_a_head_that_is_no_plain_matrix_is_refused_in_float32():
    class Scaled(torch.nn.Module):
        weight = torch.zeros(8, 4)

    with pytest.raises(ValueError, match=r'head_dtype = "float32".*Scaled.*set optim.head_dtype = "auto"'):
        Head(Outer(Scaled()), OptimConfig(head_dtype="float32"), CPU)
